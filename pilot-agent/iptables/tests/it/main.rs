//! `istio-iptables` on the real kernel: every test has a network namespace of its own.
//!
//! Needs root, iptables, iproute2 and util-linux; without them the tests fail and say so.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod capture;
mod namespace;
mod rules;
mod usage;
