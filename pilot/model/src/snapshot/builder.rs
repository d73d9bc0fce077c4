//! The one owner of the state: applies changes, publishes snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::{ConfigKey, Host, Kind, Meta, Str};

use super::hold::{Declared, Form, Holds};
use super::{
    AuthenticationPolicy, AuthenticationPolicyTable, DestinationRule, DestinationRuleTable, EnvoyFilter,
    EnvoyFilterTable, Gateway, GatewayTable, Published, ServiceTable, SidecarTable, Snapshot, VirtualService,
    VirtualServiceTable,
};
use crate::{
    Change, ChangeSet, ConfigSpec, Endpoint, EndpointIndex, IdentityTable, NetworkTable, Networks, Rev,
    Service, ServiceId, Sidecar, Versioned, Visibility, WorkloadTable,
};

/// Applies changes to the state and publishes it.
///
/// Values that are re-delivered unchanged keep their revision; tables of kinds without a change are shared with the
/// publication before.
#[derive(Debug)]
pub struct Builder {
    rev: Rev,
    generation: u64,
    domain: Str,
    mesh: Versioned<MeshConfig>,
    networks: Networks,
    network_table: Versioned<NetworkTable>,
    services: BTreeMap<ServiceId, Versioned<Service>>,
    virtual_services: BTreeMap<ConfigKey, Versioned<VirtualService>>,
    destination_rules: BTreeMap<ConfigKey, Versioned<DestinationRule>>,
    gateways: BTreeMap<ConfigKey, Versioned<Gateway>>,
    sidecars: BTreeMap<ConfigKey, Versioned<Sidecar>>,
    envoy_filters: BTreeMap<ConfigKey, Versioned<EnvoyFilter>>,
    authentication_policies: BTreeMap<ConfigKey, Versioned<AuthenticationPolicy>>,
    endpoints: Arc<EndpointIndex>,
    workloads: Arc<WorkloadTable>,
    identities: Arc<IdentityTable>,
    /// Hosts whose identities changed since the last publication.
    new_identities: BTreeSet<Host>,
    changes: ChangeSet,
    /// What stays in force although another form is declared above.
    holds: Holds,
    last: Option<Arc<Snapshot>>,
}

impl Builder {
    /// An empty state. `domain` is the DNS suffix of services, such as `cluster.local`.
    pub fn new(domain: impl Into<Str>, mesh: MeshConfig) -> Self {
        let rev = Rev::default().next();
        Self {
            rev,
            generation: 0,
            domain: domain.into(),
            mesh: Versioned::new(rev, mesh),
            networks: Networks::default(),
            network_table: Versioned::new(rev, NetworkTable::default()),
            services: BTreeMap::new(),
            virtual_services: BTreeMap::new(),
            destination_rules: BTreeMap::new(),
            gateways: BTreeMap::new(),
            sidecars: BTreeMap::new(),
            envoy_filters: BTreeMap::new(),
            authentication_policies: BTreeMap::new(),
            endpoints: Arc::default(),
            workloads: Arc::default(),
            identities: Arc::default(),
            new_identities: BTreeSet::new(),
            changes: ChangeSet {
                mesh: true,
                ..ChangeSet::default()
            },
            holds: Holds::default(),
            last: None,
        }
    }

