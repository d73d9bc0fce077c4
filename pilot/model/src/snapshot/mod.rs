//! Everything that is configured at one moment, immutable and shared.

mod builder;
mod destination_rules;
mod envoy_filters;
mod gateways;
mod hold;
mod policies;
mod services;
mod sidecars;
#[cfg(test)]
mod tests;
mod virtual_services;
mod without;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::{ConfigKey, Str};

pub use self::builder::Builder;
pub use self::destination_rules::{DestinationRule, DestinationRuleTable, RuleChain};
pub use self::envoy_filters::{EnvoyFilter, EnvoyFilterTable};
pub use self::gateways::{Gateway, GatewayTable};
pub use self::policies::{AuthenticationPolicy, AuthenticationPolicyTable, PeerMode};
pub use self::services::ServiceTable;
pub use self::sidecars::SidecarTable;
pub use self::virtual_services::{VirtualService, VirtualServiceTable};
use crate::{
    ChangeSet, Derived, EndpointIndex, IdentityTable, MESH_GATEWAY, NetworkTable, Proxy, ProxyType, Rev,
    ScopedView, ServicelessHosts, Versioned, Warning, WarningKind, Workload, WorkloadTable,
};

/// What one publication holds.
#[derive(Clone, Debug)]
pub struct Published {
    /// Counts publications, from 1.
    pub generation: u64,
    /// Configuration and services.
    pub snapshot: Arc<Snapshot>,
    /// Endpoints of all hosts.
    pub endpoints: Arc<EndpointIndex>,
    /// Workloads by address.
    pub workloads: Arc<WorkloadTable>,
    /// What is different from the publication before.
    pub changes: Arc<ChangeSet>,
    /// What stays in force although the sources say something else, and why.
    pub held: Arc<[Warning]>,
}

/// Configuration and services. Tables of kinds that did not change are shared with the snapshot before.
#[derive(Debug)]
pub struct Snapshot {
    /// Mesh-wide configuration.
    pub mesh: Versioned<MeshConfig>,
    /// The networks that the mesh spans.
    pub networks: Versioned<NetworkTable>,
    /// Who may answer for a host.
    pub identities: Arc<IdentityTable>,
    /// DNS suffix of services, such as `cluster.local`.
    pub domain: Str,
    /// Services.
    pub services: Arc<ServiceTable>,
    /// VirtualServices.
    pub virtual_services: Arc<VirtualServiceTable>,
    /// DestinationRules.
    pub destination_rules: Arc<DestinationRuleTable>,
    /// Gateways.
    pub gateways: Arc<GatewayTable>,
    /// Sidecars.
    pub sidecars: Arc<SidecarTable>,
    /// EnvoyFilters.
    pub envoy_filters: Arc<EnvoyFilterTable>,
    /// Policies and the MeshPolicy.
    pub authentication_policies: Arc<AuthenticationPolicyTable>,
    /// The views computed so far.
    views: Mutex<Views>,
    /// The snapshots computed so far in which objects are left out.
    without: Mutex<BTreeMap<BTreeSet<ConfigKey>, Arc<Snapshot>>>,
    /// What proxies of the clusters see, as far as it is not the same for all.
    by_cluster: Mutex<BTreeMap<Str, Arc<Snapshot>>>,
    /// The hosts without service of views that see only what everybody sees.
    pub(crate) public_serviceless_hosts: Arc<OnceLock<ServicelessHosts>>,
    /// What was made from this snapshot.
    pub(crate) derived: Arc<Derived>,
    /// What was made from services, DestinationRules and mesh configuration; shared by snapshots in which they are the
    /// same.
    pub(crate) derived_from_services: Arc<Derived>,
}

/// The views computed so far.
#[derive(Debug, Default)]
struct Views {
    by_namespace: BTreeMap<Str, Arc<ScopedView>>,
    /// By namespace and Sidecar.
    by_sidecar: BTreeMap<(Str, Rev), Arc<ScopedView>>,
}

