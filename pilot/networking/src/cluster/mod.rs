//! Clusters (P11).

mod build;
mod plan;
mod policy;
#[cfg(test)]
mod tests;

use mesh_api::envoy::config::cluster::v3::Cluster;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::{Protocol, Str};
use pilot_model::{EndpointAddress, ProxyType, Rev, RuleChain, ScopedView, Service, Versioned, Viewer};

pub use self::plan::{inbound, outbound};
use crate::destination::SubsetIndex;
use crate::{Built, Generate};

/// Makes clusters.
#[derive(Debug)]
pub struct Clusters;

/// What the outbound clusters of a proxy depend on: proxies with equal scopes share them all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutboundScope {
    mesh: Rev,
    services: Rev,
    destination_rules: Rev,
    proxy_type: ProxyType,
    /// Who sees them, when not everybody sees these services under these rules.
    viewer: Option<Viewer>,
}

/// Everything that one cluster depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterKey {
    name: Str,
    mesh: Versioned<MeshConfig>,
    target: Target,
}

/// Where a cluster leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Target {
    /// Nowhere.
    BlackHole,
    /// To the address that the connection was opened to.
    OriginalDestination,
    /// To a port of a service.
    Service {
        service: Versioned<Service>,
        port: u16,
        subset: Option<SubsetIndex>,
        rules: Option<RuleChain>,
    },
    /// To a port of the proxy's own workload.
    Workload {
        address: EndpointAddress,
        service_port: u16,
        protocol: Protocol,
        rules: Option<RuleChain>,
    },
}

// === impl OutboundScope ===

impl OutboundScope {
    /// The scope of a proxy.
    pub fn new(view: &ScopedView, proxy_type: ProxyType) -> Self {
        let revs = view.revs();
        Self {
            mesh: revs.mesh,
            services: revs.services,
            destination_rules: revs.destination_rules,
            proxy_type,
            viewer: view.service_viewer(),
        }
    }
}

// === impl Clusters ===

impl Generate for Clusters {
    type Key = ClusterKey;
    type Message = Cluster;

    fn name(key: &ClusterKey) -> &str {
        &key.name
    }

    fn build(key: &ClusterKey) -> Built<Cluster> {
        build::cluster(key)
    }
}
