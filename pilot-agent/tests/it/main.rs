//! The agent with a real Envoy: every test has a network namespace of its own, as a pod has.
//!
//! Needs root, iproute2 and util-linux; without them the tests fail and say so.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod agent;
mod drain;
mod http;
mod pod;
mod restart;
mod start;
mod status;
