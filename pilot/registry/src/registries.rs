//! All registries together: from events about objects to changes of the model (P4.1, E1).

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_api::istio::networking::v1alpha3;
use mesh_config::{Config, ConfigKey, Kind, Meta, Str};
use pilot_model::{Change, ConfigSpec, Visibility, Workload};

use crate::config_store::ConfigEvent;
use crate::kube::{self, KubeRegistry};
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
    kube: KubeRegistry,
    service_entries: ServiceEntryRegistry,
    rejected: BTreeMap<ConfigKey, String>,
}

// === impl Registries ===

impl Registries {
    /// Empty registries. `domain` is the DNS suffix of the cluster, `trust_domain` that of identities.
    pub fn new(domain: impl Into<Str>, trust_domain: impl Into<Str>, default_export_to: Visibility) -> Self {
        Self {
            kube: KubeRegistry::new(kube::REGISTRY, domain, trust_domain),
            service_entries: ServiceEntryRegistry::new(default_export_to),
            rejected: BTreeMap::new(),
        }
    }

    /// Takes over an event.
    pub fn apply(&mut self, event: &ConfigEvent) -> Vec<Change> {
        let mut changes = self.convert(event);
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
            ConfigEvent::Set(config) => match self.set(config) {
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

    /// What is behind an address. It is what the cluster says it is; the ports that it serves are those of the first
    /// registry that knows any (P4.1).
    fn workload(&self, ip: IpAddr) -> Option<Workload> {
        let of_entries = || self.service_entries.workload(ip);
        match self.kube.workload(ip) {
            Some(workload) if workload.instances.is_empty() => Some(Workload {
                instances: of_entries().map_or_else(Vec::new, |entries| entries.instances),
                ..workload
            }),
            Some(workload) => Some(workload),
            None => of_entries(),
        }
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
            _ => self.kube.apply(config).map_err(|error| error.to_string())?,
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
            _ => self.kube.remove(meta),
        }
    }
}

#[cfg(test)]
mod tests;
