//! The endpoints of a service: of its Endpoints object, or of its EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use mesh_api::k8s::io::api::core::v1;
use mesh_config::{Labels, Str};
use pilot_model::{Endpoint, EndpointAddress, Locality, Resolution, ServiceInstance};

use super::services::ServiceObject;
use super::{KubeRegistry, ObjectName};

/// What is known of the endpoints of a service. An Endpoints object is one part of it; each EndpointSlice is one.
#[derive(Debug, Default)]
pub(super) struct EndpointsObject {
    /// By name of the slice. The part of an Endpoints object has none.
    parts: BTreeMap<Str, Vec<Subset>>,
}

/// Addresses that all listen on the same ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subset {
    pub(super) addresses: Vec<Listed>,
    /// Name of the service port, and the number that the addresses listen on.
    pub(super) ports: Vec<(Str, u16)>,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) ip: IpAddr,
    /// The pod that the object names behind it: pods of the host's network share its address.
    pub(super) pod: Option<ObjectName>,
    /// Where it is, as far as the object says.
    pub(super) zone: Str,
    pub(super) condition: Condition,
}

/// Whether an address may get requests. The better ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    Ready,
    /// It goes, and still answers: it gets requests when nobody else can.
    Draining,
    NotReady,
}

/// The subsets of an Endpoints object.
pub(super) fn subsets(namespace: &Str, endpoints: &v1::Endpoints) -> Vec<Subset> {
    let subsets = endpoints.subsets.iter().map(|subset| {
        let ready = subset.addresses.iter().map(|address| (address, Condition::Ready));
        let not_ready = subset.not_ready_addresses.iter();
        let not_ready = not_ready.map(|address| (address, Condition::NotReady));
        let ports = subset.ports.iter();
        Subset {
            addresses: ready
                .chain(not_ready)
                .filter_map(|(address, condition)| listed(namespace, address, condition))
                .collect(),
            ports: ports
                .filter_map(|port| Some((port.name().into(), number(port.port())?)))
                .collect(),
        }
    });
    subsets.collect()
}

fn listed(namespace: &Str, address: &v1::EndpointAddress, condition: Condition) -> Option<Listed> {
    let target = address.target_ref.as_ref();
    Some(Listed {
        ip: address.ip().parse().ok()?,
        pod: target.and_then(|target| pod(namespace, target.kind(), target.namespace(), target.name())),
        zone: Str::default(),
        condition,
    })
}

/// The pod that a reference of an object in `within` names.
pub(super) fn pod(within: &Str, kind: &str, namespace: &str, name: &str) -> Option<ObjectName> {
    let namespace = match namespace {
        "" => within.clone(),
        namespace => namespace.into(),
    };
    (kind == "Pod" && !name.is_empty()).then(|| (namespace, name.into()))
}

/// A port to connect to. Nobody listens on port 0, and Envoy takes no such address.
pub(super) fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|number| *number != 0)
}

impl EndpointsObject {
    /// Replaces a part, or takes it away. Returns the addresses that it had or has.
    pub(super) fn set(&mut self, part: &Str, subsets: Option<Vec<Subset>>) -> BTreeSet<IpAddr> {
        let new = subsets.iter().flatten();
        let old = self.parts.get(part).into_iter().flatten();
        let addresses = new
            .chain(old)
            .flat_map(|subset| &subset.addresses)
            .map(|listed| listed.ip)
            .collect();
        match subsets {
            Some(subsets) => self.parts.insert(part.clone(), subsets),
            None => self.parts.remove(part),
        };
        addresses
    }

    /// Whether nothing is known of the endpoints, which is not the same as that there are none.
    pub(super) fn is_unknown(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether a part is known.
    pub(super) fn has(&self, part: &Str) -> bool {
        self.parts.contains_key(part)
    }

    fn subsets(&self) -> impl Iterator<Item = &Subset> {
        self.parts.values().flatten()
    }

    /// All addresses, ready or not.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.subsets()
            .flat_map(|subset| &subset.addresses)
            .map(|listed| listed.ip)
    }

    /// The endpoints of a service that may get requests: ready ones, and others where the service says so. Those that
    /// drain get requests on ports where nobody is ready, as Kubernetes' own proxy does it. An address without a pod has
    /// no labels and belongs to no subset that asks for any.
    ///
    /// An address that several slices have, as while it moves from one to another, is one endpoint, and the best that
    /// any says of it counts. The order does not depend on the names of slices.
    pub(super) fn resolve(&self, service: &ServiceObject, registry: &KubeRegistry) -> Vec<Endpoint> {
        if service.service.resolution == Resolution::Dns {
            return Vec::new();
        }
        let mut known: BTreeMap<(SocketAddr, &Str), &Listed> = BTreeMap::new();
        let mut ready: BTreeSet<&Str> = BTreeSet::new();
        for subset in self.subsets() {
            for listed in &subset.addresses {
                for (service_port, port) in &subset.ports {
                    if listed.condition == Condition::Ready {
                        ready.insert(service_port);
                    }
                    let best = known
                        .entry((SocketAddr::new(listed.ip, *port), service_port))
                        .or_insert(listed);
                    if listed.condition < best.condition {
                        *best = listed;
                    }
                }
            }
        }
        let may_serve = |port: &Str, listed: &Listed| match listed.condition {
            Condition::Ready => true,
            Condition::Draining => service.publishes_not_ready || !ready.contains(port),
            Condition::NotReady => service.publishes_not_ready,
        };
        known
            .into_iter()
            .filter(|((_, service_port), listed)| may_serve(service_port, listed))
            .map(|((address, service_port), listed)| {
                let pod = registry.pod_behind(listed.ip, listed.pod.as_ref());
                let locality = pod.map_or_else(Locality::default, |pod| registry.locality(pod));
                Endpoint {
                    address: EndpointAddress::Ip(address),
                    service_port: service_port.clone(),
                    labels: pod.map_or_else(Labels::default, |pod| pod.labels.clone()),
                    uid: pod.map_or_else(Str::default, |pod| pod.uid()),
                    service_account: pod.map_or_else(Str::default, |pod| pod.service_account.clone()),
                    network: Str::default(),
                    // Without its node the zone is all that there is to know.
                    locality: if locality.is_empty() && !listed.zone.is_empty() {
                        Locality {
                            zone: listed.zone.clone(),
                            ..Locality::default()
                        }
                    } else {
                        locality
                    },
                    weight: 1,
                }
            })
            .collect()
    }

    /// The service ports that an address serves.
    pub(super) fn instances(&self, service: &ServiceObject, ip: IpAddr) -> Vec<ServiceInstance> {
        let subsets = self
            .subsets()
            .filter(|subset| subset.addresses.iter().any(|listed| listed.ip == ip));
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
