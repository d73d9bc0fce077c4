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
    /// The registry of the cluster that it runs in; empty when it runs in none.
    pub cluster: Str,
    /// Where it runs.
    pub locality: Locality,
    /// The ports on which probes ask how it is (P4.2).
    pub management_ports: BTreeSet<u16>,
    /// The ports that its containers declare, those of the proxy left out.
    pub container_ports: BTreeSet<u16>,
    /// The service ports that it serves, also while it is not ready, so that its proxy is configured in time (P4.2).
    pub instances: Vec<ServiceInstance>,
    /// Other workloads that have the address too: pods of the host's network, and pods of other clusters.
    pub others: Vec<Arc<Workload>>,
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

// === impl Workload ===

impl Workload {
    /// The one of the workloads at an address that a proxy stands in front of: that of the proxy's id
    /// `name.namespace`, in the cluster that the proxy says, empty when it says none; else the first.
    pub fn of_proxy(self: &Arc<Self>, id: &str, cluster: &str) -> Arc<Self> {
        let fits = |workload: &Self| {
            let rest = id.strip_prefix(&*workload.name);
            let is_own = rest.and_then(|rest| rest.strip_prefix('.')) == Some(&*workload.namespace);
            let is_near = !cluster.is_empty() && *workload.cluster == *cluster;
            (is_own, is_near)
        };
        let mut best = self;
        for other in &self.others {
            if fits(other) > fits(best) {
                best = other;
            }
        }
        Arc::clone(best)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p4_2_of_workloads_with_one_address_a_proxy_has_the_one_of_its_id() {
        let workload = |name: &str, others: Vec<Arc<Workload>>| {
            Arc::new(Workload {
                namespace: "ns".into(),
                name: name.into(),
                others,
                ..Workload::default()
            })
        };
        let first = workload("exporter", vec![workload("gateway", Vec::new())]);
        for (id, expected) in [
            ("gateway.ns", "gateway"),
            ("exporter.ns", "exporter"),
            ("gateway.other", "exporter"),
            ("gateway", "exporter"),
            ("10.1.0.1", "exporter"),
            ("", "exporter"),
        ] {
            assert_eq!(&*first.of_proxy(id, "").name, expected, "{id}");
        }
    }

    #[test]
    fn p4_3_of_workloads_with_one_address_and_name_a_proxy_has_the_one_of_its_cluster() {
        let workload = |cluster: &str, others: Vec<Arc<Workload>>| {
            Arc::new(Workload {
                namespace: "ns".into(),
                name: "db-0".into(),
                cluster: cluster.into(),
                others,
                ..Workload::default()
            })
        };
        let first = workload("Kubernetes", vec![workload("east", Vec::new())]);
        for (id, cluster, expected) in [
            ("db-0.ns", "east", "east"),
            ("db-0.ns", "Kubernetes", "Kubernetes"),
            ("db-0.ns", "", "Kubernetes"),
            ("db-0.ns", "west", "Kubernetes"),
            ("web-0.ns", "east", "east"),
        ] {
            assert_eq!(&*first.of_proxy(id, cluster).cluster, expected, "{id} {cluster}");
        }
    }
}
