//! Which listeners a sidecar gets for the connections that its workload opens (P12.2, P12.3).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mesh_api::istio::networking::v1alpha3::envoy_filter::listener_match::ListenerType;
use mesh_config::{Port, Protocol, Str};
use pilot_model::{InterceptionMode, ScopedView, Service, ServiceAddress, Warning, WarningKind};

use super::rules::{self, ServiceRules};
use super::tcp::{Claim, TcpTable};
use super::{Access, ListenerKey, OutboundScope, Spec};
use crate::envoy_filter::{Chains, Selected, Target, UserFilters};
use crate::{Plan, l4, name, ports, service};

/// All addresses: HTTP, where the host header tells services apart, and TCP services without an address of their own.
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The route configuration for all ports, used by applications that speak to an HTTP proxy.
const HTTP_PROXY_ROUTES: &str = "http_proxy";

/// What a listener serves so far.
struct Entry<'a> {
    /// The service that came first; it decides what the listener speaks.
    owner: &'a Service,
    /// The name of its port.
    port_name: Str,
    serves: Serves<'a>,
}

enum Serves<'a> {
    Http,
    Tcp(TcpTable<'a>),
}

/// What each address serves.
struct Planner<'a> {
    view: &'a ScopedView,
    captured: bool,
    rules: ServiceRules<'a>,
    entries: BTreeMap<(IpAddr, u16), Entry<'a>>,
    warnings: Vec<Warning>,
}

/// The listeners for connections that the workload of a sidecar opens.
///
/// `scope` is the scope of the sidecar in the same view.
pub fn outbound(view: &ScopedView, scope: &OutboundScope) -> Plan<ListenerKey> {
    let mesh = view.mesh();
    let interception = scope.interception;
    let captured = interception != InterceptionMode::None;
    let access = if captured { Access::Captured } else { Access::Bound };
    let mut planner = Planner {
        view,
        captured,
        rules: ServiceRules::new(view, scope.source_selectors()),
        entries: BTreeMap::new(),
        warnings: Vec::new(),
    };
    planner.add_services();
    let mut warnings = planner.warnings;
    warnings.extend(planner.rules.warnings);
    let mut envoy_filters = Selected::of(view, &scope.envoy_filters);
    let mut keys: Vec<ListenerKey> = planner
        .entries
        .into_iter()
        .map(|((address, port), entry)| {
            let user_filters = envoy_filters.on(Target {
                listener_type: ListenerType::SidecarOutbound,
                port,
                port_name: &entry.port_name,
                address: Some(address),
                chains: Chains::of(matches!(entry.serves, Serves::Http)),
            });
            let spec = match entry.serves {
                Serves::Http => Spec::OutboundHttp {
                    routes: port.to_string().into(),
                    access,
                },
                Serves::Tcp(chains) => Spec::OutboundTcp {
                    chains: chains.into_chains().into(),
                    access,
                },
            };
            ListenerKey {
                name: name::listener(address, port).into(),
                mesh: mesh.clone(),
                address,
                port,
                spec,
                user_filters,
            }
        })
        .collect();

    if captured {
        keys.push(ListenerKey {
            name: name::VIRTUAL_OUTBOUND_LISTENER.into(),
            mesh: mesh.clone(),
            address: ANY,
            port: ports::outbound(mesh),
            spec: Spec::VirtualOutbound {
                transparent: interception == InterceptionMode::Tproxy,
            },
            user_filters: UserFilters::default(),
        });
    }
    let http_proxy = if captured {
        ports::http_proxy(mesh)
    } else {
        Some(ports::HTTP_PROXY)
    };
    keys.extend(http_proxy.map(|port| ListenerKey {
        name: name::listener(LOOPBACK, port).into(),
        mesh: mesh.clone(),
        address: LOOPBACK,
        port,
        spec: Spec::OutboundHttp {
            routes: HTTP_PROXY_ROUTES.into(),
            access: Access::Bound,
        },
        user_filters: UserFilters::default(),
    }));
    warnings.extend(envoy_filters.warnings);
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    keys.dedup_by(|later, first| later.name == first.name);
    Plan { keys, warnings }
}

