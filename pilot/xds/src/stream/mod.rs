//! One stream without its I/O: what the client holds, what it acknowledged, and what it gets next.

mod content;
mod state;
mod subscription;
#[cfg(test)]
mod tests;

pub use state::{Impact, Outgoing, Plan, StreamState};
pub use subscription::{Protocol, Report, Request, Step, Subscription};
