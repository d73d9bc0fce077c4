//! VirtualServices with their names resolved.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::istio::networking::v1alpha3;
use mesh_config::{ConfigKey, Host, Labels, Meta, Str, Timestamp, resolve_gateway};

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
    /// Those with HTTP rules for the mesh.
    mesh_http: HostIndex,
    /// Those with TLS or TCP rules for the mesh.
    mesh_l4: HostIndex,
    /// The distinct `sourceLabels` that HTTP matches ask for, sorted.
    source_selectors: Vec<Labels>,
    /// The distinct `sourceLabels` that TLS and TCP matches ask for, sorted.
    l4_source_selectors: Vec<Labels>,
}

/// VirtualServices by host.
#[derive(Debug, Default)]
struct HostIndex {
    /// Positions in the table, oldest first.
    all: Vec<usize>,
    /// Positions in the table, oldest first, by host without wildcard.
    exact: BTreeMap<Host, Vec<usize>>,
    /// The same for hosts with wildcard.
    wildcards: Vec<(Host, usize)>,
}

// === impl VirtualService ===

impl VirtualService {
    pub(super) fn new(
        meta: &Meta,
        spec: v1alpha3::VirtualService,
        domain: &str,
        default: Visibility,
    ) -> Self {
        let namespace = &*meta.key.namespace;
        let hosts = spec
            .hosts
            .iter()
            .map(|host| Host::resolve(host, namespace, domain))
            .collect();
        let gateways = if spec.gateways.is_empty() {
            vec![MESH_GATEWAY.into()]
        } else {
            spec.gateways
                .iter()
                .map(|gateway| resolve_gateway(gateway, namespace))
                .collect()
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

    /// Whether it has TLS or TCP rules.
    pub fn has_l4_rules(&self) -> bool {
        !self.spec.tls.is_empty() || !self.spec.tcp.is_empty()
    }

    /// Whether proxies of `namespace` may see it.
    pub fn is_visible_in(&self, namespace: &str) -> bool {
        self.export_to == Visibility::Public || &*self.key.namespace == namespace
    }
}

// === impl VirtualServiceTable ===

impl VirtualServiceTable {
    pub(crate) fn new<'a>(
        rev: Rev,
        objects: impl IntoIterator<Item = &'a Versioned<VirtualService>>,
    ) -> Self {
        let mut all: Vec<_> = objects.into_iter().cloned().collect();
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

        let for_mesh = by_gateway
            .get(MESH_GATEWAY)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mesh_http = HostIndex::new(&all, for_mesh, |object| !object.spec.http.is_empty());
        let mesh_l4 = HostIndex::new(&all, for_mesh, VirtualService::has_l4_rules);
        let specs = || all.iter().map(|object| &object.spec);
        let http = specs()
            .flat_map(|spec| &spec.http)
            .flat_map(|route| &route.r#match)
            .map(|condition| &condition.source_labels);
        let tls = specs()
            .flat_map(|spec| &spec.tls)
            .flat_map(|route| &route.r#match)
            .map(|condition| &condition.source_labels);
        let tcp = specs()
            .flat_map(|spec| &spec.tcp)
            .flat_map(|route| &route.r#match)
            .map(|condition| &condition.source_labels);

        Self {
            rev,
            source_selectors: selectors(http),
            l4_source_selectors: selectors(tls.chain(tcp)),
            mesh_http,
            mesh_l4,
            by_gateway,
            all,
        }
    }

    /// Changes when any VirtualService does.
    pub fn rev(&self) -> Rev {
        self.rev
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Versioned<VirtualService>> {
        self.all.iter()
    }

    /// Those that name a gateway, oldest first.
    pub fn by_gateway(&self, gateway: &str) -> impl Iterator<Item = &Versioned<VirtualService>> {
        self.by_gateway
            .get(gateway)
            .into_iter()
            .flatten()
            .map(|&position| &self.all[position])
    }

    /// Those with HTTP rules for the mesh that name a host or a wildcard over it, oldest first.
    ///
    /// Takes a look-up and one comparison for each wildcard, so that it can be asked for every service.
    pub fn mesh_http_rules(&self, host: &Host) -> Vec<&Versioned<VirtualService>> {
        self.at(self.mesh_http.covering(host))
    }

    /// Those with TLS or TCP rules for the mesh that name a host or a wildcard over it, oldest first; for a host with
    /// wildcard also those that name hosts under it.
    pub fn mesh_l4_rules(&self, host: &Host) -> Vec<&Versioned<VirtualService>> {
        self.at(self.mesh_l4.overlapping(host))
    }

    /// All with TLS or TCP rules for the mesh, oldest first.
    pub fn mesh_l4(&self) -> impl Iterator<Item = &Versioned<VirtualService>> {
        self.mesh_l4.all.iter().map(|&position| &self.all[position])
    }

    /// The distinct `sourceLabels` that HTTP matches ask for, sorted.
    pub fn source_selectors(&self) -> &[Labels] {
        &self.source_selectors
    }

    /// The distinct `sourceLabels` that TLS and TCP matches ask for, sorted.
    pub fn l4_source_selectors(&self) -> &[Labels] {
        &self.l4_source_selectors
    }

    fn at(&self, positions: Vec<usize>) -> Vec<&Versioned<VirtualService>> {
        positions
            .into_iter()
            .map(|position| &self.all[position])
            .collect()
    }
}

fn selectors<'a>(labels: impl Iterator<Item = &'a BTreeMap<String, String>>) -> Vec<Labels> {
    let distinct: BTreeSet<Labels> = labels
        .filter(|labels| !labels.is_empty())
        .map(Labels::from)
        .collect();
    distinct.into_iter().collect()
}

// === impl HostIndex ===

impl HostIndex {
    /// An index of those among `positions` in `table` that `belongs` holds for.
    fn new(
        table: &[Versioned<VirtualService>],
        positions: &[usize],
        belongs: impl Fn(&VirtualService) -> bool,
    ) -> Self {
        let mut index = Self::default();
        for &position in positions {
            let object: &VirtualService = &table[position];
            if !belongs(object) {
                continue;
            }
            index.all.push(position);
            for host in &object.hosts {
                if host.is_wildcard() {
                    index.wildcards.push((host.clone(), position));
                } else {
                    index.exact.entry(host.clone()).or_default().push(position);
                }
            }
        }
        index
    }

    /// The positions of those that name hosts which overlap with one, oldest first.
    fn overlapping(&self, host: &Host) -> Vec<usize> {
        if !host.is_wildcard() {
            return self.covering(host);
        }
        let exact = self
            .exact
            .iter()
            .filter(|(name, _)| name.is_subset_of(host))
            .flat_map(|(_, positions)| positions)
            .copied();
        let wildcards = self.wildcards.iter().filter(|(pattern, _)| pattern.matches(host));
        sorted(exact.chain(wildcards.map(|&(_, position)| position)))
    }

    /// The positions of those that name a host or a wildcard over it, oldest first.
    fn covering(&self, host: &Host) -> Vec<usize> {
        let exact = self.exact.get(host).into_iter().flatten().copied();
        let wildcards = self
            .wildcards
            .iter()
            .filter(|(pattern, _)| host.is_subset_of(pattern));
        sorted(exact.chain(wildcards.map(|&(_, position)| position)))
    }
}

/// Positions in order, each once.
fn sorted(positions: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut positions: Vec<usize> = positions.collect();
    positions.sort_unstable();
    positions.dedup();
    positions
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
            (
                "weather-gateway.istio-system.svc.cluster.local",
                "istio-system/weather-gateway",
            ),
            ("weather-gateway.istio-system", "istio-system/weather-gateway"),
        ] {
            assert_eq!(&*resolve_gateway(name, "weather"), expected);
        }
    }
}
