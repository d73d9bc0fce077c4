//! What would be published if some objects did not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use mesh_config::{ConfigKey, Kind};

use super::{
    DestinationRuleTable, EnvoyFilterTable, GatewayTable, Published, ServiceTable, SidecarTable, Snapshot,
    VirtualServiceTable,
};
use crate::{Rev, Versioned};

impl Published {
    /// The same publication without some objects; itself when there are none to leave out.
    #[must_use]
    pub fn without(&self, objects: &BTreeSet<ConfigKey>) -> Self {
        if objects.is_empty() {
            return self.clone();
        }
        Self {
            snapshot: self.snapshot.without(objects),
            ..self.clone()
        }
    }
}

impl Snapshot {
    /// The snapshot without some objects; computed once for all who ask for the same.
    ///
    /// Left out are services, whatever defines them, and VirtualServices, DestinationRules, Gateways and EnvoyFilters;
    /// what a DestinationRule asks to be called under TLS is then not called. Of Sidecars only the listeners are: without
    /// what they import, proxies would see more than they may. Tables of other objects are shared.
    pub fn without(&self, objects: &BTreeSet<ConfigKey>) -> Arc<Snapshot> {
        let lock = || self.without.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(objects) {
            return Arc::clone(known);
        }
        let snapshot = Arc::new(self.compute_without(objects));
        Arc::clone(lock().entry(objects.clone()).or_insert(snapshot))
    }

    /// The version of an object that proxies are configured by; `None` when there is none.
    pub fn revision_of(&self, object: &ConfigKey) -> Option<Rev> {
        match object.kind {
            Kind::VirtualService => {
                let mut all = self.virtual_services.iter();
                all.find(|known| known.key == *object).map(|known| known.rev())
            }
            Kind::DestinationRule => {
                let mut all = self.destination_rules.iter();
                all.find(|known| known.key == *object).map(|known| known.rev())
            }
            Kind::Gateway => {
                let mut all = self.gateways.iter();
                all.find(|known| known.key == *object).map(|known| known.rev())
            }
            Kind::Sidecar => {
                let mut all = self.sidecars.iter();
                all.find(|known| known.key == *object).map(|known| known.rev())
            }
            Kind::EnvoyFilter => {
                let mut all = self.envoy_filters.iter();
                all.find(|known| known.key == *object).map(|known| known.rev())
            }
            // A ServiceEntry makes several.
            Kind::Service | Kind::ServiceEntry => {
                let services = self.services.iter();
                let own =
                    services.filter(|service| service.id.name == object.name && service.object() == *object);
                own.map(|service| service.rev()).max()
            }
            _ => None,
        }
    }

    fn compute_without(&self, objects: &BTreeSet<ConfigKey>) -> Snapshot {
        let concerns = |kinds: &[Kind]| objects.iter().any(|object| kinds.contains(&object.kind));
        let services = if concerns(&[Kind::Service, Kind::ServiceEntry]) {
            let left = self
                .services
                .iter()
                .filter(|service| !objects.contains(&service.object()));
            Arc::new(ServiceTable::new(Rev::unique(), left))
        } else {
            Arc::clone(&self.services)
        };
        let virtual_services = if concerns(&[Kind::VirtualService]) {
            let left = self
                .virtual_services
                .iter()
                .filter(|object| !objects.contains(&object.key));
            Arc::new(VirtualServiceTable::new(Rev::unique(), left))
        } else {
            Arc::clone(&self.virtual_services)
        };
        let destination_rules = if concerns(&[Kind::DestinationRule]) {
            let left = self.destination_rules.iter().filter_map(|object| {
                if !objects.contains(&object.key) {
                    return Some(object.clone());
                }
                Some(Versioned::new(Rev::unique(), object.rejected()?))
            });
            let left: BTreeMap<_, _> = left.map(|object| (object.key.clone(), object)).collect();
            Arc::new(DestinationRuleTable::new(Rev::unique(), &left))
        } else {
            Arc::clone(&self.destination_rules)
        };
        let gateways = if concerns(&[Kind::Gateway]) {
            let left = self
                .gateways
                .iter()
                .filter(|object| !objects.contains(&object.key));
            let left: BTreeMap<_, _> = left.map(|object| (object.key.clone(), object.clone())).collect();
            Arc::new(GatewayTable::new(Rev::unique(), &left))
        } else {
            Arc::clone(&self.gateways)
        };
        let envoy_filters = if concerns(&[Kind::EnvoyFilter]) {
            let left = self
                .envoy_filters
                .iter()
                .filter(|object| !objects.contains(&object.key));
            let left: BTreeMap<_, _> = left.map(|object| (object.key.clone(), object.clone())).collect();
            Arc::new(EnvoyFilterTable::new(Rev::unique(), &left))
        } else {
            Arc::clone(&self.envoy_filters)
        };
        let sidecars = if concerns(&[Kind::Sidecar]) {
            let left = self.sidecars.iter().map(|object| {
                let object = if objects.contains(&object.key) {
                    Versioned::new(Rev::unique(), object.without_listeners())
                } else {
                    object.clone()
                };
                (object.key.clone(), object)
            });
            Arc::new(SidecarTable::new(Rev::unique(), &left.collect()))
        } else {
            Arc::clone(&self.sidecars)
        };
        let is_same_base = Arc::ptr_eq(&services, &self.services)
            && Arc::ptr_eq(&destination_rules, &self.destination_rules);
        Snapshot {
            mesh: self.mesh.clone(),
            networks: self.networks.clone(),
            identities: Arc::clone(&self.identities),
            domain: self.domain.clone(),
            services,
            virtual_services,
            destination_rules,
            gateways,
            sidecars,
            envoy_filters,
            views: Mutex::default(),
            without: Mutex::default(),
            public_serviceless_hosts: Arc::default(),
            derived: Arc::default(),
            derived_from_services: if is_same_base {
                Arc::clone(&self.derived_from_services)
            } else {
                Arc::default()
            },
        }
    }
}
