//! Endpoints: where requests go in the end (P2.3), and the index of them by host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_config::{Host, Labels, Str};

use crate::{Rev, Versioned};

/// One place that serves one port of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Where it listens.
    pub address: EndpointAddress,
    /// Name of the service port that it serves: a target port can serve several (P10.2).
    pub service_port: Str,
    /// Labels of the workload; subsets select by them.
    pub labels: Labels,
    /// Workload id, such as `kubernetes://forecast-v1-0.weather`; empty when unknown.
    pub uid: Str,
    /// SPIFFE id of the workload; empty when unknown.
    pub service_account: Str,
    /// Network that it is reachable in; empty is the local one.
    pub network: Str,
    /// Where it runs.
    pub locality: Locality,
    /// Share of the load relative to its siblings, at least 1.
    pub weight: u32,
}

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointAddress {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A host name that the proxy resolves, and a port.
    Dns(Str, u16),
    /// The path of a Unix socket.
    Unix(Str),
}

/// Region, zone and sub-zone; empty where unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    /// Region.
    pub region: Str,
    /// Zone within the region.
    pub zone: Str,
    /// Sub-zone within the zone.
    pub sub_zone: Str,
}

/// All endpoints of one host, of all registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostEndpoints {
    /// By registry: several may know endpoints of the same host, and none overwrites another's (P9.4).
    shards: BTreeMap<Str, Arc<[Endpoint]>>,
}

/// Endpoints of all hosts.
///
/// Cloning shares everything; a change replaces one host.
#[derive(Clone, Debug, Default)]
pub struct EndpointIndex {
    hosts: BTreeMap<Host, Versioned<HostEndpoints>>,
}

// === impl EndpointAddress ===

impl EndpointAddress {
    /// The IP address, when it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Dns(..) | Self::Unix(_) => None,
        }
    }
}

// === impl Locality ===

impl Locality {
    /// Reads `region/zone/sub-zone`. Labels cannot hold `/`, so without one `.` separates (P2.4).
    pub fn parse(text: &str) -> Self {
        let separator = if text.contains('/') { '/' } else { '.' };
        let mut parts = text.splitn(3, separator);
        let mut next = || parts.next().unwrap_or_default().into();
        Self {
            region: next(),
            zone: next(),
            sub_zone: next(),
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.sub_zone.is_empty()
    }
}

// === impl HostEndpoints ===

impl HostEndpoints {
    /// The endpoints of all registries, in a stable order.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.shards.values().flat_map(|shard| shard.iter())
    }

    /// The endpoints that serve a port and belong to a subset.
    pub fn select<'a>(
        &'a self,
        service_port: &'a str,
        subset: &'a Labels,
    ) -> impl Iterator<Item = &'a Endpoint> {
        self.iter().filter(move |endpoint| {
            &*endpoint.service_port == service_port && subset.is_subset_of(&endpoint.labels)
        })
    }

    /// The identities that the endpoints may present.
    pub fn service_accounts(&self) -> BTreeSet<Str> {
        self.iter()
            .filter(|endpoint| !endpoint.service_account.is_empty())
            .map(|endpoint| endpoint.service_account.clone())
            .collect()
    }

    /// By registry.
    pub fn shards(&self) -> &BTreeMap<Str, Arc<[Endpoint]>> {
        &self.shards
    }
}

// === impl EndpointIndex ===

impl EndpointIndex {
    /// The endpoints of a host; `None` when no registry ever named the host or all withdrew it.
    pub fn get(&self, host: &str) -> Option<&Versioned<HostEndpoints>> {
        self.hosts.get(host)
    }

    /// All hosts with their endpoints, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Host, &Versioned<HostEndpoints>)> {
        self.hosts.iter()
    }

    /// The hosts whose endpoints are not those of an older index: changed, new and withdrawn ones, by name.
    pub fn changed_since(&self, older: &Self) -> Vec<Host> {
        let mut changed = Vec::new();
        let mut older = older.hosts.iter().peekable();
        for (host, endpoints) in &self.hosts {
            while let Some((gone, _)) = older.next_if(|(gone, _)| *gone < host) {
                changed.push(gone.clone());
            }
            match older.next_if(|(known, _)| *known == host) {
                Some((_, known)) if known == endpoints => {}
                _ => changed.push(host.clone()),
            }
        }
        changed.extend(older.map(|(gone, _)| gone.clone()));
        changed
    }

    /// Whether this is what a registry knows of a host already. `endpoints` are sorted and unique.
    pub(crate) fn holds(&self, host: &Host, registry: &Str, endpoints: Option<&[Endpoint]>) -> bool {
        let known = self.hosts.get(host).and_then(|known| known.shards.get(registry));
        known.map(|known| &**known) == endpoints
    }

    /// Replaces what one registry knows of a host. `endpoints` are sorted and unique.
    ///
    /// `None` withdraws the host; an empty list keeps it with no endpoints, which must reach the proxies (T9).
    pub(crate) fn set(&mut self, host: &Host, registry: &Str, endpoints: Option<Vec<Endpoint>>, rev: Rev) {
        let known = self.hosts.get(host);
        let mut shards = known.map(|known| known.shards.clone()).unwrap_or_default();
        match endpoints {
            Some(endpoints) => shards.insert(registry.clone(), endpoints.into()),
            None => shards.remove(registry),
        };
        if shards.is_empty() {
            self.hosts.remove(host);
        } else {
            let endpoints = HostEndpoints { shards };
            self.hosts.insert(host.clone(), Versioned::new(rev, endpoints));
        }
    }
}
