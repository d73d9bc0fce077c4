//! Pods and nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::k8s::io::api::core::v1::Pod;
use mesh_config::{Labels, Meta, Str, Timestamp};
use pilot_model::{Locality, ServiceInstance, Workload};

use super::services::{ServiceObject, TargetPort};
use super::{KubeRegistry, in_namespace, probes, spiffe_id};

/// A label that gives a locality where the node gives none (P2.4).
const LOCALITY_LABEL: &str = "istio-locality";
/// Region, zone and sub-zone of a node: today's label, then the one of 1.1's time.
const NODE_LABELS: [&[&str]; 3] = [
    &[
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/region",
    ],
    &[
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/zone",
    ],
    &["topology.istio.io/subzone"],
];

/// What is kept of a Pod.
#[derive(Debug)]
pub(super) struct PodObject {
    pub(super) namespace: Str,
    pub(super) name: Str,
    pub(super) created: Timestamp,
    /// One of each family. None while the pod has no address or has ended: another pod may have its addresses by now.
    pub(super) ips: BTreeSet<IpAddr>,
    /// Whether it has the addresses of its node, as others there may have too.
    pub(super) host_network: bool,
    pub(super) labels: Labels,
    pub(super) node: Str,
    pub(super) service_account: Str,
    /// Container ports by name.
    ports: BTreeMap<String, u16>,
    management_ports: BTreeSet<u16>,
    container_ports: BTreeSet<u16>,
}

impl PodObject {
    pub(super) fn new(meta: &Meta, pod: &Pod, trust_domain: &str) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let is_alive = matches!(status.phase(), "Pending" | "Running");
        let account = match spec.service_account_name() {
            "" => "default",
            account => account,
        };
        let containers = spec.containers.iter().chain(&spec.init_containers);
        let ports = containers
            .flat_map(|container| &container.ports)
            .filter(|port| !port.name().is_empty());
        let mut by_name = BTreeMap::new();
        for port in ports {
            if let Ok(number) = u16::try_from(port.container_port())
                && number != 0
            {
                // As Kubernetes: the first container that has a port of the name.
                by_name.entry(port.name().to_owned()).or_insert(number);
            }
        }
        let ports = by_name;
        let own = spec
            .containers
            .iter()
            .filter(|container| container.name() != probes::PROXY);
        let container_ports = own
            .flat_map(|container| &container.ports)
            .filter_map(|port| u16::try_from(port.container_port()).ok())
            .collect();
        Self {
            namespace: meta.key.namespace.clone(),
            name: meta.key.name.clone(),
            created: meta.created,
            ips: if is_alive {
                let others = status.pod_i_ps.iter().map(|other| other.ip());
                std::iter::once(status.pod_ip())
                    .chain(others)
                    .filter_map(|ip| ip.parse().ok())
                    .collect()
            } else {
                BTreeSet::new()
            },
            host_network: spec.host_network(),
            labels: Labels::from(&meta.labels),
            node: spec.node_name().into(),
            service_account: spiffe_id(trust_domain, &meta.key.namespace, account),
            management_ports: probes::management_ports(&spec, &ports),
            ports,
            container_ports,
        }
    }

    /// The workload id of P2.3.
    pub(super) fn uid(&self) -> Str {
        format!("kubernetes://{}.{}", self.name, self.namespace).into()
    }

    pub(super) fn target_port(&self, target: &TargetPort) -> Option<u16> {
        match target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => self.ports.get(name).copied(),
        }
    }
}

impl KubeRegistry {
    /// What is behind an address: a pod, or an address that Endpoints name without one.
    pub fn workload(&self, ip: IpAddr) -> Option<Workload> {
        let pod = self.pod_at(ip);
        let mut workload = self.workload_of(ip, pod)?;
        if let Some(pod) = pod.filter(|pod| pod.host_network) {
            let claimants = self.pods_by_ip.get(&ip).into_iter().flatten();
            workload.others = claimants
                .filter_map(|name| self.pods.get(name))
                .filter(|other| {
                    other.host_network && (&other.namespace, &other.name) != (&pod.namespace, &pod.name)
                })
                .filter_map(|other| self.workload_of(ip, Some(other)))
                .map(Arc::new)
                .collect();
        }
        Some(workload)
    }

    fn workload_of(&self, ip: IpAddr, pod: Option<&PodObject>) -> Option<Workload> {
        let mut instances = match pod {
            Some(pod) => self.selected_instances(pod),
            None => Vec::new(),
        };
        if instances.is_empty() {
            instances = self.listed_instances(ip);
        }
        instances.sort();
        instances.dedup();
        match pod {
            Some(pod) => Some(Workload {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                labels: pod.labels.clone(),
                service_account: pod.service_account.clone(),
                cluster: self.registry.clone(),
                locality: self.locality(pod),
                management_ports: pod.management_ports.clone(),
                container_ports: pod.container_ports.clone(),
                instances,
                others: Vec::new(),
            }),
            None if instances.is_empty() => None,
            None => Some(Workload {
                namespace: instances[0].namespace.clone(),
                instances,
                ..Workload::default()
            }),
        }
    }

    pub(super) fn locality(&self, pod: &PodObject) -> Locality {
        let of_node = self.nodes.get(&pod.node).filter(|locality| !locality.is_empty());
        of_node
            .cloned()
            .or_else(|| pod.labels.get(LOCALITY_LABEL).map(Locality::parse))
            .unwrap_or_default()
    }

    /// The service ports that a pod serves because services select it, whether or not it is ready.
    fn selected_instances(&self, pod: &PodObject) -> Vec<ServiceInstance> {
        let selecting = in_namespace(&self.services, &pod.namespace).filter(|service| service.selects(pod));
        selecting
            .flat_map(|service| instances(service, |target| pod.target_port(target)))
            .collect()
    }

    /// The service ports that an address serves because Endpoints list it, ready or not.
    fn listed_instances(&self, ip: IpAddr) -> Vec<ServiceInstance> {
        let names = self.endpoints_by_ip.get(&ip).into_iter().flatten();
        let listed = names.filter_map(|name| Some((self.services.get(name)?, self.endpoints.get(name)?)));
        listed
            .flat_map(|(service, endpoints)| endpoints.instances(service, ip))
            .collect()
    }
}

fn instances(
    service: &ServiceObject,
    target_port: impl Fn(&TargetPort) -> Option<u16>,
) -> Vec<ServiceInstance> {
    let ports = service.service.ports.iter().zip(&service.target_ports);
    ports
        .filter_map(|(port, target)| {
            Some(ServiceInstance {
                host: service.service.id.host.clone(),
                namespace: service.service.id.namespace.clone(),
                service_port: port.clone(),
                target_port: target_port(target)?,
            })
        })
        .collect()
}

pub(super) fn node_locality(labels: &BTreeMap<String, String>) -> Locality {
    let [region, zone, sub_zone] = NODE_LABELS.map(|names| {
        names
            .iter()
            .find_map(|name| labels.get(*name))
            .map(|value| Str::from(value.as_str()))
            .unwrap_or_default()
    });
    Locality {
        region,
        zone,
        sub_zone,
    }
}
