//! All registries together: from events about objects to changes of the model (P4.1, E1).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::istio::authentication::v1alpha1 as authentication;
use mesh_api::istio::networking::v1alpha3;
use mesh_config::ingress::PortName;
use mesh_config::{Config, ConfigKey, Kind, Meta, Str};
use pilot_model::{Change, ConfigSpec, Visibility, Workload};

use crate::config_store::ConfigEvent;
use crate::consul::{self, ConsulRegistry};
use crate::kube::{self, KubeEvent, KubeRegistry};
use crate::platform::Platform;
use crate::service_entry::ServiceEntryRegistry;

/// The kinds that say what runs in a cluster. Where an API server is followed, nobody else is asked for them.
pub const CLUSTER_KINDS: &[Kind] = &[
    Kind::Service,
    Kind::Endpoints,
    Kind::Pod,
    Kind::Node,
    Kind::Namespace,
];

/// The kinds that Pilot follows: its configuration, and what runs in a cluster.
pub fn kinds() -> impl Iterator<Item = Kind> {
    Kind::PILOT.iter().chain(CLUSTER_KINDS).copied()
}

/// Turns events into changes. An object that cannot be read is left out and remembered; its neighbours are not touched.
#[derive(Debug)]
pub struct Registries {
    /// The cluster that Pilot runs in. `None` where its services are not asked for.
    kube: Option<KubeRegistry>,
    /// Whether its objects come from its API server, not from the sources of configuration.
    has_api_server: bool,
    /// Other clusters, by the names of their registries (P4.3).
    remotes: BTreeMap<Str, Remote>,
    consul: Option<ConsulRegistry>,
    service_entries: ServiceEntryRegistry,
    rejected: BTreeMap<ConfigKey, String>,
}

/// What is known of another cluster.
#[derive(Debug)]
struct Remote {
    /// By which of its followers it is known.
    incarnation: u64,
    registry: KubeRegistry,
    /// What a newer follower has said so far: it counts when it is complete.
    successor: Option<(u64, KubeRegistry)>,
}

// === impl Registries ===

impl Registries {
    /// Empty registries of the cluster and of ServiceEntries. `domain` is the DNS suffix of the cluster, `trust_domain` that of identities.
    pub fn new(domain: impl Into<Str>, trust_domain: impl Into<Str>, default_export_to: Visibility) -> Self {
        Self::of(&[Platform::Kubernetes], domain, trust_domain, default_export_to)
    }

    /// Empty registries of some platforms, and of ServiceEntries, which are always there (P4.1).
    pub fn of(
        platforms: &[Platform],
        domain: impl Into<Str>,
        trust_domain: impl Into<Str>,
        default_export_to: Visibility,
    ) -> Self {
        let trust_domain = trust_domain.into();
        let consul = platforms
            .contains(&Platform::Consul)
            .then(|| ConsulRegistry::new(consul::REGISTRY, &trust_domain));
        let kube = platforms
            .iter()
            .any(|platform| matches!(platform, Platform::Kubernetes | Platform::Mcp))
            .then(|| KubeRegistry::new(kube::REGISTRY, domain, trust_domain));
        let mut registries = Self {
            kube,
            has_api_server: false,
            remotes: BTreeMap::new(),
            consul,
            service_entries: ServiceEntryRegistry::new(default_export_to),
            rejected: BTreeMap::new(),
        };
        registries.set_default_export_to(default_export_to);
        registries
    }

    /// The objects of the cluster come from its API server ([`Self::apply_kube`]), not from the sources.
    #[must_use]
    pub fn with_api_server(self) -> Self {
        Self {
            has_api_server: self.kube.is_some(),
            ..self
        }
    }

    /// Whether an API server is followed.
    pub fn has_api_server(&self) -> bool {
        self.has_api_server
    }

    /// Takes over the mesh-wide default of `exportTo` of services.
    pub fn set_default_export_to(&mut self, default: Visibility) -> Vec<Change> {
        let remotes = self.remotes.values_mut();
        let clusters = remotes.flat_map(|remote| {
            let successor = remote.successor.as_mut();
            successor
                .map(|(_, registry)| registry)
                .into_iter()
                .chain([&mut remote.registry])
        });
        let clusters = self.kube.iter_mut().chain(clusters);
        let mut changes: Vec<Change> = clusters
            .flat_map(|cluster| cluster.set_default_export_to(default))
            .collect();
        if let Some(consul) = &mut self.consul {
            changes.extend(consul.set_default_export_to(default));
        }
        changes.extend(self.service_entries.set_default_export_to(default));
        changes
    }

    /// Takes over an event.
    pub fn apply(&mut self, event: &ConfigEvent) -> Vec<Change> {
        let changes = self.convert(event);
        self.of_all(changes)
    }

