//! All registries together: from events about objects to changes of the model (P4.1, E1).

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_api::istio::networking::v1alpha3;
use mesh_config::{Config, ConfigKey, Kind, Meta, Str};
use pilot_model::{Change, ConfigSpec, Visibility, Workload};

use crate::config_store::ConfigEvent;
use crate::consul::{self, ConsulRegistry};
use crate::kube::{self, KubeRegistry};
use crate::platform::Platform;
use crate::service_entry::ServiceEntryRegistry;

/// The kinds that Pilot follows.
pub const KINDS: &[Kind] = &[
    Kind::VirtualService,
    Kind::DestinationRule,
    Kind::Gateway,
    Kind::ServiceEntry,
    Kind::Sidecar,
    Kind::EnvoyFilter,
    Kind::Policy,
    Kind::MeshPolicy,
    Kind::ServiceRole,
    Kind::ServiceRoleBinding,
    Kind::RbacConfig,
    Kind::ClusterRbacConfig,
    Kind::HttpApiSpec,
    Kind::HttpApiSpecBinding,
    Kind::QuotaSpec,
    Kind::QuotaSpecBinding,
    Kind::Service,
    Kind::Endpoints,
    Kind::Pod,
    Kind::Node,
    Kind::Namespace,
];

/// Turns events into changes. An object that cannot be read is left out and remembered; its neighbours are not touched.
#[derive(Debug)]
pub struct Registries {
    /// `None` where the services of the cluster are not asked for.
    kube: Option<KubeRegistry>,
    consul: Option<ConsulRegistry>,
    service_entries: ServiceEntryRegistry,
    rejected: BTreeMap<ConfigKey, String>,
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
            consul,
            service_entries: ServiceEntryRegistry::new(default_export_to),
            rejected: BTreeMap::new(),
        };
        registries.set_default_export_to(default_export_to);
        registries
    }

    /// Takes over the mesh-wide default of `exportTo` of services.
    pub fn set_default_export_to(&mut self, default: Visibility) -> Vec<Change> {
        let kube = self.kube.as_mut();
        let mut changes = kube.map_or_else(Vec::new, |kube| kube.set_default_export_to(default));
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

    /// Whether an event that was applied last left its object out.
    pub fn has_rejected(&self, event: &ConfigEvent) -> bool {
        match event {
            ConfigEvent::Added(config) | ConfigEvent::Set(config) => {
                self.rejected.contains_key(&config.meta.key)
            }
            ConfigEvent::Gone(_) => false,
        }
    }

    /// The objects that were left out, and why.
    pub fn rejected(&self) -> &BTreeMap<ConfigKey, String> {
        &self.rejected
    }

    /// What is behind an address. It is what the first registry says that knows it; the ports that it serves are those
    /// of the first that knows any (P4.1). The order is that of the platforms, ServiceEntries come last.
    fn workload(&self, ip: IpAddr) -> Option<Workload> {
        let mut known = [
            self.kube.as_ref().and_then(|kube| kube.workload(ip)),
            self.consul.as_ref().and_then(|consul| consul.workload(ip)),
            self.service_entries.workload(ip),
        ]
        .into_iter()
        .flatten();
        let mut workload = known.next()?;
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
            Kind::ServiceEntry => {
                let entry = config.decode::<v1alpha3::ServiceEntry>().map_err(failed)?;
                self.service_entries.apply(&config.meta, &entry)
            }
            _ => match &mut self.kube {
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
            | Kind::EnvoyFilter => {
                vec![Change::ConfigGone(meta.key.clone())]
            }
            Kind::ServiceEntry => self.service_entries.remove(&meta.key),
            _ => match &mut self.kube {
                Some(kube) => kube.remove(meta),
                None => Vec::new(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
