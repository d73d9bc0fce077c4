//! Where services and configuration come from.
//!
//! ```text
//! source ─mesh_mcp::Sink─> ConfigStore ─ConfigEvent─> Registries ─pilot_model::Change─> Builder ─(debounce)─> Publication
//! ```
//!
//! What runs in a cluster can come from its API server instead ([`kube::Cluster`]).
//!
//! The converters ([`kube`], [`consul::ConsulRegistry`], [`service_entry`]) and the store are pure: they turn foreign objects into
//! [`pilot_model::Change`]s and know nothing of how the objects arrive. One task ([`ControllerTask`]) owns them all.

mod api_server;
mod config_store;
pub mod consul;
mod controller;
mod debounce;
#[cfg(test)]
mod fixture;
mod ingress;
pub mod ingress_status;
mod kind_status;
pub mod kube;
mod metrics;
mod platform;
mod registries;
pub mod service_entry;

pub use api_server::{ApiServerHandle, ApiServerSource, ApiServerStatus};
pub use config_store::{ConfigEvent, ConfigStore};
pub use controller::{
    ClusterInput, ConsulInput, Controller, ControllerGone, ControllerTask, Publication, SourceInput,
};
pub use debounce::Debounce;
pub use ingress::Ingresses;
pub use kind_status::KindStatus;
pub use metrics::RegistryMetrics;
pub use platform::{Platform, PlatformError};
pub use registries::{CLUSTER_KINDS, Registries, kinds};