// === impl Planner ===

impl<'a> Planner<'a> {
    /// Services come oldest first, and the first one on an address decides (P12.3).
    fn add_services(&mut self) {
        let view = self.view;
        for service in view.services() {
            let ports = service.ports.iter().filter(|port| port.protocol != Protocol::Udp);
            for port in ports {
                self.add(service, port);
            }
            for port in self.rules.further_ports(service) {
                self.add(service, &port);
            }
        }
    }

    fn add(&mut self, service: &'a Service, port: &Port) {
        // A proxy that is not root cannot bind the lower ports.
        if !self.captured && port.number <= 1024 {
            return;
        }
        let address = if self.captured {
            address(service, port)
        } else {
            LOOPBACK
        };
        let at = (address, port.number);
        if address.is_unspecified() && ports::is_bound(self.view.mesh(), port.number) {
            self.warn(
                service,
                format!(
                    "port {} is the proxy's own; its listener is left out",
                    port.number
                ),
            );
            return;
        }
        let conflict = if port.protocol.is_http() {
            self.add_http(at, service, port)
        } else {
            self.add_tcp(at, service, port)
        };
        if let Some((owner, kind)) = conflict {
            self.warnings.push(conflict_with(owner, service, at, kind));
        }
    }

    fn add_http(
        &mut self,
        at: (IpAddr, u16),
        service: &'a Service,
        port: &Port,
    ) -> Option<(&'a Service, WarningKind)> {
        let entry = self.entries.entry(at).or_insert(Entry {
            owner: service,
            port_name: port.name.clone(),
            serves: Serves::Http,
        });
        match entry.serves {
            // Host names tell the services apart.
            Serves::Http => None,
            Serves::Tcp(_) => Some((entry.owner, WarningKind::HttpOverTcp)),
        }
    }

    fn add_tcp(
        &mut self,
        at: (IpAddr, u16),
        service: &'a Service,
        port: &Port,
    ) -> Option<(&'a Service, WarningKind)> {
        let Some(server_names) = rules::server_names(self.view, service, port) else {
            let reason = format!(
                "host {} cannot be told from others by TLS server name; port {} is left out",
                service.id.host, port.number
            );
            self.warn(service, reason);
            return None;
        };
        let rules = self.rules.of(service, port, &server_names);
        if rules.is_empty() {
            return None;
        }
        let entry = self.entries.entry(at).or_insert_with(|| Entry {
            owner: service,
            port_name: port.name.clone(),
            serves: Serves::Tcp(TcpTable::default()),
        });
        let Serves::Tcp(table) = &mut entry.serves else {
            return Some((entry.owner, WarningKind::TcpOverHttp));
        };
        let mut loser_to = None;
        for slot in l4::first_match(&rules) {
            let Some(rule) = rules.get(slot.rule) else {
                continue;
            };
            let claim = Claim {
                owner: service,
                protocol: port.protocol,
                route: Arc::clone(&rule.route),
            };
            if let Err(owner) = table.claim(slot.range, slot.server_name, &claim) {
                loser_to.get_or_insert(owner);
            }
        }
        loser_to.map(|owner| (owner, WarningKind::TcpOverTcp))
    }

    fn warn(&mut self, service: &Service, reason: String) {
        self.warnings.push(Warning {
            object: service::object(service),
            kind: WarningKind::Unsupported,
            reason,
        });
    }
}

/// Where captured connections to a port of a service are addressed to.
fn address(service: &Service, port: &Port) -> IpAddr {
    match service.address {
        ServiceAddress::Ip(ip) if !port.protocol.is_http() => ip,
        _ => ANY,
    }
}

fn conflict_with(
    owner: &Service,
    service: &Service,
    (address, port): (IpAddr, u16),
    kind: WarningKind,
) -> Warning {
    Warning {
        object: service::object(service),
        kind,
        reason: format!(
            "listener {} serves {} already; connections to {}:{port} do not reach {}",
            name::listener(address, port),
            service::object(owner),
            service.id.host,
            service::object(service),
        ),
    }
}
