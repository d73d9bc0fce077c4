//! VirtualServices with their names resolved.

use std::collections::BTreeMap;

use mesh_api::istio::networking::v1alpha3;
use mesh_config::{ConfigKey, Host, Meta, Str, Timestamp};

use crate::{MESH_GATEWAY, Rev, Versioned, Visibility};

/// A VirtualService with its hosts and gateways resolved by its own namespace (`R-N-3`, `R-VS-2`).
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualService {
    /// Names the object.
    pub key: ConfigKey,
    /// When it was created.
    pub created: Timestamp,
    /// The hosts that callers say.
    pub hosts: Vec<Host>,
    /// Where it applies: [`MESH_GATEWAY`], or `namespace/name` of a Gateway.
    pub gateways: Vec<Str>,
    /// Who may see it.
    pub export_to: Visibility,
    /// Its content, as written.
    pub spec: v1alpha3::VirtualService,
}

/// All VirtualServices, oldest first.
#[derive(Debug, Default)]
pub struct VirtualServiceTable {
    rev: Rev,
    all: Vec<Versioned<VirtualService>>,
    /// Positions in `all`, oldest first, by resolved gateway name.
    by_gateway: BTreeMap<Str, Vec<usize>>,
}

// === impl VirtualService ===

impl VirtualService {
    pub(super) fn new(meta: &Meta, spec: v1alpha3::VirtualService, domain: &str, default: Visibility) -> Self {
        let namespace = &*meta.key.namespace;
        let hosts = spec.hosts.iter().map(|host| Host::resolve(host, namespace, domain)).collect();
        let gateways = if spec.gateways.is_empty() {
            vec![MESH_GATEWAY.into()]
        } else {
            spec.gateways.iter().map(|gateway| resolve_gateway(gateway, namespace)).collect()
        };
        Self {
            key: meta.key.clone(),
            created: meta.created,
            hosts,
            gateways,
            export_to: Visibility::from_export_to(&spec.export_to, default),
            spec,
        }
    }

    /// The resolved form of a gateway name that one of its matches mentions.
    pub fn gateway(&self, name: &str) -> Str {
        resolve_gateway(name, &self.key.namespace)
    }

    /// The full name of a host that one of its routes mentions.
    pub fn destination(&self, host: &str, domain: &str) -> Host {
        Host::resolve(host, &self.key.namespace, domain)
    }

    /// Whether proxies of `namespace` may see it.
    pub fn is_visible_in(&self, namespace: &str) -> bool {
        self.export_to == Visibility::Public || &*self.key.namespace == namespace
    }
}

/// `name`, `./name`, `namespace/name` and the older `name.namespace.svc…` all become `namespace/name` (`R-VS-2`).
fn resolve_gateway(name: &str, namespace: &str) -> Str {
    if name == MESH_GATEWAY {
        return MESH_GATEWAY.into();
    }
    match name.split_once('/') {
        Some((".", name)) => format!("{namespace}/{name}").into(),
        Some(_) => name.into(),
        None => {
            let mut parts = name.splitn(3, '.');
            match (parts.next(), parts.next()) {
                (Some(name), Some(other)) => format!("{other}/{name}").into(),
                _ => format!("{namespace}/{name}").into(),
            }
        }
    }
}

// === impl VirtualServiceTable ===

impl VirtualServiceTable {
    pub(super) fn new(rev: Rev, objects: &BTreeMap<ConfigKey, Versioned<VirtualService>>) -> Self {
        let mut all: Vec<_> = objects.values().cloned().collect();
        all.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
        let mut by_gateway: BTreeMap<Str, Vec<usize>> = BTreeMap::new();
        for (position, object) in all.iter().enumerate() {
            for gateway in &object.gateways {
                let positions = by_gateway.entry(gateway.clone()).or_default();
                if positions.last() != Some(&position) {
                    positions.push(position);
                }
            }
        }
        Self { rev, all, by_gateway }
    }

    /// Changes when any VirtualService does.
    pub fn rev(&self) -> Rev {
        self.rev
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Versioned<VirtualService>> {
        self.all.iter()
    }

    /// Those that name a gateway, oldest first.
    pub fn by_gateway(&self, gateway: &str) -> impl Iterator<Item = &Versioned<VirtualService>> {
        self.by_gateway.get(gateway).into_iter().flatten().map(|&position| &self.all[position])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_vs_2_gateway_names_resolve_to_namespace_and_name() {
        for (name, expected) in [
            ("mesh", "mesh"),
            ("weather-gateway", "weather/weather-gateway"),
            ("./weather-gateway", "weather/weather-gateway"),
            ("istio-system/weather-gateway", "istio-system/weather-gateway"),
            ("weather-gateway.istio-system.svc.cluster.local", "istio-system/weather-gateway"),
            ("weather-gateway.istio-system", "istio-system/weather-gateway"),
        ] {
            assert_eq!(&*resolve_gateway(name, "weather"), expected);
        }
    }
}
