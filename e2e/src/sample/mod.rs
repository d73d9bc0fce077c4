//! The sample application: one small program that plays every workload of the samples and of the tests.
//!
//! The first argument is the role: the weather application of the book (`frontend`, `advertisement`,
//! `forecast`, `recommendation`), Bookinfo (`productpage`, `details`, `reviews`, `ratings`), `httpbin`,
//! `tcp-echo`, `sleep`, and `echo`, the test double. Each role is one file and knows nothing of the mesh: it
//! calls its backends by plain service names and hands on the headers that tie a request's spans together
//! (TEL-10), as any application has to.
//!
//! All HTTP roles answer `GET /healthz` and say in `x-sample-app`, `x-sample-version` and `x-sample-pod` who
//! answered.

mod args;
mod bookinfo;
mod client;
pub mod echo;
mod form;
mod forward;
mod html;
mod httpbin;
mod identity;
mod random;
mod server;
mod sleep;
mod tcp_echo;
#[cfg(test)]
mod testing;
mod tls;
mod weather;

pub use args::Args;
pub use identity::Identity;
