//! A whole Pilot in this process, between a configuration source and proxies that speak xDS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod audit;
mod changes;
mod clients;
mod cluster;
mod consul;
mod debug;
mod edge;
mod egress;
mod envoy;
mod galley;
mod holding;
mod meshes;
mod metrics;
mod operation;
mod pilot;
mod protocols;
mod proxy;
mod real_envoy;
mod rejection;
mod relay;
mod server;
mod sources;
mod stores;
mod tracing;
mod upstream;
mod warnings;

use std::time::Duration;

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);
