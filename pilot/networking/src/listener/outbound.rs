//! Which listeners a sidecar gets for the connections that its workload opens (P12.2, P12.3).

use std::collections::{BTreeMap, btree_map};
use std::net::{IpAddr, Ipv4Addr};

use mesh_config::{Host, Port, Protocol};
use pilot_model::{InterceptionMode, Resolution, ScopedView, Service, ServiceAddress, Warning, WarningKind};

use super::{Access, ListenerKey, Spec, TcpChain, TcpMatch};
use crate::{Plan, name, ports, service};

/// All addresses: HTTP, where the host header tells services apart, and TCP services without an address of their own.
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The route configuration for all ports, used by applications that speak to an HTTP proxy.
const HTTP_PROXY_ROUTES: &str = "http_proxy";

/// What a listener serves so far.
struct Entry<'a> {
    /// The service that came first; it decides what the listener speaks.
    owner: &'a Service,
    serves: Serves,
}

enum Serves {
    Http,
    /// In the order of the matches; no two are equal, which Envoy would refuse.
    Tcp(BTreeMap<TcpMatch, TcpChain>),
}

/// The listeners for connections that the workload of a sidecar opens.
pub fn outbound(view: &ScopedView, interception: InterceptionMode) -> Plan<ListenerKey> {
    let mesh = view.mesh();
    let captured = interception != InterceptionMode::None;
    let access = if captured { Access::Captured } else { Access::Bound };
    let mut warnings = Vec::new();
    let mut keys: Vec<ListenerKey> = entries(view, captured, &mut warnings)
        .into_iter()
        .map(|((address, port), entry)| {
            let spec = match entry.serves {
                Serves::Http => Spec::OutboundHttp {
                    routes: port.to_string().into(),
                    access,
                },
                Serves::Tcp(chains) => Spec::OutboundTcp {
                    chains: chains.into_values().collect(),
                    access,
                },
            };
            ListenerKey {
                name: name::listener(address, port).into(),
                mesh: mesh.clone(),
                address,
                port,
                spec,
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
    }));
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    keys.dedup_by(|later, first| later.name == first.name);
    Plan { keys, warnings }
}

/// What each address serves. Services come oldest first, and the first one on an address decides (P12.3).
fn entries<'a>(
    view: &'a ScopedView,
    captured: bool,
    warnings: &mut Vec<Warning>,
) -> BTreeMap<(IpAddr, u16), Entry<'a>> {
    let mut entries: BTreeMap<(IpAddr, u16), Entry<'_>> = BTreeMap::new();
    for service in view.services() {
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            // A proxy that is not root cannot bind the lower ports.
            if !captured && port.number <= 1024 {
                continue;
            }
            let address = if captured {
                address(service, port)
            } else {
                LOOPBACK
            };
            if address.is_unspecified() && ports::is_bound(view.mesh(), port.number) {
                warnings.push(Warning {
                    object: service::object(service),
                    kind: WarningKind::Unsupported,
                    reason: format!(
                        "port {} is the proxy's own; its listener is left out",
                        port.number
                    ),
                });
                continue;
            }
            let added = if port.protocol.is_http() {
                add_http(&mut entries, (address, port.number), service)
            } else {
                add_tcp(&mut entries, (address, port.number), service, port)
            };
            warnings.extend(added.err());
        }
    }
    entries
}

fn add_http<'a>(
    entries: &mut BTreeMap<(IpAddr, u16), Entry<'a>>,
    at: (IpAddr, u16),
    service: &'a Service,
) -> Result<(), Warning> {
    let entry = entries.entry(at).or_insert(Entry {
        owner: service,
        serves: Serves::Http,
    });
    match entry.serves {
        // Host names tell the services apart.
        Serves::Http => Ok(()),
        Serves::Tcp(_) => Err(conflict(service, at, entry.owner, WarningKind::HttpOverTcp)),
    }
}

fn add_tcp<'a>(
    entries: &mut BTreeMap<(IpAddr, u16), Entry<'a>>,
    at: (IpAddr, u16),
    service: &'a Service,
    port: &Port,
) -> Result<(), Warning> {
    let matches = tcp_match(service, port).ok_or_else(|| Warning {
        object: service::object(service),
        kind: WarningKind::Unsupported,
        reason: format!(
            "host {} cannot be told from others by TLS server name; port {} is left out",
            service.id.host, port.number
        ),
    })?;
    let entry = entries.entry(at).or_insert_with(|| Entry {
        owner: service,
        serves: Serves::Tcp(BTreeMap::new()),
    });
    let Serves::Tcp(chains) = &mut entry.serves else {
        return Err(conflict(service, at, entry.owner, WarningKind::TcpOverHttp));
    };
    let cluster = name::outbound_cluster(port.number, "", &service.id.host);
    let passthrough = service.resolution == Resolution::Passthrough;
    match chains.entry(matches.clone()) {
        btree_map::Entry::Vacant(vacant) => {
            vacant.insert(TcpChain {
                matches,
                cluster,
                passthrough,
            });
            Ok(())
        }
        // Another address of the same host.
        btree_map::Entry::Occupied(chain) if chain.get().cluster == cluster => Ok(()),
        btree_map::Entry::Occupied(_) => Err(conflict(service, at, entry.owner, WarningKind::TcpOverTcp)),
    }
}

/// Where captured connections to a port of a service are addressed to.
fn address(service: &Service, port: &Port) -> IpAddr {
    match service.address {
        ServiceAddress::Ip(ip) if !port.protocol.is_http() => ip,
        _ => ANY,
    }
}

/// What tells connections to a service from others on the same listener; `None` when nothing could.
fn tcp_match(service: &Service, port: &Port) -> Option<TcpMatch> {
    match service.address {
        ServiceAddress::Ip(_) => Some(TcpMatch::Any),
        ServiceAddress::Cidr(range) if !port.protocol.is_tls() => Some(TcpMatch::Range(range)),
        ServiceAddress::Cidr(_) | ServiceAddress::Unspecified if port.protocol.is_tls() => {
            is_server_name(&service.id.host).then(|| TcpMatch::ServerName(service.id.host.clone()))
        }
        ServiceAddress::Cidr(_) | ServiceAddress::Unspecified => Some(TcpMatch::Any),
    }
}

/// Whether Envoy can match a host in a TLS handshake: it knows names and `*.` followed by one.
fn is_server_name(host: &Host) -> bool {
    let name = host.as_str();
    let name = name.strip_prefix("*.").unwrap_or(name);
    !name.is_empty() && !name.contains('*')
}

fn conflict(
    service: &Service,
    (address, port): (IpAddr, u16),
    owner: &Service,
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
