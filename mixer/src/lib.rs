//! Mixer: policies and telemetry for the proxies of a mesh (`spec 02`).
//!
//! The engine is `mixer-runtime`; here are the command line, the sources of configuration, the services of
//! `istio.mixer.v1` and of Envoy, and the pages that show what is going on.

mod args;
pub mod command;
mod debug;
mod explain;
mod metrics;
mod raw;
mod server;
mod service;
mod spans;
mod store;
mod validator;
