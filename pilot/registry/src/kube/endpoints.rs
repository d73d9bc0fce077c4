//! Endpoints.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use mesh_api::k8s::io::api::core::v1::Endpoints;
use mesh_config::{Labels, Str};
use pilot_model::{Endpoint, EndpointAddress, Locality, Resolution, ServiceInstance};

use super::KubeRegistry;
use super::services::ServiceObject;

/// What is kept of an Endpoints object.
#[derive(Debug)]
pub(super) struct EndpointsObject {
    subsets: Vec<Subset>,
}

#[derive(Debug)]
struct Subset {
    ready: BTreeSet<IpAddr>,
    not_ready: BTreeSet<IpAddr>,
    /// Name of the service port, and the number that the addresses listen on.
    ports: Vec<(Str, u16)>,
}

impl EndpointsObject {
    pub(super) fn new(endpoints: &Endpoints) -> Self {
        let subsets = endpoints.subsets.iter().map(|subset| Subset {
            ready: subset
                .addresses
                .iter()
                .filter_map(|address| address.ip().parse().ok())
                .collect(),
            not_ready: subset
                .not_ready_addresses
                .iter()
                .filter_map(|address| address.ip().parse().ok())
                .collect(),
            ports: subset
                .ports
                .iter()
                .filter_map(|port| Some((port.name().into(), u16::try_from(port.port()).ok()?)))
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
            .flat_map(|subset| subset.ready.iter().chain(&subset.not_ready))
            .copied()
    }

    /// The ready endpoints of a service. An address without a pod has no labels and belongs to no subset that asks for
    /// any.
    pub(super) fn resolve(&self, service: &ServiceObject, registry: &KubeRegistry) -> Vec<Endpoint> {
        if service.service.resolution == Resolution::Dns {
            return Vec::new();
        }
        let mut endpoints = Vec::new();
        for subset in &self.subsets {
            for &ip in &subset.ready {
                let pod = registry.pod_at(ip);
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
            .filter(|subset| subset.ready.contains(&ip) || subset.not_ready.contains(&ip));
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
