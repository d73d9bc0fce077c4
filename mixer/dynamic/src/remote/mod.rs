//! Calls of an adapter that runs in a process of its own (`spec 02` §10.2-§10.5).

pub(crate) mod answer;
mod backend;
mod endpoint;
mod oauth;
mod pool;
mod request;
mod security;
mod session;

pub use answer::Checked;
pub use backend::{Backend, BackendOptions};
pub use pool::Pace;
