//! Kubernetes objects to services, endpoints and workloads (P2, P4.2).
//!
//! ```text
//! API server ─mesh_kube::Watch─> Cluster ─KubeEvent─┐
//! configuration source ─ConfigEvent─────────────────┴> KubeRegistry ─pilot_model::Change─> Builder
//! ```
//!
//! [`Cluster`] follows an API server, [`Remotes`] those of other clusters. All else is pure.
//!
//! [`KubeRegistry`] keeps the objects as they are and answers each event with everything that may have become different.
//! The builder drops what did not, so no event has to know exactly what it changes, and the order of arrival does not
//! matter: endpoints may come before their pods, pods before their services.

mod endpoints;
mod event;
mod follow;
mod pods;
mod probes;
mod remotes;
mod services;
mod slices;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::k8s::io::api::core::v1;
use mesh_config::ingress::PortName;
use mesh_config::{Config, ConfigKey, Host, Kind, Str};
use pilot_model::{Change, Locality, Visibility};

use self::endpoints::{EndpointsObject, Subset};
pub(crate) use self::event::Happened;
pub use self::event::KubeEvent;
pub use self::follow::{Cluster, ClusterOptions, ClusterStatus, KubeHandle};
use self::pods::PodObject;
pub(crate) use self::remotes::SECRETS;
pub use self::remotes::{RemoteMetrics, RemoteStatus, Remotes, RemotesHandle};
use self::services::ServiceObject;
pub use self::slices::Slice;

/// The name of the registry that holds the objects of the cluster that Pilot runs in.
pub const REGISTRY: &str = "Kubernetes";

/// What Kubernetes calls slices.
const SLICES: &str = "EndpointSlice";

/// Namespace and name.
pub type ObjectName = (Str, Str);

/// The core objects of one cluster.
#[derive(Debug)]
pub struct KubeRegistry {
    registry: Str,
    domain: Str,
    trust_domain: Str,
    services: BTreeMap<ObjectName, ServiceObject>,
    endpoints: BTreeMap<ObjectName, EndpointsObject>,
    /// The service that each EndpointSlice is about.
    services_of_slices: BTreeMap<ObjectName, ObjectName>,
    pods: BTreeMap<ObjectName, PodObject>,
    /// Addresses may pass from one pod to another, in any order of events: all claimants are kept.
    pods_by_ip: BTreeMap<IpAddr, BTreeSet<ObjectName>>,
    endpoints_by_ip: BTreeMap<IpAddr, BTreeSet<ObjectName>>,
    nodes: BTreeMap<Str, Locality>,
    /// The mesh-wide default of `exportTo`.
    default_export_to: Visibility,
}

/// An object that is not what its kind says.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {source}")]
pub struct DecodeError {
    object: ConfigKey,
    source: prost::DecodeError,
}

impl KubeRegistry {
    /// The kinds of objects that it takes.
    pub const KINDS: [Kind; 4] = [Kind::Service, Kind::Endpoints, Kind::Pod, Kind::Node];

    /// An empty registry. `domain` is the DNS suffix of the cluster, `trust_domain` that of identities.
    pub fn new(registry: impl Into<Str>, domain: impl Into<Str>, trust_domain: impl Into<Str>) -> Self {
        Self {
            registry: registry.into(),
            domain: domain.into(),
            trust_domain: trust_domain.into(),
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            services_of_slices: BTreeMap::new(),
            pods: BTreeMap::new(),
            pods_by_ip: BTreeMap::new(),
            endpoints_by_ip: BTreeMap::new(),
            nodes: BTreeMap::new(),
            default_export_to: Visibility::Public,
        }
    }

    /// Takes over the mesh-wide default of `exportTo`; returns the services that others see now.
    pub fn set_default_export_to(&mut self, default: Visibility) -> Vec<Change> {
        self.default_export_to = default;
        let mut changes = Vec::new();
        for object in self
            .services
            .values_mut()
            .filter(|object| object.exports_by_default)
        {
            if object.service.export_to != default {
                object.service.export_to = default;
                changes.extend(
                    object
                        .services()
                        .map(|service| Change::Service(Box::new(service))),
                );
            }
        }
        changes
    }

