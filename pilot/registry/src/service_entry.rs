//! ServiceEntries to services, endpoints and workloads (P4.5, spec 01 §8.1). Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use mesh_api::istio::networking::v1alpha3::ServiceEntry;
use mesh_api::istio::networking::v1alpha3::service_entry::{self, Location};
use mesh_config::{ConfigKey, Host, Labels, Meta, Port, Protocol, Str};
use pilot_model::{
    Change, Endpoint, EndpointAddress, Locality, Resolution, Service, ServiceAddress, ServiceId,
    ServiceInstance, Visibility, Workload,
};

/// The name of the registry that holds what ServiceEntries define.
pub const REGISTRY: &str = "ServiceEntry";

/// The services of all ServiceEntries.
///
/// Several entries may name the same host. Their endpoints are then all endpoints of the host, so each entry has a
/// shard of its own and an edit of one never touches another's.
#[derive(Debug, Default)]
pub struct ServiceEntryRegistry {
    entries: BTreeMap<ConfigKey, Converted>,
    /// Who claims an address as a workload.
    claims: BTreeMap<IpAddr, BTreeSet<ConfigKey>>,
    /// The mesh-wide default of `exportTo`.
    default_export_to: Visibility,
}

/// What one entry defines.
#[derive(Debug, Default)]
struct Converted {
    services: BTreeMap<ServiceId, Service>,
    endpoints: BTreeMap<Host, Vec<Endpoint>>,
    workloads: BTreeMap<IpAddr, Workload>,
    /// Whether the entry leaves `exportTo` to the mesh-wide configuration.
    exports_by_default: bool,
}

// === impl ServiceEntryRegistry ===

impl ServiceEntryRegistry {
    /// An empty registry.
    pub fn new(default_export_to: Visibility) -> Self {
        Self {
            default_export_to,
            ..Self::default()
        }
    }

    /// Takes over an entry that appeared or changed.
    ///
    /// What an edit leaves alone stays out of the answer, so that new endpoints are no new service.
    pub fn apply(&mut self, meta: &Meta, entry: &ServiceEntry) -> Vec<Change> {
        let converted = Converted {
            exports_by_default: entry.export_to.is_empty(),
            ..convert(meta, entry, self.default_export_to)
        };
        self.replace(&meta.key, converted)
    }

    /// Takes over the mesh-wide default of `exportTo`; returns the services that others see now.
    pub fn set_default_export_to(&mut self, default: Visibility) -> Vec<Change> {
        self.default_export_to = default;
        let mut changes = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| entry.exports_by_default) {
            for service in entry.services.values_mut() {
                if service.export_to != default {
                    service.export_to = default;
                    changes.push(Change::Service(Box::new(service.clone())));
                }
            }
        }
        changes
    }

    /// Forgets an entry.
    pub fn remove(&mut self, key: &ConfigKey) -> Vec<Change> {
        let changes = self.replace(key, Converted::default());
        self.entries.remove(key);
        changes
    }

    fn replace(&mut self, key: &ConfigKey, new: Converted) -> Vec<Change> {
        let old = self.entries.remove(key).unwrap_or_default();
        let shard: Str = format!("{REGISTRY}/{}", key.resource_name()).into();
        let mut changes = Vec::new();

        for (id, service) in &new.services {
            if old.services.get(id) != Some(service) {
                changes.push(Change::Service(Box::new(service.clone())));
            }
        }
        let gone = old.services.keys().filter(|id| !new.services.contains_key(*id));
        changes.extend(gone.map(|id| Change::ServiceGone(id.clone())));

        let hosts: BTreeSet<&Host> = old.endpoints.keys().chain(new.endpoints.keys()).collect();
        for host in hosts {
            if old.endpoints.get(host) != new.endpoints.get(host) {
                let endpoints = new.endpoints.get(host).cloned();
                changes.push(Change::Endpoints {
                    registry: shard.clone(),
                    host: host.clone(),
                    endpoints,
                });
            }
        }

        for ip in old.workloads.keys() {
            if let Some(claims) = self.claims.get_mut(ip) {
                claims.remove(key);
            }
        }
        for ip in new.workloads.keys() {
            self.claims.entry(*ip).or_default().insert(key.clone());
        }
        let addresses: BTreeSet<IpAddr> = old
            .workloads
            .keys()
            .chain(new.workloads.keys())
            .copied()
            .collect();
        self.entries.insert(key.clone(), new);
        for ip in addresses {
            changes.push(Change::Workload(ip, self.workload(ip).map(Box::new)));
            if self.claims.get(&ip).is_some_and(BTreeSet::is_empty) {
                self.claims.remove(&ip);
            }
        }
        changes
    }

    /// What is behind an address: the instances of all entries that name it.
    pub fn workload(&self, ip: IpAddr) -> Option<Workload> {
        let claims = self.claims.get(&ip)?;
        let mut parts = claims
            .iter()
            .filter_map(|key| self.entries.get(key)?.workloads.get(&ip));
        let mut workload = parts.next()?.clone();
        workload
            .instances
            .extend(parts.flat_map(|part| part.instances.iter().cloned()));
        workload.instances.sort();
        workload.instances.dedup();
        Some(workload)
    }
}

