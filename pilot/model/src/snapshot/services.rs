//! The services of all registries.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// The clusters that have any of them.
    clusters: BTreeSet<Str>,
    /// What the proxies of a cluster see, as far as somebody asked.
    by_cluster: Mutex<BTreeMap<Str, Arc<ServiceTable>>>,
}

/// The cluster whose services those of others are called after (P4.1).
const PRIMARY: &str = "Kubernetes";

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
        let clusters = services
            .iter()
            .filter_map(|service| service.cluster().cloned())
            .collect();
        Self {
            rev,
            clusters,
            by_cluster: Mutex::default(),
            services,
            by_host,
            by_http_port,
            by_namespace,
            addresses,
        }
    }

    /// What the proxies of a cluster see; `None` when all see the same.
    ///
    /// A service that several clusters have is one, with an address in each. Its proxies see the address of their own; what
    /// their own does not have they see as the primary one, else the first by name, has it (P2.1, P4.1).
    pub(crate) fn of_cluster(&self, cluster: &str) -> Option<Arc<Self>> {
        if self.clusters.len() < 2 {
            return None;
        }
        let lock = || self.by_cluster.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of a cluster that nobody knows see what those of the primary one do.
        let cluster = self.clusters.get(cluster).map_or(PRIMARY, |cluster| &**cluster);
        if let Some(known) = lock().get(cluster) {
            return Some(Arc::clone(known));
        }
        let table = Arc::new(self.compute_of_cluster(cluster));
        Some(Arc::clone(lock().entry(cluster.into()).or_insert(table)))
    }

    fn compute_of_cluster(&self, cluster: &str) -> Self {
        let rank = |of: &Str| (&**of != cluster, &**of != PRIMARY, of.clone());
        let name = |service: &Service| {
            let id = &service.id;
            (id.host.clone(), id.namespace.clone(), id.name.clone())
        };
        let mut nearest: BTreeMap<_, &Str> = BTreeMap::new();
        for service in &self.services {
            let Some(of) = service.cluster() else { continue };
            let known = nearest.entry(name(service)).or_insert(of);
            if rank(of) < rank(known) {
                *known = of;
            }
        }
        let is_seen = |service: &&Versioned<Service>| match service.cluster() {
            Some(of) => nearest.get(&name(service)) == Some(&of),
            None => true,
        };
        Self::new(Rev::unique(), self.services.iter().filter(is_seen))
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