    /// Takes over the instances of a service of the Consul catalog; none when it is gone.
    pub fn apply_consul(&mut self, service: &str, instances: Vec<consul::Instance>) -> Vec<Change> {
        let Some(consul) = &mut self.consul else {
            return Vec::new();
        };
        let changes = consul.set(service, instances);
        self.of_all(changes)
    }

    /// Takes over what the API server of our own cluster says.
    pub fn apply_kube(&mut self, event: KubeEvent) -> Vec<Change> {
        let Some(kube) = &mut self.kube else {
            return Vec::new();
        };
        match &event {
            KubeEvent::Set(config) => drop(self.rejected.remove(&config.meta.key)),
            KubeEvent::Gone(key) => drop(self.rejected.remove(key)),
            KubeEvent::Rejected(Some(key), reason) => {
                self.rejected.insert(key.clone(), reason.clone());
            }
            _ => {}
        }
        let changes = taken(kube, event);
        self.of_all(changes)
    }

    /// Takes over what the API server of another cluster says to its follower of this number. A cluster is there from
    /// [`KubeEvent::Began`] until [`KubeEvent::ClusterGone`]; what a follower says that another has taken the place of
    /// comes too late.
    pub fn apply_remote(&mut self, cluster: &Str, incarnation: u64, event: KubeEvent) -> Vec<Change> {
        let changes = match (event, self.remotes.get_mut(cluster)) {
            (KubeEvent::ClusterGone, _) => {
                let gone = self.remotes.remove(cluster);
                gone.map(|remote| remote.registry.withdraw()).unwrap_or_default()
            }
            (KubeEvent::Began, remote) => {
                let Some(primary) = &self.kube else {
                    return Vec::new();
                };
                let registry = primary.sibling(cluster.clone());
                match remote {
                    Some(remote) => remote.successor = Some((incarnation, registry)),
                    None => {
                        let remote = Remote {
                            incarnation,
                            registry,
                            successor: None,
                        };
                        self.remotes.insert(cluster.clone(), remote);
                    }
                }
                Vec::new()
            }
            (event, Some(remote)) => remote.take(incarnation, event),
            (_, None) => Vec::new(),
        };
        self.of_all(changes)
    }

    /// Whether the object of an event is known in a cluster.
    pub(crate) fn has(&self, cluster: &str, event: &KubeEvent) -> bool {
        let registry = match cluster {
            kube::REGISTRY => self.kube.as_ref(),
            cluster => self.remotes.get(cluster).map(|remote| &remote.registry),
        };
        registry.is_some_and(|registry| match event {
            KubeEvent::Set(config) => registry.has(&config.meta.key),
            KubeEvent::Gone(key) => registry.has(key),
            KubeEvent::Slice(name, _) | KubeEvent::SliceGone(name) => registry.has_slice(name),
            _ => false,
        })
    }

    /// The number of a port of a service of our cluster by its name.
    pub(crate) fn port_number(&self, port: PortName<'_>) -> Option<u32> {
        self.kube.as_ref()?.port_number(port)
    }

    /// Whether services come from a Consul catalog too.
    pub fn has_consul(&self) -> bool {
        self.consul.is_some()
    }

    fn of_all(&self, mut changes: Vec<Change>) -> Vec<Change> {
        // A registry says what it knows of a workload. What is known of it is for all of them together to say.
        for change in &mut changes {
            if let Change::Workload(ip, workload) = change {
                *workload = self.workload(*ip).map(Box::new);
            }
        }
        changes
    }

    fn convert(&mut self, event: &ConfigEvent) -> Vec<Change> {
        match event {
            ConfigEvent::Added(config) | ConfigEvent::Set(config) => match self.set(config) {
                Ok(changes) => {
                    self.rejected.remove(&config.meta.key);
                    changes
                }
                Err(reason) => {
                    let key = &config.meta.key;
                    tracing::warn!(object = %key, reason, "object is left out");
                    self.rejected.insert(key.clone(), reason);
                    // Whatever it said before, it does not say so any more.
                    self.gone(&config.meta)
                }
            },
            ConfigEvent::Gone(meta) => {
                self.rejected.remove(&meta.key);
                self.gone(meta)
            }
        }
    }

    /// The objects that were left out, and why.
    pub fn rejected(&self) -> &BTreeMap<ConfigKey, String> {
        &self.rejected
    }

