//! Services of a Consul catalog (P4.4).
//!
//! ```text
//! agent <─blocking queries─ Consul ─Instances of a service─> Controller ─> ConsulRegistry ─pilot_model::Change─> Builder
//! ```
//!
//! [`Consul`] asks the agent for the names of all services and for the instances of each, and holds the questions open
//! until the answers change. [`ConsulRegistry`] is pure: it turns instances into services, endpoints and workloads. An
//! agent that is away changes nothing: what it said last stays in force until it is back.

mod blocking;
mod client;
mod convert;
mod decode;
mod follow;
mod status;
#[cfg(test)]
mod tests;

pub use client::{ClientError, ConsulUrl, ConsulUrlError};
pub use convert::ConsulRegistry;
pub use decode::{Instance, Instances};
pub use follow::{Consul, ConsulOptions};
pub use status::{ConsulHandle, ConsulMetrics, ConsulStatus};

/// The name of the registry that holds what the Consul catalog defines; also its shard of the endpoints of a host.
pub const REGISTRY: &str = "Consul";
