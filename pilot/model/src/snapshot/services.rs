//! The services of all registries.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use mesh_config::{Host, Str};

use crate::{Rev, Service, Versioned};

/// All services, oldest first.
#[derive(Debug, Default)]
pub struct ServiceTable {
    rev: Rev,
    services: Vec<Versioned<Service>>,
    /// Positions in `services`, oldest first.
    by_host: BTreeMap<Host, Vec<usize>>,
    /// Positions in `services` of those that speak HTTP on a port, by host, then oldest first.
    by_http_port: BTreeMap<u16, Vec<usize>>,
    /// Positions in `services`, oldest first.
    by_namespace: BTreeMap<Str, Vec<usize>>,
    addresses: HashSet<IpAddr>,
}

// === impl ServiceTable ===

impl ServiceTable {
    pub(crate) fn new<'a>(rev: Rev, services: impl IntoIterator<Item = &'a Versioned<Service>>) -> Self {
        let mut services: Vec<_> = services.into_iter().cloned().collect();
        services.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        let mut by_host: BTreeMap<Host, Vec<usize>> = BTreeMap::new();
        for (position, service) in services.iter().enumerate() {
            by_host.entry(service.id.host.clone()).or_default().push(position);
        }
        let mut by_namespace: BTreeMap<Str, Vec<usize>> = BTreeMap::new();
        for (position, service) in services.iter().enumerate() {
            by_namespace
                .entry(service.id.namespace.clone())
                .or_default()
                .push(position);
        }
        let mut by_http_port: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for &position in by_host.values().flatten() {
            for port in services[position]
                .ports
                .iter()
                .filter(|port| port.protocol.is_http())
            {
                let positions = by_http_port.entry(port.number).or_default();
                if positions.last() != Some(&position) {
                    positions.push(position);
                }
            }
        }
        let addresses = services
            .iter()
            .filter_map(|service| service.address.ip())
            .collect();
        Self {
            rev,
            services,
            by_host,
            by_http_port,
            by_namespace,
            addresses,
        }
    }

    /// Changes when any service does.
    pub fn rev(&self) -> Rev {
        self.rev
    }

    /// All services, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Versioned<Service>> {
        self.services.iter()
    }

    /// Whether some service has this address.
    pub fn has_address(&self, ip: IpAddr) -> bool {
        self.addresses.contains(&ip)
    }

    /// The services of a host, oldest first.
    pub fn by_host(&self, host: &str) -> impl Iterator<Item = &Versioned<Service>> {
        self.by_host
            .get(host)
            .into_iter()
            .flatten()
            .map(|&position| &self.services[position])
    }

    /// The services of a namespace, oldest first.
    pub(crate) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Versioned<Service>> {
        self.by_namespace
            .get(namespace)
            .into_iter()
            .flatten()
            .map(|&position| &self.services[position])
    }

    /// The services that speak HTTP on a port, by host, then oldest first.
    pub fn on_http_port(&self, port: u16) -> impl Iterator<Item = &Versioned<Service>> {
        self.by_http_port
            .get(&port)
            .into_iter()
            .flatten()
            .map(|&position| &self.services[position])
    }

    /// The ports on which some service speaks HTTP.
    pub fn http_ports(&self) -> impl Iterator<Item = u16> {
        self.by_http_port.keys().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }
}
