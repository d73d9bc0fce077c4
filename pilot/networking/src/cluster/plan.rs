//! Which clusters a proxy gets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mesh_config::Protocol;
use pilot_model::{
    EndpointAddress, LocalEndpoint, Proxy, ProxyType, Resolution, RuleChain, ScopedView, Service, Versioned,
    Warning, WarningKind, Workload,
};

use super::{ClusterKey, ServiceTarget, Target};
use crate::destination::SubsetIndex;
use crate::envoy::loopback;
use crate::tls::downstream;
use crate::tls::upstream::{self, TlSmode};
use crate::{Plan, Vantage, destination, gateway, instance, name, service};

/// The clusters through which a proxy reaches the services that it sees.
///
/// One for each port of each service and one more for each of its subsets (P11.1, `R-DR-9`); of two with the same name
/// the older service's wins (`R-N-12`). The clusters for traffic that belongs to no service stand beside them (`R-OB-1`).
/// A router that hands connections on by their server names has all of them once more (`A-20`).
pub fn outbound(view: &ScopedView, vantage: &Vantage) -> Plan<ClusterKey> {
    let mesh = view.mesh();
    let mut keys = Vec::new();
    let mut warnings = view.sidecar_warnings();

    for service in view.services() {
        let rules = view.rules(service);
        if let Some(rules) = rules {
            warnings.extend(destination::duplicate_subsets(rules));
        }
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            let mut add = |subset, subset_name: &str| {
                let target = service_target(view, vantage, service, port.number, subset, rules);
                // The proxy rejected the rule that asks for TLS: without the cluster nothing is sent in plain text.
                if target.is_rejected() {
                    return;
                }
                if vantage.sni_dnat {
                    keys.push(ClusterKey {
                        name: name::server_name(port.number, subset_name, &service.id.host),
                        mesh: mesh.clone(),
                        target: Target::Service(target.without_tls()),
                    });
                }
                keys.push(ClusterKey {
                    name: name::outbound_cluster(port.number, subset_name, &service.id.host),
                    mesh: mesh.clone(),
                    target: Target::Service(target),
                });
            };
            add(None, "");
            for (index, subset) in rules.into_iter().flat_map(|rules| destination::subsets(rules)) {
                add(Some(index), &subset.name);
            }
        }
    }

    let mut add = |name: &str, target| {
        keys.push(ClusterKey {
            name: name.into(),
            mesh: mesh.clone(),
            target,
        })
    };
    add(name::BLACK_HOLE_CLUSTER, Target::BlackHole);
    add(name::PASSTHROUGH_CLUSTER, Target::OriginalDestination);
    if vantage.proxy_type == ProxyType::Sidecar {
        add(name::INBOUND_PASSTHROUGH_CLUSTER, Target::OriginalDestination);
    }

    // Stable: among equal names the oldest stays in front.
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    keys.dedup_by(|later, first| {
        let duplicate = later.name == first.name;
        if duplicate {
            warnings.extend(duplicate_cluster(later, first));
        }
        duplicate
    });
    Plan { keys, warnings }
}

/// The clusters through which a sidecar reaches its own workload (P11.2).
pub fn inbound(view: &ScopedView, proxy: &Proxy, workload: &Workload) -> Plan<ClusterKey> {
    let Some(&ip) = proxy.ips.first() else {
        return Plan::default();
    };
    let whole = view.whole();
    let served = instance::served(view, proxy, workload);
    let management = served.management_ports.into_iter().map(|port| ClusterKey {
        name: name::management_cluster(port).into(),
        mesh: view.mesh().clone(),
        target: Target::Workload {
            address: EndpointAddress::Ip(SocketAddr::new(loopback(ip), port)),
            service_port: port,
            protocol: Protocol::Tcp,
            service: None,
            rules: None,
        },
    });
    let mut keys: Vec<ClusterKey> = served
        .ports
        .into_iter()
        .map(|port| {
            let service = service::of_instance(whole, port.instance);
            ClusterKey {
                name: port.cluster,
                mesh: view.mesh().clone(),
                target: Target::Workload {
                    address: address_of(port.endpoint, loopback(ip)),
                    service_port: port.instance.service_port.number,
                    protocol: port.protocol,
                    service: service.and_then(|service| service.definition()),
                    rules: service.and_then(|service| whole.rules(service)).cloned(),
                },
            }
        })
        .chain(management)
        .collect();
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    // A service port that leads to two ports of the workload, for instance while its target port is being changed.
    keys.dedup_by(|later, first| later.name == first.name);
    Plan {
        keys,
        warnings: Vec::new(),
    }
}

