//! What would be published if some objects did not exist.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_config::{ConfigKey, Kind};

use super::hold::HeldSubset;
use super::{
    AuthenticationPolicyTable, DestinationRule, DestinationRuleTable, EnvoyFilterTable, GatewayTable,
    Published, ServiceTable, SidecarTable, Snapshot, VirtualServiceTable,
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
    /// what they import, proxies would see more than they may. What an authentication policy lets in with certificates only
    /// is then closed. Tables of other objects are shared.
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
            Kind::VirtualService => revision(self.virtual_services.iter(), object, |known| &known.key),
            // What stays of a rule has a version of its own.
            Kind::DestinationRule => {
                let held = self.destination_rules.held().iter().map(|held| &held.rule);
                let all = self.destination_rules.iter().chain(held);
                revision(all, object, |known| &known.key)
            }
            Kind::Gateway => revision(self.gateways.iter(), object, |known| &known.key),
            Kind::Sidecar => revision(self.sidecars.iter(), object, |known| &known.key),
            Kind::EnvoyFilter => revision(self.envoy_filters.iter(), object, |known| &known.key),
            Kind::Policy | Kind::MeshPolicy => {
                revision(self.authentication_policies.iter(), object, |known| &known.key)
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
        let is_left = |key: &ConfigKey| !objects.contains(key);
        let services = rest(
            &self.services,
            concerns(&[Kind::Service, Kind::ServiceEntry]),
            |rev| {
                let all = self.services.iter();
                ServiceTable::new(rev, all.filter(|service| is_left(&service.object())))
            },
        );
        let virtual_services = rest(&self.virtual_services, concerns(&[Kind::VirtualService]), |rev| {
            let all = self.virtual_services.iter();
            VirtualServiceTable::new(rev, all.filter(|object| is_left(&object.key)))
        });
        let destination_rules = rest(
            &self.destination_rules,
            concerns(&[Kind::DestinationRule]),
            |rev| {
                let left = |object: &Versioned<DestinationRule>| {
                    if is_left(&object.key) {
                        return Some(object.clone());
                    }
                    Some(Versioned::new(Rev::unique(), object.rejected()?))
                };
                let held = self.destination_rules.held().iter().filter_map(|held| {
                    let rule = left(&held.rule)?;
                    Some(HeldSubset { rule, ..held.clone() })
                });
                let rules: Vec<_> = self.destination_rules.iter().filter_map(left).collect();
                let root = &self.mesh.root_namespace;
                DestinationRuleTable::new(rev, &rules).with_held(rev, root, held.collect())
            },
        );
        let gateways = rest(&self.gateways, concerns(&[Kind::Gateway]), |rev| {
            let left = self.gateways.iter().filter(|object| is_left(&object.key));
            GatewayTable::new(
                rev,
                &left.map(|object| (object.key.clone(), object.clone())).collect(),
            )
        });
        let envoy_filters = rest(&self.envoy_filters, concerns(&[Kind::EnvoyFilter]), |rev| {
            let left = self.envoy_filters.iter().filter(|object| is_left(&object.key));
            EnvoyFilterTable::new(
                rev,
                &left.map(|object| (object.key.clone(), object.clone())).collect(),
            )
        });
        let sidecars = rest(&self.sidecars, concerns(&[Kind::Sidecar]), |rev| {
            let all = self.sidecars.iter().map(|object| {
                let object = if is_left(&object.key) {
                    object.clone()
                } else {
                    Versioned::new(Rev::unique(), object.without_listeners())
                };
                (object.key.clone(), object)
            });
            SidecarTable::new(rev, &all.collect())
        });
        let authentication_policies = rest(
            &self.authentication_policies,
            concerns(&[Kind::Policy, Kind::MeshPolicy]),
            |_| {
                let all = self.authentication_policies.iter().map(|object| {
                    if is_left(&object.key) {
                        object.clone()
                    } else {
                        Versioned::new(Rev::unique(), object.rejected())
                    }
                });
                AuthenticationPolicyTable::new(&all.collect::<Vec<_>>())
            },
        );
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
            authentication_policies,
            views: Mutex::default(),
            without: Mutex::default(),
            by_cluster: Mutex::default(),
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

/// The newest version of an object among those of its kind.
fn revision<'a, T: 'a>(
    all: impl Iterator<Item = &'a Versioned<T>>,
    object: &ConfigKey,
    key: impl Fn(&T) -> &ConfigKey,
) -> Option<Rev> {
    let versions = all.filter(|known| key(known) == object);
    versions.map(|known| known.rev()).max()
}

/// A new table where the objects concern it, else the same one.
fn rest<T>(table: &Arc<T>, is_concerned: bool, left: impl FnOnce(Rev) -> T) -> Arc<T> {
    if is_concerned {
        Arc::new(left(Rev::unique()))
    } else {
        Arc::clone(table)
    }
}