    /// Takes over an object that appeared or changed. Kinds other than [`Self::KINDS`] change nothing.
    ///
    /// # Errors
    ///
    /// When the content is not what the kind says; nothing is changed then.
    pub fn apply(&mut self, config: &Config) -> Result<Vec<Change>, DecodeError> {
        let meta = &config.meta;
        let failed = |source| DecodeError {
            object: meta.key.clone(),
            source,
        };
        let name = object_name(&meta.key);
        Ok(match meta.key.kind {
            Kind::Service => {
                let service = ServiceObject::new(meta, &config.decode().map_err(failed)?, self);
                self.set_service(&name, Some(service))
            }
            Kind::Endpoints => {
                let subsets = endpoints::subsets(&name.0, &config.decode().map_err(failed)?);
                self.set_endpoints(&name, &Str::default(), Some(subsets))
            }
            Kind::Pod => {
                let pod = PodObject::new(meta, &config.decode().map_err(failed)?, &self.trust_domain);
                self.set_pod(name, Some(pod))
            }
            Kind::Node => {
                config.decode::<v1::NodeSpec>().map_err(failed)?;
                self.set_node(&name.1, Some(&pods::node_locality(&meta.labels)))
            }
            _ => Vec::new(),
        })
    }

    /// Forgets an object.
    pub fn remove(&mut self, key: &ConfigKey) -> Vec<Change> {
        let name = object_name(key);
        match key.kind {
            Kind::Service => self.set_service(&name, None),
            Kind::Endpoints => self.set_endpoints(&name, &Str::default(), None),
            Kind::Pod => self.set_pod(name, None),
            Kind::Node => self.set_node(&name.1, None),
            _ => Vec::new(),
        }
    }

    /// An empty registry of another cluster of the same mesh.
    #[must_use]
    pub fn sibling(&self, registry: impl Into<Str>) -> Self {
        let mut sibling = Self::new(registry, Arc::clone(&self.domain), Arc::clone(&self.trust_domain));
        sibling.default_export_to = self.default_export_to;
        sibling
    }

    /// Takes over what an API server said, and says what kind of object it was about and what became of it.
    ///
    /// # Errors
    ///
    /// As [`Self::apply`].
    pub fn take(&mut self, event: KubeEvent) -> Result<Vec<Change>, DecodeError> {
        match event {
            KubeEvent::Set(config) => self.apply(&config),
            KubeEvent::Gone(key) => Ok(self.remove(&key)),
            KubeEvent::Slice(name, slice) => Ok(self.apply_slice(&name, *slice)),
            KubeEvent::SliceGone(name) => Ok(self.remove_slice(&name)),
            _ => Ok(Vec::new()),
        }
    }

    /// The number of a service's port by its name.
    #[must_use]
    pub fn port_number(&self, port: PortName<'_>) -> Option<u32> {
        let name = (Str::from(port.namespace), Str::from(port.service));
        let ports = &self.services.get(&name)?.service.ports;
        let named = ports.iter().find(|candidate| *candidate.name == *port.port)?;
        Some(named.number.into())
    }

    /// Whether an object is known.
    #[must_use]
    pub fn has(&self, key: &ConfigKey) -> bool {
        let name = object_name(key);
        match key.kind {
            Kind::Service => self.services.contains_key(&name),
            Kind::Endpoints => self
                .endpoints
                .get(&name)
                .is_some_and(|object| object.has(&Str::default())),
            Kind::Pod => self.pods.contains_key(&name),
            Kind::Node => self.nodes.contains_key(&name.1),
            _ => false,
        }
    }

    /// Whether a slice is known.
    #[must_use]
    pub fn has_slice(&self, name: &ObjectName) -> bool {
        self.services_of_slices.contains_key(name)
    }

    /// Says everything again.
    #[must_use]
    pub fn everything(&self) -> Vec<Change> {
        let services = self.services.values().flat_map(ServiceObject::services);
        let services = services.map(|service| Change::Service(Box::new(service)));
        let hosts: BTreeSet<&ObjectName> = self.services.keys().chain(self.endpoints.keys()).collect();
        let endpoints = hosts.into_iter().flat_map(|name| self.endpoint_changes(name));
        let addresses = self.pods_by_ip.keys().chain(self.endpoints_by_ip.keys());
        let workloads = self.workload_changes(&addresses.copied().collect());
        services.chain(endpoints).chain(workloads).collect()
    }