    /// Takes over one fact.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Mesh(mesh) => self.apply_mesh(*mesh),
            Change::Networks(networks) => {
                if self.networks != *networks {
                    self.networks = *networks;
                    self.changes.networks = true;
                }
            }
            Change::Config(meta, spec) => self.apply_config(&meta, spec),
            Change::ConfigGone(key) => self.remove_config(key),
            Change::Service(service) => {
                let id = service.id.clone();
                if replace(&mut self.services, id.clone(), *service, &mut self.rev) {
                    self.changes.services.insert(id);
                }
            }
            Change::ServiceGone(id) => {
                if remove(&mut self.services, &id, &mut self.rev) {
                    self.changes.services.insert(id);
                }
            }
            Change::Endpoints {
                registry,
                host,
                endpoints,
            } => {
                let endpoints = endpoints.map(normalized);
                // Looked at first, as the index is copied to be changed.
                if !self.endpoints.holds(&host, &registry, endpoints.as_deref()) {
                    let rev = advance(&mut self.rev);
                    Arc::make_mut(&mut self.endpoints).set(&host, &registry, endpoints, rev);
                    self.follow_identities(&host);
                    self.changes.endpoints.insert(host);
                }
            }
            Change::Workload(ip, workload) => {
                if !self.workloads.holds(ip, workload.as_deref()) {
                    Arc::make_mut(&mut self.workloads).set(ip, workload.map(|workload| *workload));
                    self.changes.workloads.insert(ip);
                }
            }
        }
    }

    /// Whether anything changed since the last publication.
    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// What changed since the last publication.
    pub fn changes(&self) -> &ChangeSet {
        &self.changes
    }

    /// Publishes the state.
    pub fn publish(&mut self) -> Published {
        let mut changes = std::mem::take(&mut self.changes);
        let new_identities = std::mem::take(&mut self.new_identities);
        if self
            .last
            .as_ref()
            .is_some_and(|last| last.destination_rules.check_identities())
        {
            changes.identities = new_identities;
        }
        self.generation += 1;
        let snapshot = match &self.last {
            Some(last) if changes.is_incremental() && !self.holds.wait_for(&changes) => Arc::clone(last),
            _ => {
                self.resolve_networks(&changes);
                self.snapshot(&mut changes)
            }
        };
        self.last = Some(Arc::clone(&snapshot));
        Published {
            generation: self.generation,
            snapshot,
            endpoints: Arc::clone(&self.endpoints),
            workloads: Arc::clone(&self.workloads),
            changes: Arc::new(changes),
            held: self.holds.warnings().into(),
        }
    }

    /// The next snapshot, which is the last one when everything that changed is held.
    fn snapshot(&mut self, changes: &mut ChangeSet) -> Arc<Snapshot> {
        let last = self.last.clone();
        let last = last.as_deref();
        let services = table(
            last.map(|last| &last.services),
            !changes.services.is_empty(),
            || ServiceTable::new(self.rev, self.services.values()),
        );
        let declare = |rev| DestinationRuleTable::new(rev, self.destination_rules.values());
        let in_force = last.map(|last| &*last.destination_rules);
        let rules =
            (in_force.is_none() || concern(changes, Kind::DestinationRule)).then(|| declare(self.rev));
        let none = DestinationRuleTable::default();
        let declared = Declared {
            domain: &self.domain,
            root: &self.mesh.root_namespace,
            virtual_services: &self.virtual_services,
            services: &services,
            rules: rules.as_ref().or(in_force).unwrap_or(&none),
            endpoints: &self.endpoints,
        };
        let holds_others = self.holds.settle(&declared, in_force, changes, &mut self.rev);
        if let Some(last) = &self.last
            && changes.is_incremental()
        {
            return Arc::clone(last);
        }
        let destination_rules = match (last, rules) {
            (Some(last), None) if !holds_others => Arc::clone(&last.destination_rules),
            (_, rules) => {
                let rules = rules.unwrap_or_else(|| declare(self.rev));
                let held = self.holds.subsets().cloned().collect();
                Arc::new(rules.with_held(self.rev, &self.mesh.root_namespace, held))
            }
        };
        let changed = |kind| concern(changes, kind);
        let same = |last: &&Snapshot| {
            last.mesh == self.mesh
                && Arc::ptr_eq(&last.services, &services)
                && Arc::ptr_eq(&last.destination_rules, &destination_rules)
        };
        let derived_from_services = last
            .filter(same)
            .map_or_else(Arc::default, |last| Arc::clone(&last.derived_from_services));
        Arc::new(Snapshot {
            mesh: self.mesh.clone(),
            networks: self.network_table.clone(),
            // Left out where nobody asks for them, so that they make no difference.
            identities: if destination_rules.check_identities() {
                Arc::clone(&self.identities)
            } else {
                Arc::default()
            },
            domain: self.domain.clone(),
            services,
            virtual_services: table(
                last.map(|last| &last.virtual_services),
                changed(Kind::VirtualService),
                || {
                    let objects = self.virtual_services.values();
                    VirtualServiceTable::new(self.rev, objects.map(|object| self.holds.in_force(object)))
                },
            ),
            destination_rules,
            gateways: table(last.map(|last| &last.gateways), changed(Kind::Gateway), || {
                GatewayTable::new(self.rev, &self.gateways)
            }),
            sidecars: table(last.map(|last| &last.sidecars), changed(Kind::Sidecar), || {
                SidecarTable::new(self.rev, &self.sidecars)
            }),
            envoy_filters: table(
                last.map(|last| &last.envoy_filters),
                changed(Kind::EnvoyFilter),
                || EnvoyFilterTable::new(self.rev, &self.envoy_filters),
            ),
            authentication_policies: table(
                last.map(|last| &last.authentication_policies),
                changed(Kind::Policy) || changed(Kind::MeshPolicy),
                || AuthenticationPolicyTable::new(self.authentication_policies.values()),
            ),
            views: Mutex::default(),
            without: Mutex::default(),
            by_cluster: Mutex::default(),
            public_serviceless_hosts: Arc::default(),
            derived: Arc::default(),
            derived_from_services,
        })
    }

    /// Keeps the identities of a host in step with its endpoints.
    fn follow_identities(&mut self, host: &Host) {
        let endpoints = self.endpoints.get(host.as_str());
        let identities = endpoints.map_or_else(BTreeSet::new, |endpoints| endpoints.service_accounts());
        if !self.identities.holds(host, &identities) {
            let rev = advance(&mut self.rev);
            Arc::make_mut(&mut self.identities).set(host, identities, rev);
            self.new_identities.insert(host.clone());
        }
    }

    /// Finds the gateways of networks where they are now.
    fn resolve_networks(&mut self, changes: &ChangeSet) {
        let moved = !changes.services.is_empty() && self.networks.names_services();
        if !changes.networks && !moved {
            return;
        }
        let services = &self.services;
        let table = self.networks.resolve(|host| {
            let named = services.values().filter(|service| service.id.host == *host);
            named
                .flat_map(|service| service.external_addresses.iter().copied())
                .collect()
        });
        if *self.network_table.value().as_ref() != table {
            self.network_table = Versioned::new(advance(&mut self.rev), table);
        }
    }

    fn apply_mesh(&mut self, mesh: MeshConfig) {
        if *self.mesh.value().as_ref() == mesh {
            return;
        }
        self.mesh = Versioned::new(advance(&mut self.rev), mesh);
        self.changes.mesh = true;

        // The defaults of `exportTo` are mesh-wide configuration.
        let default =
            Visibility::from_export_to(&self.mesh.default_virtual_service_export_to, Visibility::Public);
        let held = self.holds.virtual_services_mut();
        for object in self.virtual_services.values_mut().chain(held) {
            let export_to = Visibility::from_export_to(&object.spec.export_to, default);
            if object.export_to != export_to {
                let changed = VirtualService {
                    export_to,
                    ..VirtualService::clone(object)
                };
                *object = Versioned::new(advance(&mut self.rev), changed);
            }
        }
        let default =
            Visibility::from_export_to(&self.mesh.default_destination_rule_export_to, Visibility::Public);
        let held = self.holds.destination_rules_mut();
        for object in self.destination_rules.values_mut().chain(held) {
            let export_to = Visibility::from_export_to(&object.spec.export_to, default);
            if object.export_to != export_to {
                let changed = DestinationRule {
                    export_to,
                    ..DestinationRule::clone(object)
                };
                *object = Versioned::new(advance(&mut self.rev), changed);
            }
        }
    }

    fn apply_config(&mut self, meta: &Meta, spec: ConfigSpec) {
        let key = meta.key.clone();
        let former = self.form(&key);
        let changed = match spec {
            ConfigSpec::VirtualService(spec) => {
                let default = Visibility::from_export_to(
                    &self.mesh.default_virtual_service_export_to,
                    Visibility::Public,
                );
                let object = VirtualService::new(meta, *spec, &self.domain, default);
                replace(&mut self.virtual_services, key.clone(), object, &mut self.rev)
            }
            ConfigSpec::DestinationRule(spec) => {
                let default = Visibility::from_export_to(
                    &self.mesh.default_destination_rule_export_to,
                    Visibility::Public,
                );
                let object = DestinationRule::new(meta, *spec, &self.domain, default);
                replace(&mut self.destination_rules, key.clone(), object, &mut self.rev)
            }
            ConfigSpec::Gateway(spec) => replace(
                &mut self.gateways,
                key.clone(),
                Gateway::new(meta, *spec),
                &mut self.rev,
            ),
            ConfigSpec::Sidecar(spec) => replace(
                &mut self.sidecars,
                key.clone(),
                Sidecar::new(meta, *spec),
                &mut self.rev,
            ),
            ConfigSpec::EnvoyFilter(spec) => replace(
                &mut self.envoy_filters,
                key.clone(),
                EnvoyFilter::new(meta, *spec),
                &mut self.rev,
            ),
            ConfigSpec::Policy(spec) | ConfigSpec::MeshPolicy(spec) => replace(
                &mut self.authentication_policies,
                key.clone(),
                AuthenticationPolicy::new(meta, *spec),
                &mut self.rev,
            ),
        };
        if changed {
            self.holds.note(&key, former);
            self.changes.configs.insert(key);
        }
    }

    /// What a change of an object may have to leave in force.
    fn form(&self, key: &ConfigKey) -> Form {
        match key.kind {
            Kind::VirtualService => Form::VirtualService(self.virtual_services.get(key).cloned()),
            Kind::DestinationRule => Form::DestinationRule(self.destination_rules.get(key).cloned()),
            _ => Form::Other,
        }
    }

    fn remove_config(&mut self, key: ConfigKey) {
        let former = self.form(&key);
        let rev = &mut self.rev;
        let removed = match key.kind {
            Kind::VirtualService => remove(&mut self.virtual_services, &key, rev),
            Kind::DestinationRule => remove(&mut self.destination_rules, &key, rev),
            Kind::Gateway => remove(&mut self.gateways, &key, rev),
            Kind::Sidecar => remove(&mut self.sidecars, &key, rev),
            Kind::EnvoyFilter => remove(&mut self.envoy_filters, &key, rev),
            Kind::Policy | Kind::MeshPolicy => remove(&mut self.authentication_policies, &key, rev),
            _ => false,
        };
        if removed {
            self.holds.note(&key, former);
            self.changes.configs.insert(key);
        }
    }
}

