//! Workloads: what a proxy stands in front of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_config::{Host, Labels, Port, Str};

use crate::Locality;

/// What the registries know about the workload behind an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Namespace.
    pub namespace: Str,
    /// Name, such as the pod's; empty for endpoints that are only an address.
    pub name: Str,
    /// Labels; empty when the registry knows none.
    pub labels: Labels,
    /// SPIFFE id; empty when unknown.
    pub service_account: Str,
    /// Where it runs.
    pub locality: Locality,
    /// The ports on which probes ask how it is (P4.2).
    pub management_ports: BTreeSet<u16>,
    /// The service ports that it serves, also while it is not ready, so that its proxy is configured in time (P4.2).
    pub instances: Vec<ServiceInstance>,
}

/// One service port that a workload serves (P2.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceInstance {
    /// The service.
    pub host: Host,
    /// Namespace of the service.
    pub namespace: Str,
    /// The port that callers use.
    pub service_port: Port,
    /// The port that the workload listens on.
    pub target_port: u16,
}

/// Workloads by address. Cloning shares the entries.
#[derive(Clone, Debug, Default)]
pub struct WorkloadTable {
    by_ip: BTreeMap<IpAddr, Arc<Workload>>,
}

// === impl WorkloadTable ===

impl WorkloadTable {
    /// The workload behind an address.
    pub fn get(&self, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.by_ip.get(&ip)
    }

    /// All workloads by address.
    pub fn iter(&self) -> impl Iterator<Item = (&IpAddr, &Arc<Workload>)> {
        self.by_ip.iter()
    }

    /// Whether this is what is known already.
    pub(crate) fn holds(&self, ip: IpAddr, workload: Option<&Workload>) -> bool {
        self.by_ip.get(&ip).map(|known| &**known) == workload
    }

    /// Replaces or removes a workload.
    pub(crate) fn set(&mut self, ip: IpAddr, workload: Option<Workload>) {
        match workload {
            Some(workload) => self.by_ip.insert(ip, Arc::new(workload)),
            None => self.by_ip.remove(&ip),
        };
    }
}
