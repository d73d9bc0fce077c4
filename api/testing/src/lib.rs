//! Shared test support: certificates, golden folders, tables of validation, the Envoy locator and validator, waiting for
//! conditions, an ADS client, targets of fuzzing.
//!
//! The feature `kube` brings a Kubernetes API server along.
//!
//! Only tests and the standalone mesh depend on this package.

pub mod ads;
pub mod certificates;
pub mod consul;
pub mod envoy;
mod eventually;
pub mod fluentd;
pub mod fuzz;
pub mod golden;
pub mod grafana;
#[cfg(feature = "kube")]
pub mod kube;
pub mod loopback;
pub mod objects;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod provision;
pub mod redis;
pub mod statsd;
pub mod validation;
pub mod zipkin;

pub use envoy::{Envoy, envoy, envoys};
pub use eventually::{NotYet, eventually};
pub use process::Process;