    /// Takes back everything that was said.
    pub fn withdraw(self) -> Vec<Change> {
        let services = self.services.values().flat_map(ServiceObject::services);
        let services = services.map(|service| Change::ServiceGone(service.id));
        let hosts: BTreeSet<&ObjectName> = self.services.keys().chain(self.endpoints.keys()).collect();
        let endpoints = hosts.into_iter().map(|name| Change::Endpoints {
            registry: Arc::clone(&self.registry),
            host: self.host(name),
            endpoints: None,
        });
        let addresses: BTreeSet<IpAddr> = self
            .pods_by_ip
            .keys()
            .chain(self.endpoints_by_ip.keys())
            .copied()
            .collect();
        let workloads = addresses.into_iter().map(|ip| Change::Workload(ip, None));
        services.chain(endpoints).chain(workloads).collect()
    }

    /// Takes over a slice that appeared or changed. It may belong to another service than before.
    pub fn apply_slice(&mut self, name: &ObjectName, slice: Slice) -> Vec<Change> {
        let service = slice.service();
        let mut changes = match self.services_of_slices.get(name) {
            Some(before) if Some(before) != service.as_ref() => self.remove_slice(name),
            _ => Vec::new(),
        };
        if let Some(service) = service {
            self.services_of_slices.insert(name.clone(), service.clone());
            changes.extend(self.set_endpoints(&service, &name.1, Some(vec![slice.subset])));
        }
        changes
    }

    /// Forgets a slice.
    pub fn remove_slice(&mut self, name: &ObjectName) -> Vec<Change> {
        match self.services_of_slices.remove(name) {
            Some(service) => self.set_endpoints(&service, &name.1, None),
            None => Vec::new(),
        }
    }

