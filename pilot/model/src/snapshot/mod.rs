//! Everything that is configured at one moment, immutable and shared.

mod builder;
mod destination_rules;
mod gateways;
mod services;
#[cfg(test)]
mod tests;
mod virtual_services;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::Str;

pub use self::builder::Builder;
pub use self::destination_rules::{DestinationRule, DestinationRuleTable, RuleChain};
pub use self::gateways::{Gateway, GatewayTable};
pub use self::services::ServiceTable;
pub use self::virtual_services::{VirtualService, VirtualServiceTable};
use crate::{ChangeSet, Derived, EndpointIndex, ScopedView, ServicelessHosts, Versioned, WorkloadTable};

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
}

/// Configuration and services. Tables of kinds that did not change are shared with the snapshot before.
#[derive(Debug)]
pub struct Snapshot {
    /// Mesh-wide configuration.
    pub mesh: Versioned<MeshConfig>,
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
    /// The views computed so far, by namespace.
    views: Mutex<BTreeMap<Str, Arc<ScopedView>>>,
    /// The hosts without service of views that see only what everybody sees.
    pub(crate) public_serviceless_hosts: Arc<OnceLock<ServicelessHosts>>,
    /// What was made from this snapshot.
    pub(crate) derived: Arc<Derived>,
    /// What was made from services, DestinationRules and mesh configuration; shared by snapshots in which they are the
    /// same.
    pub(crate) derived_from_services: Arc<Derived>,
}

// === impl Snapshot ===

impl Snapshot {
    /// What proxies of a namespace may see; computed once for all of them.
    pub fn view(&self, namespace: &str) -> Arc<ScopedView> {
        if let Some(view) = self.lock_views().get(namespace) {
            return Arc::clone(view);
        }
        // Computed without the lock: two callers may do the same work, none waits for another namespace.
        let view = Arc::new(ScopedView::new(self, namespace));
        Arc::clone(self.lock_views().entry(namespace.into()).or_insert(view))
    }

    fn lock_views(&self) -> std::sync::MutexGuard<'_, BTreeMap<Str, Arc<ScopedView>>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
