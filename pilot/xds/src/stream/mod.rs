//! One stream without its I/O: what the client holds, what it acknowledged, and what it gets next.

mod blame;
mod content;
mod isolation;
mod state;
mod subscription;
#[cfg(test)]
mod tests;

pub use isolation::{Finding, Isolation};
pub use state::{Impact, Outgoing, Plan, StreamState, Waiting};
pub use subscription::{Protocol, Report, Request, Step, Subscription};