    /// What is behind an address. It is what the first registry says that knows it; the ports that it serves are those
    /// of the first that knows any (P4.1). The order is that of the platforms, our own cluster before others, ServiceEntries last.
    fn workload(&self, ip: IpAddr) -> Option<Workload> {
        let remotes = self.remotes.values().map(|remote| &remote.registry);
        let clusters = self.kube.iter().chain(remotes);
        let of_clusters: Vec<Workload> = clusters.filter_map(|cluster| cluster.workload(ip)).collect();
        // Networks of clusters may have the same addresses.
        let others: Vec<Arc<Workload>> = of_clusters.iter().skip(1).cloned().map(Arc::new).collect();
        let mut known = of_clusters.into_iter().chain(
            [
                self.consul.as_ref().and_then(|consul| consul.workload(ip)),
                self.service_entries.workload(ip),
            ]
            .into_iter()
            .flatten(),
        );
        let mut workload = known.next()?;
        workload.others.extend(others);
        if workload.instances.is_empty() {
            let instances = known.map(|other| other.instances);
            workload.instances = instances
                .into_iter()
                .find(|instances| !instances.is_empty())
                .unwrap_or_default();
        }
        Some(workload)
    }

    fn set(&mut self, config: &Config) -> Result<Vec<Change>, String> {
        let failed = |error: prost::DecodeError| error.to_string();
        let meta = || config.meta.clone();
        Ok(match config.meta.key.kind {
            Kind::VirtualService => {
                let spec = config.decode::<v1alpha3::VirtualService>().map_err(failed)?;
                vec![Change::Config(meta(), ConfigSpec::VirtualService(Box::new(spec)))]
            }
            Kind::DestinationRule => {
                let spec = config.decode::<v1alpha3::DestinationRule>().map_err(failed)?;
                vec![Change::Config(
                    meta(),
                    ConfigSpec::DestinationRule(Box::new(spec)),
                )]
            }
            Kind::Gateway => {
                let spec = config.decode::<v1alpha3::Gateway>().map_err(failed)?;
                vec![Change::Config(meta(), ConfigSpec::Gateway(Box::new(spec)))]
            }
            Kind::Sidecar => {
                let spec = config.decode::<v1alpha3::Sidecar>().map_err(failed)?;
                vec![Change::Config(meta(), ConfigSpec::Sidecar(Box::new(spec)))]
            }
            Kind::EnvoyFilter => {
                let spec = config.decode::<v1alpha3::EnvoyFilter>().map_err(failed)?;
                vec![Change::Config(meta(), ConfigSpec::EnvoyFilter(Box::new(spec)))]
            }
            Kind::Policy => {
                let spec = config.decode::<authentication::Policy>().map_err(failed)?;
                vec![Change::Config(meta(), ConfigSpec::Policy(Box::new(spec)))]
            }
            Kind::MeshPolicy => {
                let spec = config.decode::<authentication::Policy>().map_err(failed)?;
                vec![Change::Config(meta(), ConfigSpec::MeshPolicy(Box::new(spec)))]
            }
            Kind::ServiceEntry => {
                let entry = config.decode::<v1alpha3::ServiceEntry>().map_err(failed)?;
                self.service_entries.apply(&config.meta, &entry)
            }
            _ => match &mut self.kube {
                _ if self.has_api_server => Vec::new(),
                Some(kube) => kube.apply(config).map_err(|error| error.to_string())?,
                None => Vec::new(),
            },
        })
    }

    fn gone(&mut self, meta: &Meta) -> Vec<Change> {
        match meta.key.kind {
            Kind::VirtualService
            | Kind::DestinationRule
            | Kind::Gateway
            | Kind::Sidecar
            | Kind::EnvoyFilter
            | Kind::Policy
            | Kind::MeshPolicy => {
                vec![Change::ConfigGone(meta.key.clone())]
            }
            Kind::ServiceEntry => self.service_entries.remove(&meta.key),
            _ => match &mut self.kube {
                _ if self.has_api_server => Vec::new(),
                Some(kube) => kube.remove(&meta.key),
                None => Vec::new(),
            },
        }
    }
}

// === impl Remote ===

impl Remote {
    fn take(&mut self, incarnation: u64, event: KubeEvent) -> Vec<Change> {
        if incarnation == self.incarnation {
            return taken(&mut self.registry, event);
        }
        match self.successor.take() {
            Some((successor, registry)) if successor == incarnation => {
                if let KubeEvent::Synced = event {
                    let before = std::mem::replace(&mut self.registry, registry);
                    self.incarnation = incarnation;
                    let mut changes = before.withdraw();
                    changes.extend(self.registry.everything());
                    return changes;
                }
                let (_, registry) = self.successor.insert((successor, registry));
                // Nobody sees it before it is complete.
                drop(taken(registry, event));
            }
            other => self.successor = other,
        }
        Vec::new()
    }
}

fn taken(registry: &mut KubeRegistry, event: KubeEvent) -> Vec<Change> {
    registry.take(event).unwrap_or_else(|error| {
        // Nothing that was made from an object of an API server does not decode.
        tracing::warn!(%error, "object is left out");
        Vec::new()
    })
}

#[cfg(test)]
mod tests;
