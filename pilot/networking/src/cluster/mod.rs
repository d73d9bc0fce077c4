//! Clusters (P11).

use mesh_api::envoy::config::cluster::v3::Cluster;
use mesh_config::Str;
use pilot_model::{Proxy, ProxyType, Rev, ScopedView, Workload};

use crate::{Built, Generate, Plan};

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
    /// The namespace, when it sees other services or rules than everybody else.
    namespace: Option<Str>,
}

/// Everything that one cluster depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterKey {
    name: Str,
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
            namespace: (!view.differing_hosts().is_empty()).then(|| view.namespace().clone()),
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
        Cluster { name: key.name.to_string(), ..Cluster::default() }.into()
    }
}

/// The clusters through which a proxy reaches the services that it sees.
pub fn outbound(_view: &ScopedView, _proxy_type: ProxyType) -> Plan<ClusterKey> {
    Plan::default()
}

/// The clusters through which a sidecar reaches its own workload.
pub fn inbound(_view: &ScopedView, _proxy: &Proxy, _workload: &Workload) -> Plan<ClusterKey> {
    Plan::default()
}