fn convert(meta: &Meta, entry: &ServiceEntry, default_export_to: Visibility) -> Converted {
    let ports: Vec<Port> = entry.ports.iter().filter_map(port).collect();
    let resolution = match entry.resolution() {
        service_entry::Resolution::None => Resolution::Passthrough,
        service_entry::Resolution::Static => Resolution::ClientSide,
        service_entry::Resolution::Dns => Resolution::Dns,
    };
    let mesh_external = entry.location() == Location::MeshExternal;
    let addresses = addresses(entry);
    let mut converted = Converted::default();
    for host in &entry.hosts {
        let host = Host::from(host.as_str());
        let endpoints = endpoints(entry, &host, &ports);
        for (index, address) in (0u16..).zip(&addresses) {
            let id = ServiceId {
                namespace: meta.key.namespace.clone(),
                name: meta.key.name.clone(),
                host: host.clone(),
                index,
                registry: REGISTRY.into(),
            };
            let service = Service {
                id: id.clone(),
                address: *address,
                ports: ports.clone(),
                resolution,
                // Names to resolve are part of the cluster; addresses are served apart and change on their own.
                endpoints: if resolution == Resolution::Dns {
                    endpoints.clone()
                } else {
                    Vec::new()
                },
                mesh_external,
                export_to: Visibility::from_export_to(&entry.export_to, default_export_to),
                service_accounts: entry
                    .subject_alt_names
                    .iter()
                    .map(|name| name.as_str().into())
                    .collect(),
                // It says itself where it is reached.
                external_addresses: addresses.iter().filter_map(ServiceAddress::ip).collect(),
                labels: Labels::from(&meta.labels),
                created: meta.created,
            };
            converted.services.insert(id, service);
        }
        if resolution == Resolution::ClientSide {
            if !mesh_external {
                add_workloads(&mut converted.workloads, meta, &host, &ports, &endpoints);
            }
            converted.endpoints.insert(host, endpoints);
        }
    }
    converted
}

fn port(port: &mesh_api::istio::networking::v1alpha3::Port) -> Option<Port> {
    Some(Port {
        name: port.name.as_str().into(),
        number: u16::try_from(port.number).ok().filter(|number| *number != 0)?,
        protocol: port.protocol.parse().unwrap_or(Protocol::Tcp),
    })
}

/// The addresses of the services; one that is unspecified when the entry gives none.
fn addresses(entry: &ServiceEntry) -> Vec<ServiceAddress> {
    let parse = |address: &String| -> Option<ServiceAddress> {
        if let Ok(ip) = address.parse::<IpAddr>() {
            return Some(ServiceAddress::Ip(ip));
        }
        let net: IpNet = address.parse().ok()?;
        // A range of one address is an address.
        Some(if net.prefix_len() == net.max_prefix_len() {
            ServiceAddress::Ip(net.addr())
        } else {
            ServiceAddress::Cidr(net.trunc())
        })
    };
    let addresses: Vec<_> = entry.addresses.iter().filter_map(parse).collect();
    if addresses.is_empty() {
        vec![ServiceAddress::Unspecified]
    } else {
        addresses
    }
}

fn endpoints(entry: &ServiceEntry, host: &Host, ports: &[Port]) -> Vec<Endpoint> {
    if entry.endpoints.is_empty()
        && entry.resolution() == service_entry::Resolution::Dns
        && !host.is_wildcard()
    {
        // The host itself is what the proxy resolves.
        let itself = service_entry::Endpoint {
            address: host.as_str().to_owned(),
            ..Default::default()
        };
        return ports.iter().map(|port| endpoint(&itself, port)).collect();
    }
    entry
        .endpoints
        .iter()
        .flat_map(|one| ports.iter().map(move |port| endpoint(one, port)))
        .collect()
}

fn endpoint(endpoint: &service_entry::Endpoint, port: &Port) -> Endpoint {
    let number = endpoint
        .ports
        .get(&*port.name)
        .and_then(|number| u16::try_from(*number).ok())
        .unwrap_or(port.number);
    let address = if let Some(path) = endpoint.address.strip_prefix("unix://") {
        EndpointAddress::Unix(path.into())
    } else if let Ok(ip) = endpoint.address.parse() {
        EndpointAddress::Ip(SocketAddr::new(ip, number))
    } else {
        EndpointAddress::Dns(endpoint.address.as_str().into(), number)
    };
    Endpoint {
        address,
        service_port: port.name.clone(),
        labels: Labels::from(&endpoint.labels),
        uid: Str::default(),
        service_account: Str::default(),
        network: endpoint.network.as_str().into(),
        locality: if endpoint.locality.is_empty() {
            Locality::default()
        } else {
            Locality::parse(&endpoint.locality)
        },
        weight: endpoint.weight.max(1),
    }
}

/// An endpoint inside the mesh may have a sidecar: it is a workload that serves the entry's ports.
fn add_workloads(
    workloads: &mut BTreeMap<IpAddr, Workload>,
    meta: &Meta,
    host: &Host,
    ports: &[Port],
    endpoints: &[Endpoint],
) {
    for endpoint in endpoints {
        let EndpointAddress::Ip(address) = endpoint.address else {
            continue;
        };
        let Some(service_port) = ports.iter().find(|port| port.name == endpoint.service_port) else {
            continue;
        };
        let workload = workloads.entry(address.ip()).or_insert_with(|| Workload {
            namespace: meta.key.namespace.clone(),
            labels: endpoint.labels.clone(),
            locality: endpoint.locality.clone(),
            ..Workload::default()
        });
        workload.instances.push(ServiceInstance {
            host: host.clone(),
            namespace: meta.key.namespace.clone(),
            service_port: service_port.clone(),
            target_port: address.port(),
        });
    }
}

#[cfg(test)]
mod tests;