/// The clusters through which a router reaches the default endpoints of its servers (§7.1).
pub fn gateway(view: &ScopedView, proxy: &Proxy, workload: &Workload) -> Plan<ClusterKey> {
    let mut servers = view
        .gateways(&workload.labels)
        .flat_map(|gateway| &gateway.spec.servers);
    if servers.all(|server| server.default_endpoint.is_empty()) {
        return Plan::default();
    }
    let merged = gateway::merge(
        view.gateways(&workload.labels),
        downstream::asks_for_secrets(proxy),
    );
    let servers = merged.ports.values().flat_map(|port| port.servers.iter());
    let mut keys: Vec<ClusterKey> = servers
        .filter_map(|server| {
            let default = server.default_endpoint().ok()??;
            Some(ClusterKey {
                name: default.cluster,
                mesh: view.mesh().clone(),
                target: Target::DefaultEndpoint {
                    address: address_of(default.endpoint, IpAddr::V4(Ipv4Addr::LOCALHOST)),
                    protocol: server.protocol(),
                    gateway: default.gateway,
                },
            })
        })
        .collect();
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    keys.dedup_by(|later, first| later.name == first.name);
    Plan {
        keys,
        // Its listeners tell what is left out.
        warnings: Vec::new(),
    }
}

/// Where an application listens that the proxy reaches by the loopback address.
fn address_of(endpoint: LocalEndpoint, loopback: IpAddr) -> EndpointAddress {
    match endpoint {
        LocalEndpoint::Port(number) => EndpointAddress::Ip(SocketAddr::new(loopback, number)),
        LocalEndpoint::Unix(path) => EndpointAddress::Unix(path),
    }
}

/// What the cluster of a port, or of a subset of it, depends on.
fn service_target(
    view: &ScopedView,
    vantage: &Vantage,
    service: &Versioned<Service>,
    port: u16,
    subset: Option<SubsetIndex>,
    rules: Option<&RuleChain>,
) -> ServiceTarget {
    let chain = rules.map_or(&[][..], |rules| rules);
    let policy = destination::policy(chain, subset.and_then(|index| index.get(chain)), port);
    let is_mutual = upstream::mode(service, chain, policy.tls) == Some(TlSmode::IstioMutual);
    let identities = view.identities().get(service.id.host.as_str());

    let setting = view.mesh().locality_lb_setting.as_ref();
    // Names that proxies resolve are balanced by locality whenever somebody says how (P10.6).
    let locality = match service.resolution {
        Resolution::Dns => vantage.locality.as_ref().filter(|_| setting.is_some()),
        Resolution::ClientSide | Resolution::Passthrough => None,
    };
    let mut endpoints = service.endpoints.iter();
    let leaves_out = endpoints.any(|endpoint| !vantage.network_view.contains(&endpoint.network));
    let is_local = locality.is_some() || vantage.served_locality().is_some();
    ServiceTarget {
        service: service.clone(),
        port,
        subset,
        rules: rules.cloned(),
        sni_dnat: false,
        identities: identities.filter(|_| is_mutual).cloned(),
        certificate_files: vantage.certificate_files.clone().filter(|_| is_mutual),
        network_view: leaves_out.then(|| vantage.network_view.clone()),
        locality: locality.cloned(),
        distributes: is_local && setting.is_some_and(|setting| !setting.distribute.is_empty()),
        is_balanced: service.resolution == Resolution::Passthrough && vantage.balances(service),
    }
}

/// The warning about a service whose cluster another has already, unless one object defines both.
fn duplicate_cluster(later: &ClusterKey, first: &ClusterKey) -> Option<Warning> {
    let (Target::Service(loser), Target::Service(winner)) = (&later.target, &first.target) else {
        return None;
    };
    let (loser, winner) = (&loser.service, &winner.service);
    (!same_object(loser, winner)).then(|| Warning {
        object: service::object(loser),
        kind: WarningKind::DuplicateCluster,
        reason: format!(
            "cluster {} is made by {} already; this one is left out",
            later.name,
            service::object(winner)
        ),
    })
}

// === impl ServiceTarget ===

impl ServiceTarget {
    /// Whether TLS is asked for by a rule that the proxy rejected.
    fn is_rejected(&self) -> bool {
        let rules = self.rules.as_deref().unwrap_or_default();
        if rules.iter().all(|rule| !rule.is_rejected) {
            return false;
        }
        let subset = self.subset.and_then(|index| index.get(rules));
        let policy = destination::policy(rules, subset, self.port);
        upstream::mode(&self.service, rules, policy.tls).is_some()
    }

    /// The same for connections that are handed on as they are.
    fn without_tls(&self) -> Self {
        Self {
            sni_dnat: true,
            identities: None,
            certificate_files: None,
            ..self.clone()
        }
    }
}

/// A ServiceEntry with several addresses is several services with the same clusters (P4.5).
fn same_object(a: &Versioned<Service>, b: &Versioned<Service>) -> bool {
    a.id.registry == b.id.registry && a.id.namespace == b.id.namespace && a.id.name == b.id.name
}
