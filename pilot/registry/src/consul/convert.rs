//! Instances to services, endpoints and workloads (P4.4). Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mesh_config::{Host, Labels, Port, Protocol, Str, Timestamp};
use pilot_model::{
    Change, Endpoint, EndpointAddress, Resolution, Service, ServiceAddress, ServiceId, ServiceInstance,
    Visibility, Workload,
};

use super::decode::Instance;

/// The namespace of everything in the catalog, which has none.
const NAMESPACE: &str = "default";
/// The service account of every instance: Consul knows none (P4.4).
const SERVICE_ACCOUNT: &str = "default";

/// The services of one Consul catalog.
#[derive(Debug)]
pub struct ConsulRegistry {
    registry: Str,
    service_account: Str,
    /// Who may see the services: a catalog does not say (P15.2).
    export_to: Visibility,
    /// By name; never empty lists.
    services: BTreeMap<String, Vec<Instance>>,
    /// The services that have an instance at an address.
    services_by_ip: BTreeMap<IpAddr, BTreeSet<String>>,
}

// === impl ConsulRegistry ===

impl ConsulRegistry {
    /// An empty registry. `registry` is its name among others, `trust_domain` that of identities.
    pub fn new(registry: impl Into<Str>, trust_domain: &str) -> Self {
        Self {
            registry: registry.into(),
            service_account: format!("spiffe://{trust_domain}/ns/{NAMESPACE}/sa/{SERVICE_ACCOUNT}").into(),
            export_to: Visibility::Public,
            services: BTreeMap::new(),
            services_by_ip: BTreeMap::new(),
        }
    }

    /// Takes over the instances of a service. One without instances has no ports, and so is none.
    pub fn set(&mut self, name: &str, mut instances: Vec<Instance>) -> Vec<Change> {
        instances.sort();
        instances.dedup();
        let mut addresses = self.forget(name);
        let mut changes = Vec::new();
        let host = host(name);
        if instances.is_empty() {
            changes.push(Change::ServiceGone(self.service_id(name)));
            changes.push(Change::Endpoints {
                registry: self.registry.clone(),
                host,
                endpoints: None,
            });
        } else {
            let ports = ports(&instances);
            changes.push(Change::Service(Box::new(self.service(name, &ports, &instances))));
            changes.push(Change::Endpoints {
                registry: self.registry.clone(),
                host,
                endpoints: Some(endpoints(&ports, &instances)),
            });
            for ip in instances.iter().map(|instance| instance.address.ip()) {
                self.services_by_ip.entry(ip).or_default().insert(name.to_owned());
                addresses.insert(ip);
            }
            self.services.insert(name.to_owned(), instances);
        }
        changes.extend(
            addresses
                .into_iter()
                .map(|ip| Change::Workload(ip, self.workload(ip).map(Box::new))),
        );
        changes
    }

    /// Takes over the mesh-wide default of `exportTo`.
    pub fn set_default_export_to(&mut self, default: Visibility) -> Vec<Change> {
        self.export_to = default;
        let services = self.services.iter();
        services
            .map(|(name, instances)| {
                Change::Service(Box::new(self.service(name, &ports(instances), instances)))
            })
            .collect()
    }

    /// Forgets a service.
    pub fn remove(&mut self, name: &str) -> Vec<Change> {
        self.set(name, Vec::new())
    }

    /// What is behind an address: the instances of all services that have one there, healthy or not (P4.2).
    pub fn workload(&self, ip: IpAddr) -> Option<Workload> {
        let names = self.services_by_ip.get(&ip)?;
        let mut workload = Workload {
            namespace: NAMESPACE.into(),
            service_account: self.service_account.clone(),
            ..Workload::default()
        };
        let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, instances) in names
            .iter()
            .filter_map(|name| Some((name, self.services.get(name)?)))
        {
            let ports = ports(instances);
            for instance in instances.iter().filter(|instance| instance.address.ip() == ip) {
                workload.locality = instance.locality.clone();
                for (key, value) in instance.labels.iter() {
                    // Several services of one machine: the first that says something is heard.
                    labels.entry(key).or_insert(value);
                }
                let port = instance.address.port();
                workload
                    .instances
                    .extend(ports.get(&port).map(|service_port| ServiceInstance {
                        host: host(name),
                        namespace: NAMESPACE.into(),
                        service_port: service_port.clone(),
                        target_port: port,
                    }));
            }
        }
        workload.labels = labels.into_iter().collect::<Labels>();
        workload.instances.sort();
        workload.instances.dedup();
        Some(workload)
    }

    fn service(&self, name: &str, ports: &BTreeMap<u16, Port>, instances: &[Instance]) -> Service {
        let external = instances.iter().any(|instance| instance.external);
        Service {
            id: self.service_id(name),
            address: ServiceAddress::Unspecified,
            ports: ports.values().cloned().collect(),
            // Callers of a service outside the mesh have its address from Consul's DNS.
            resolution: if external {
                Resolution::Passthrough
            } else {
                Resolution::ClientSide
            },
            endpoints: Vec::new(),
            mesh_external: external,
            export_to: self.export_to,
            service_accounts: [self.service_account.clone()].into(),
            external_addresses: BTreeSet::new(),
            labels: Labels::default(),
            created: Timestamp::default(),
        }
    }

    fn service_id(&self, name: &str) -> ServiceId {
        ServiceId {
            namespace: NAMESPACE.into(),
            name: name.into(),
            host: host(name),
            index: 0,
            registry: self.registry.clone(),
        }
    }

    /// Takes a service out of the tables; returns the addresses that it had instances at.
    fn forget(&mut self, name: &str) -> BTreeSet<IpAddr> {
        let instances = self.services.remove(name).unwrap_or_default();
        let addresses: BTreeSet<IpAddr> = instances.iter().map(|instance| instance.address.ip()).collect();
        for ip in &addresses {
            if let Some(names) = self.services_by_ip.get_mut(ip) {
                names.remove(name);
                if names.is_empty() {
                    self.services_by_ip.remove(ip);
                }
            }
        }
        addresses
    }
}

/// The host under which callers know a service.
fn host(name: &str) -> Host {
    Host::new(format!("{name}.service.consul"))
}

/// The ports of a service by number: each port that an instance listens on.
///
/// A port is called as its protocol, as in 1.1. Endpoints are found by the name of their port, so where instances
/// listen on different ports the number is part of it.
fn ports(instances: &[Instance]) -> BTreeMap<u16, Port> {
    let protocols: BTreeMap<u16, Protocol> = instances
        .iter()
        .rev()
        .map(|instance| (instance.address.port(), instance.protocol))
        .collect();
    let is_only = protocols.len() == 1;
    let port = |(number, protocol): (u16, Protocol)| {
        let name = protocol.as_str().to_ascii_lowercase();
        let name = if is_only { name } else { format!("{name}-{number}") };
        let port = Port {
            name: name.into(),
            number,
            protocol,
        };
        (number, port)
    };
    protocols.into_iter().map(port).collect()
}

fn endpoints(ports: &BTreeMap<u16, Port>, instances: &[Instance]) -> Vec<Endpoint> {
    let serving = instances.iter().filter(|instance| instance.serving);
    serving
        .filter_map(|instance| {
            let port = ports.get(&instance.address.port())?;
            Some(Endpoint {
                address: EndpointAddress::Ip(instance.address),
                service_port: port.name.clone(),
                labels: instance.labels.clone(),
                uid: Str::default(),
                service_account: Str::default(),
                network: Str::default(),
                locality: instance.locality.clone(),
                weight: instance.weight,
            })
        })
        .collect()
}