    fn set_service(&mut self, name: &ObjectName, new: Option<ServiceObject>) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut addresses = BTreeSet::new();
        if let Some(old) = self.services.remove(name) {
            addresses.extend(self.addresses_behind(name, &old));
            let left = new.as_ref().map_or(0, |new| new.services().count());
            let gone = old.services().skip(left);
            changes.extend(gone.map(|service| Change::ServiceGone(service.id)));
        }
        if let Some(new) = new {
            addresses.extend(self.addresses_behind(name, &new));
            changes.extend(new.services().map(|service| Change::Service(Box::new(service))));
            self.services.insert(name.clone(), new);
        }
        changes.extend(self.endpoint_changes(name));
        changes.extend(self.workload_changes(&addresses));
        changes
    }

    /// Replaces what an object says of the endpoints of a service: `part` is the name of the slice.
    fn set_endpoints(
        &mut self,
        service: &ObjectName,
        part: &Str,
        subsets: Option<Vec<Subset>>,
    ) -> Vec<Change> {
        let object = self.endpoints.entry(service.clone()).or_default();
        let addresses = object.set(part, subsets);
        let listed: BTreeSet<IpAddr> = object.addresses().collect();
        if object.is_unknown() {
            self.endpoints.remove(service);
        }
        for &ip in &addresses {
            if listed.contains(&ip) {
                self.endpoints_by_ip
                    .entry(ip)
                    .or_default()
                    .insert(service.clone());
            } else {
                unindex(&mut self.endpoints_by_ip, ip, service);
            }
        }
        let mut changes = self.endpoint_changes(service);
        changes.extend(self.workload_changes(&addresses));
        changes
    }

    fn set_pod(&mut self, name: ObjectName, pod: Option<PodObject>) -> Vec<Change> {
        let mut addresses = BTreeSet::new();
        if let Some(old) = self.pods.remove(&name) {
            for ip in old.ips {
                unindex(&mut self.pods_by_ip, ip, &name);
                addresses.insert(ip);
            }
        }
        if let Some(object) = pod {
            for &ip in &object.ips {
                self.pods_by_ip.entry(ip).or_default().insert(name.clone());
                addresses.insert(ip);
            }
            self.pods.insert(name, object);
        }
        self.address_changes(&addresses)
    }

    fn set_node(&mut self, name: &Str, locality: Option<&Locality>) -> Vec<Change> {
        let before = match locality {
            Some(locality) => self.nodes.insert(name.clone(), locality.clone()),
            None => self.nodes.remove(name),
        };
        if before.as_ref() == locality {
            // Nodes report themselves all the time.
            return Vec::new();
        }
        let on_node = self
            .pods
            .values()
            .filter(|pod| pod.node == *name)
            .flat_map(|pod| pod.ips.iter().copied())
            .collect();
        self.address_changes(&on_node)
    }

    /// Everything that may be different when something about the pods behind these addresses is.
    fn address_changes(&self, addresses: &BTreeSet<IpAddr>) -> Vec<Change> {
        let names: BTreeSet<&ObjectName> = addresses
            .iter()
            .filter_map(|ip| self.endpoints_by_ip.get(ip))
            .flatten()
            .collect();
        let mut changes: Vec<Change> = names
            .into_iter()
            .flat_map(|name| self.endpoint_changes(name))
            .collect();
        changes.extend(self.workload_changes(addresses));
        changes
    }

    /// The endpoints of one service; unknown, not none, until their object is there, which comes after the service's.
    fn endpoint_changes(&self, name: &ObjectName) -> Vec<Change> {
        let (service, endpoints) = (self.services.get(name), self.endpoints.get(name));
        let endpoints = service.and_then(|service| Some(endpoints?.resolve(service, self)));
        let host = self.host(name);
        vec![Change::Endpoints {
            registry: self.registry.clone(),
            host,
            endpoints,
        }]
    }

    fn workload_changes(&self, addresses: &BTreeSet<IpAddr>) -> Vec<Change> {
        addresses
            .iter()
            .map(|&ip| Change::Workload(ip, self.workload(ip).map(Box::new)))
            .collect()
    }

    /// The addresses that may serve a service: those of the pods that it selects, and those of its Endpoints.
    fn addresses_behind(&self, name: &ObjectName, service: &ServiceObject) -> BTreeSet<IpAddr> {
        let pods = in_namespace(&self.pods, &name.0).filter(|pod| service.selects(pod));
        let listed = self.endpoints.get(name).into_iter();
        pods.flat_map(|pod| pod.ips.iter().copied())
            .chain(listed.flat_map(EndpointsObject::addresses))
            .collect()
    }

    /// The pod that has an address now: of several claimants the youngest.
    fn pod_at(&self, ip: IpAddr) -> Option<&PodObject> {
        let claimants = self.pods_by_ip.get(&ip)?;
        claimants
            .iter()
            .filter_map(|name| self.pods.get(name))
            .max_by_key(|pod| (pod.created, &pod.name))
    }

    /// The pod behind an address that Endpoints list: the one that they name, if it has the address. If they name one
    /// that is gone, the address is whose it may be by now, and nothing is known of it.
    fn pod_behind(&self, ip: IpAddr, named: Option<&ObjectName>) -> Option<&PodObject> {
        match named {
            Some(name) => self.pods.get(name).filter(|pod| pod.ips.contains(&ip)),
            None => self.pod_at(ip),
        }
    }

    fn host(&self, (namespace, name): &ObjectName) -> Host {
        Host::new(format!("{name}.{namespace}.svc.{}", self.domain))
    }
}

fn object_name(key: &ConfigKey) -> ObjectName {
    (key.namespace.clone(), key.name.clone())
}

/// The objects of a namespace, by name.
fn in_namespace<'a, T>(
    objects: &'a BTreeMap<ObjectName, T>,
    namespace: &'a Str,
) -> impl Iterator<Item = &'a T> {
    objects
        .range((namespace.clone(), Str::default())..)
        .take_while(move |((of, _), _)| of == namespace)
        .map(|(_, object)| object)
}

fn unindex(index: &mut BTreeMap<IpAddr, BTreeSet<ObjectName>>, ip: IpAddr, name: &ObjectName) {
    if let Some(names) = index.get_mut(&ip) {
        names.remove(name);
        if names.is_empty() {
            index.remove(&ip);
        }
    }
}

/// The SPIFFE id of a service account.
fn spiffe_id(trust_domain: &str, namespace: &str, service_account: &str) -> Str {
    format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}").into()
}