// === impl Snapshot ===

impl Snapshot {
    /// What is wrong with objects whoever is configured by them: VirtualServices bound to Gateways that do not exist.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for object in self.virtual_services.iter() {
            for gateway in &object.gateways {
                if &**gateway != MESH_GATEWAY && !self.gateways.contains(gateway) {
                    warnings.push(Warning {
                        object: object.key.clone(),
                        kind: WarningKind::UnknownGateway,
                        reason: format!("gateways: there is no Gateway {gateway}"),
                    });
                }
            }
        }
        warnings
    }

    /// What a proxy may see: what its namespace does, or the part of it that its Sidecar imports. Where several clusters
    /// have services, these have the addresses of the proxy's own: it says which that is, else the registry does that knows
    /// its workload.
    pub fn view_of(&self, proxy: &Proxy, workload: &Workload) -> Arc<ScopedView> {
        let cluster = proxy.metadata.get("CLUSTER_ID").unwrap_or(&workload.cluster);
        match self.of_cluster(cluster) {
            Some(snapshot) => snapshot.view_in_cluster(proxy, workload),
            None => self.view_in_cluster(proxy, workload),
        }
    }

    fn view_in_cluster(&self, proxy: &Proxy, workload: &Workload) -> Arc<ScopedView> {
        let namespace = &proxy.namespace;
        let sidecar = match proxy.proxy_type {
            ProxyType::Sidecar => {
                self.sidecars
                    .select(namespace, &workload.labels, &self.mesh.root_namespace)
            }
            ProxyType::Router => None,
        };
        let Some(sidecar) = sidecar else {
            return self.view(namespace);
        };
        let key = (namespace.clone(), sidecar.rev());
        if let Some(view) = self.lock_views().by_sidecar.get(&key) {
            return Arc::clone(view);
        }
        let view = Arc::new(ScopedView::with_sidecar(&self.view(namespace), sidecar));
        Arc::clone(self.lock_views().by_sidecar.entry(key).or_insert(view))
    }

    /// What proxies of a namespace may see that no Sidecar limits; computed once for all of them.
    pub fn view(&self, namespace: &str) -> Arc<ScopedView> {
        if let Some(view) = self.lock_views().by_namespace.get(namespace) {
            return Arc::clone(view);
        }
        // Computed without the lock: two callers may do the same work, none waits for another namespace.
        let view = Arc::new(ScopedView::new(self, namespace));
        let mut views = self.lock_views();
        Arc::clone(views.by_namespace.entry(namespace.into()).or_insert(view))
    }

    /// The snapshot as the proxies of a cluster see it; `None` when all see the same.
    fn of_cluster(&self, cluster: &Str) -> Option<Arc<Self>> {
        let services = self.services.of_cluster(cluster)?;
        let lock = || self.by_cluster.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(cluster) {
            return Some(Arc::clone(known));
        }
        let snapshot = Arc::new(Self {
            mesh: self.mesh.clone(),
            networks: self.networks.clone(),
            identities: Arc::clone(&self.identities),
            domain: self.domain.clone(),
            services,
            virtual_services: Arc::clone(&self.virtual_services),
            destination_rules: Arc::clone(&self.destination_rules),
            gateways: Arc::clone(&self.gateways),
            sidecars: Arc::clone(&self.sidecars),
            envoy_filters: Arc::clone(&self.envoy_filters),
            authentication_policies: Arc::clone(&self.authentication_policies),
            views: Mutex::default(),
            without: Mutex::default(),
            by_cluster: Mutex::default(),
            public_serviceless_hosts: Arc::default(),
            derived: Arc::default(),
            derived_from_services: Arc::default(),
        });
        Some(Arc::clone(lock().entry(cluster.clone()).or_insert(snapshot)))
    }

    fn lock_views(&self) -> MutexGuard<'_, Views> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
