//! Clusters (P11).

mod affinity;
mod build;
mod plan;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use mesh_api::envoy::config::cluster::v3::Cluster;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::{ConfigKey, Protocol, Str};
use pilot_model::{EndpointAddress, Locality, Rev, RuleChain, ScopedView, Service, Versioned, Viewer};

pub use self::plan::{gateway, inbound, outbound};
use crate::destination::SubsetIndex;
use crate::tls::workload::CertificateFiles;
use crate::{Built, Generate, Origin, Vantage};

/// Makes clusters.
#[derive(Debug)]
pub struct Clusters;

/// What the outbound clusters of a proxy depend on: proxies with equal scopes share them all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutboundScope {
    mesh: Rev,
    services: Rev,
    destination_rules: Rev,
    identities: Rev,
    vantage: Vantage,
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
    Service(ServiceTarget),
    /// To a port of the proxy's own workload.
    Workload {
        address: EndpointAddress,
        service_port: u16,
        protocol: Protocol,
        /// The object that defines the service.
        service: Option<ConfigKey>,
        rules: Option<RuleChain>,
    },
    /// To an application beside a router, as a server of a Gateway says.
    DefaultEndpoint {
        address: EndpointAddress,
        protocol: Protocol,
        gateway: ConfigKey,
    },
}

/// A port of a service, or of a subset of it. What makes no difference to the cluster is left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ServiceTarget {
    service: Versioned<Service>,
    port: u16,
    subset: Option<SubsetIndex>,
    rules: Option<RuleChain>,
    /// Connections are handed on as they are, whatever the policy says about TLS (`A-20`).
    sni_dnat: bool,
    /// Who may answer, where the certificates of the mesh are used.
    identities: Option<Versioned<BTreeSet<Str>>>,
    certificate_files: Option<CertificateFiles>,
    /// The networks whose endpoints the cluster holds, where that leaves any out.
    network_view: Option<BTreeSet<Str>>,
    /// Where the proxy runs, when the cluster holds endpoints that are balanced by locality.
    locality: Option<Locality>,
    /// Whether localities have fixed shares.
    distributes: bool,
    /// Whether the endpoints of a service without an address are balanced over: a gateway's callers asked for the gateway.
    is_balanced: bool,
}

// === impl OutboundScope ===

impl OutboundScope {
    /// The scope of a proxy.
    pub fn new(view: &ScopedView, vantage: &Vantage) -> Self {
        let revs = view.revs();
        Self {
            mesh: revs.mesh,
            services: revs.services,
            destination_rules: revs.destination_rules,
            identities: view.identities().rev(),
            vantage: vantage.clone(),
            viewer: view.service_viewer(),
        }
    }

    /// From where the proxies of the scope look at the mesh.
    pub fn vantage(&self) -> &Vantage {
        &self.vantage
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

    fn origins(key: &ClusterKey) -> Vec<Origin> {
        let (service, rules) = match &key.target {
            Target::BlackHole | Target::OriginalDestination => return Vec::new(),
            Target::Service(target) => (Origin::Object(target.service.object()), &target.rules),
            Target::DefaultEndpoint { gateway, .. } => return vec![Origin::Object(gateway.clone())],
            // `inbound|<port>|<name>|<host>`
            Target::Workload { rules, .. } => {
                let host = key.name.rsplit('|').next().unwrap_or_default();
                (Origin::Host(host.into()), rules)
            }
        };
        let rules = rules.as_deref().unwrap_or_default();
        std::iter::once(service).chain(Origin::of_rules(rules)).collect()
    }
}
