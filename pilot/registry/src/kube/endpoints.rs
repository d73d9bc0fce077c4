//! Endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use mesh_api::k8s::io::api::core::v1;
use mesh_config::{Labels, Str};
use pilot_model::{Endpoint, EndpointAddress, Locality, Resolution, ServiceInstance};

use super::services::ServiceObject;
use super::{KubeRegistry, ObjectName};

/// What is kept of an Endpoints object.
#[derive(Debug)]
pub(super) struct EndpointsObject {
    subsets: Vec<Subset>,
}

#[derive(Debug)]
struct Subset {
    ready: Addresses,
    not_ready: Addresses,
    /// Name of the service port, and the number that the addresses listen on.
    ports: Vec<(Str, u16)>,
}

/// Addresses, and the pods that the object names behind them: pods of the host's network share its address.
type Addresses = BTreeMap<IpAddr, Option<ObjectName>>;

fn addresses(namespace: &Str, addresses: &[v1::EndpointAddress]) -> Addresses {
    addresses
        .iter()
        .filter_map(|address| {
            let pod = address.target_ref.as_ref();
            let pod = pod.filter(|target| target.kind() == "Pod" && !target.name().is_empty());
            let pod = pod.map(|target| {
                let namespace = match target.namespace() {
                    "" => namespace.clone(),
                    namespace => namespace.into(),
                };
                (namespace, target.name().into())
            });
            Some((address.ip().parse().ok()?, pod))
        })
        .collect()
}

impl EndpointsObject {
    pub(super) fn new(namespace: &Str, endpoints: &v1::Endpoints) -> Self {
        let subsets = endpoints.subsets.iter().map(|subset| Subset {
            ready: addresses(namespace, &subset.addresses),
            not_ready: addresses(namespace, &subset.not_ready_addresses),
            ports: subset
                .ports
                .iter()
                .filter_map(|port| {
                    // Nobody listens on port 0, and Envoy takes no such address.
                    let number = u16::try_from(port.port()).ok().filter(|number| *number != 0)?;
                    Some((port.name().into(), number))
                })
                .collect(),
        });
        Self {
            subsets: subsets.collect(),
        }
    }

    /// All addresses, ready or not.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.subsets
            .iter()
            .flat_map(|subset| subset.ready.keys().chain(subset.not_ready.keys()))
            .copied()
    }

    /// The endpoints of a service that may get requests: ready ones, and others where the service says so. An address without a pod has no labels and belongs to no subset that asks for
    /// any.
    pub(super) fn resolve(&self, service: &ServiceObject, registry: &KubeRegistry) -> Vec<Endpoint> {
        if service.service.resolution == Resolution::Dns {
            return Vec::new();
        }
        let mut endpoints = Vec::new();
        for subset in &self.subsets {
            let published = service.publishes_not_ready.then_some(&subset.not_ready);
            for (&ip, pod) in subset.ready.iter().chain(published.into_iter().flatten()) {
                let pod = registry.pod_behind(ip, pod.as_ref());
                for (service_port, port) in &subset.ports {
                    endpoints.push(Endpoint {
                        address: EndpointAddress::Ip(SocketAddr::new(ip, *port)),
                        service_port: service_port.clone(),
                        labels: pod.map_or_else(Labels::default, |pod| pod.labels.clone()),
                        uid: pod.map_or_else(Str::default, |pod| pod.uid()),
                        service_account: pod.map_or_else(Str::default, |pod| pod.service_account.clone()),
                        network: Str::default(),
                        locality: pod.map_or_else(Locality::default, |pod| registry.locality(pod)),
                        weight: 1,
                    });
                }
            }
        }
        endpoints
    }

    /// The service ports that an address serves.
    pub(super) fn instances(&self, service: &ServiceObject, ip: IpAddr) -> Vec<ServiceInstance> {
        let subsets = self
            .subsets
            .iter()
            .filter(|subset| subset.ready.contains_key(&ip) || subset.not_ready.contains_key(&ip));
        let ports = subsets.flat_map(|subset| &subset.ports);
        ports
            .filter_map(|(name, target_port)| {
                let service_port = service.service.ports.iter().find(|port| port.name == *name)?;
                Some(ServiceInstance {
                    host: service.service.id.host.clone(),
                    namespace: service.service.id.namespace.clone(),
                    service_port: service_port.clone(),
                    target_port: *target_port,
                })
            })
            .collect()
    }
}
