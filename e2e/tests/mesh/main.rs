//! The standalone mesh from end to end: real Galley, Pilot, agents and Envoys.
//!
//! A file is a theme. A test that proves an example of the specification bears its id: `ex_08_…`, `ex_1103_…`, or several
//! of them in a row; `e2e/coverage/examples.txt` lists all ids, and `cargo mesh test --list-examples` prints what became of them.

mod authentication;
mod balance;
mod canary;
mod canary_tcp;
mod cluster;
mod envoy_filter;
mod failures;
mod faults;
mod gateway;
mod gateway_passthrough;
mod gateway_tls;
mod host_network;
mod isolation;
mod l4;
mod mixer;
mod outbound;
mod practice;
mod requests;
mod resilience;
mod routing;
mod seed_000;
mod seed_001;
mod sidecar;
mod support;
mod switching;
mod tracing;
mod traffic;
mod uncaptured;