/// Whether the table of a kind may be different.
fn concern(changes: &ChangeSet, kind: Kind) -> bool {
    changes.mesh || changes.configs.iter().any(|key| key.kind == kind)
}

/// Stores a value under a new revision, unless the same value is there already; returns whether it was stored.
fn replace<K: Ord, T: PartialEq>(
    values: &mut BTreeMap<K, Versioned<T>>,
    key: K,
    value: T,
    rev: &mut Rev,
) -> bool {
    if values.get(&key).is_some_and(|known| **known == value) {
        return false;
    }
    values.insert(key, Versioned::new(advance(rev), value));
    true
}

/// Forgets a value; returns whether it was there. The table without it is another version of the table.
fn remove<K: Ord, T>(values: &mut BTreeMap<K, Versioned<T>>, key: &K, rev: &mut Rev) -> bool {
    let removed = values.remove(key).is_some();
    if removed {
        advance(rev);
    }
    removed
}

/// Endpoints as they are kept: sorted, each once.
fn normalized(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    endpoints.sort();
    endpoints.dedup();
    endpoints
}

pub(super) fn advance(rev: &mut Rev) -> Rev {
    *rev = rev.next();
    *rev
}

/// The table of the last snapshot when nothing in it changed, else a new one.
fn table<T>(last: Option<&Arc<T>>, changed: bool, build: impl FnOnce() -> T) -> Arc<T> {
    match last {
        Some(last) if !changed => Arc::clone(last),
        _ => Arc::new(build()),
    }
}
