//! Against a real API server.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]
#![allow(
    clippy::disallowed_methods,
    reason = "the tasks of a test end with its runtime"
)]

mod config;
mod failure;
mod lease;
mod many;
mod misbehaviour;
mod patch;
mod support;
mod watch;
