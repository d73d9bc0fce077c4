//! Pilot: the wiring of its libraries, its flags and its debug interface. Nothing is decided here.

pub mod args;
pub mod consul;
mod debug;
mod files;
pub mod ingress;
pub mod kube;
mod mesh;
mod metrics;
mod networks;
pub mod request;
pub mod server;
pub mod sources;
mod state;
