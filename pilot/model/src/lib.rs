//! The service model, immutable snapshots of all configuration, and the views that proxies have of them.
//!
//! Registries produce [`Change`]s; one [`Builder`] owns the state and publishes [`Snapshot`]s; readers hold an `Arc` and
//! never wait. Endpoints and workloads change far more often than anything else, so they have tables of their own
//! beside the snapshot ([`EndpointIndex`], [`WorkloadTable`]) and never rebuild it.
//!
//! Pure: no I/O, no clock, no randomness. Equal input gives equal output, in any order of arrival.

mod change;
mod derived;
mod endpoint;
mod identity;
mod network;
mod proxy;
mod scope;
mod service;
mod sidecar;
mod snapshot;
mod versioned;
mod warning;
mod workload;

pub use change::{Change, ChangeSet, ConfigSpec};
pub use derived::Derived;
pub use endpoint::{Endpoint, EndpointAddress, EndpointIndex, HostEndpoints, Locality};
pub use identity::IdentityTable;
pub use mesh_config::MESH_GATEWAY;
pub use network::{NetworkTable, Networks};
pub use proxy::{InterceptionMode, Proxy, ProxyError, ProxyType, ProxyVersion};
pub use scope::{Egress, ScopedView, ServicelessHosts, ViewRevs, Viewer};
pub use service::{Resolution, Service, ServiceAddress, ServiceId, Visibility};
pub use sidecar::{Bind, EgressListener, ImportedHosts, IngressListener, LocalEndpoint, Sidecar};
pub use snapshot::{
    AuthenticationPolicy, AuthenticationPolicyTable, Builder, DestinationRule, DestinationRuleTable,
    EnvoyFilter, EnvoyFilterTable, Gateway, GatewayTable, PeerMode, Published, RuleChain, ServiceTable,
    SidecarTable, Snapshot, VirtualService, VirtualServiceTable,
};
pub use versioned::{Rev, Versioned};
pub use warning::{Warning, WarningKind};
pub use workload::{ServiceInstance, Workload, WorkloadTable};
