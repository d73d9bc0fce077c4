//! How the servers of Gateways share the ports of a router (P14, §7.4).

mod default_endpoint;
mod hosts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use mesh_api::istio::networking::v1alpha3::Server;
use mesh_api::istio::networking::v1alpha3::server::tls_options::TlSmode;
use mesh_config::{ParseProtocolError, Protocol, Str};
use pilot_model::{Bind, Gateway, Versioned, Warning, WarningKind};

pub(crate) use self::default_endpoint::DefaultEndpoint;
pub(crate) use self::hosts::{common, published};
use crate::l4::ServerName;
use crate::name;
use crate::tls::downstream::{Downstream, Inside};

/// The ports of a router.
#[derive(Debug, Default)]
pub(crate) struct Merged<'a> {
    pub(crate) ports: BTreeMap<Place, Port<'a>>,
    /// Servers, and parts of servers, that were left out.
    pub(crate) warnings: Vec<Warning>,
}

/// What servers share: two with the same place have one listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A port, by the number that the servers have.
    Port(u16),
    /// A Unix socket, by its path.
    Socket(Str),
}

/// One port and the servers that share it.
#[derive(Debug)]
pub(crate) struct Port<'a> {
    /// Where it is served; nothing of it matters for a socket.
    pub(crate) bind: IpAddr,
    pub(crate) servers: Servers<'a>,
}

/// The servers of a port, oldest Gateway first. The first one decides what the port is.
#[derive(Debug)]
pub(crate) enum Servers<'a> {
    /// Plain HTTP: all share one route configuration.
    Http(Vec<GatewayServer<'a>>),
    /// Bytes. Nothing tells the connections of one server from those of another, so there is only one.
    Tcp(GatewayServer<'a>),
    /// TLS: the server name tells whose connection it is.
    Tls(Vec<TlsServer<'a>>),
}

/// A server and the Gateway that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatewayServer<'a> {
    pub(crate) gateway: &'a Versioned<Gateway>,
    pub(crate) server: &'a Server,
}

/// A server on a port for TLS.
#[derive(Debug)]
pub(crate) struct TlsServer<'a> {
    pub(crate) server: GatewayServer<'a>,
    /// Which connections are its own; empty for all that are no other server's. No two servers of a port have one in
    /// common.
    pub(crate) server_names: Vec<ServerName>,
    pub(crate) handling: Handling,
}

/// What a server does with TLS.
#[derive(Debug)]
pub(crate) enum Handling {
    /// Ends it and routes the requests inside by this route configuration.
    Http { tls: Downstream, routes: Str },
    /// Ends it and forwards the bytes inside.
    Tcp { tls: Downstream },
    /// Leaves it to the destination, which a VirtualService chooses.
    Passthrough,
    /// Leaves it to the destination, which the server name says.
    AutoPassthrough,
}

/// What a server would be on a port of its own.
enum Class {
    Http,
    Tcp,
    Tls {
        server_names: Vec<ServerName>,
        handling: Handling,
    },
}

/// Why a server is left out.
type Rejection = (WarningKind, String);

/// Merges the servers of Gateways, oldest first (P14).
///
/// The first server on a port decides what the port is; later ones join it when both are plain HTTP, or both TLS without
/// a host in common. `secrets` says whether the router can ask for secrets.
pub(crate) fn merge<'a>(
    gateways: impl IntoIterator<Item = &'a Versioned<Gateway>>,
    secrets: bool,
) -> Merged<'a> {
    let mut merged = Merged::default();
    for gateway in gateways {
        for server in &gateway.spec.servers {
            let server = GatewayServer { gateway, server };
            let mut findings = Vec::new();
            if let Err((kind, reason)) = merged.add(server, secrets, &mut findings) {
                merged
                    .warnings
                    .push(server.warning(kind, format_args!("is left out: {reason}")));
            }
            for finding in findings {
                merged
                    .warnings
                    .push(server.warning(WarningKind::Unsupported, finding));
            }
        }
    }
    merged
}

// === impl Merged ===

impl<'a> Merged<'a> {
    fn add(
        &mut self,
        server: GatewayServer<'a>,
        secrets: bool,
        findings: &mut Vec<String>,
    ) -> Result<(), Rejection> {
        let port = server.server.port.as_ref();
        let port = port.ok_or_else(|| unsupported("it has no port"))?;
        let (place, bind) = place(port.number, &server.server.bind).map_err(unsupported)?;
        let class = Class::of(server, &place, secrets, findings)?;
        findings.extend(server.default_endpoint().err());
        match self.ports.get_mut(&place) {
            Some(port) => port.join(server, &place, bind, class),
            None => {
                let servers = match class {
                    Class::Http => Servers::Http(vec![server]),
                    Class::Tcp => Servers::Tcp(server),
                    Class::Tls {
                        server_names,
                        handling,
                    } => Servers::Tls(vec![TlsServer {
                        server,
                        server_names,
                        handling,
                    }]),
                };
                self.ports.insert(place, Port { bind, servers });
                Ok(())
            }
        }
    }
}

/// Where a server is, by its `port.number` and its `bind`.
fn place(number: u32, bind: &str) -> Result<(Place, IpAddr), String> {
    const ALL: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    let port = u16::try_from(number).ok().filter(|port| *port != 0);
    match (port, Bind::parse(bind)?) {
        (Some(_), Some(Bind::Unix(_))) => Err(format!("port {number}: a Unix socket has no port")),
        (None, Some(Bind::Unix(path))) if number == 0 => Ok((Place::Socket(path), ALL)),
        (Some(port), bind) => Ok((Place::Port(port), bind.as_ref().and_then(Bind::ip).unwrap_or(ALL))),
        (None, _) => Err(format!("port {number} is not a port number")),
    }
}

// === impl Place ===

impl Place {
    /// The number by which rules know it, 0 for a socket.
    pub(crate) fn number(&self) -> u16 {
        match self {
            Self::Port(number) => *number,
            Self::Socket(_) => 0,
        }
    }

    /// The name of the route configuration of its plain HTTP servers.
    pub(crate) fn http_routes(&self) -> String {
        match self {
            Self::Port(number) => name::gateway_http_route(*number),
            Self::Socket(path) => name::gateway_http_socket_route(path),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(number) => write!(f, "port {number}"),
            Self::Socket(path) => f.write_str(&name::socket(path)),
        }
    }
}

// === impl Port ===

impl<'a> Port<'a> {
    fn join(
        &mut self,
        server: GatewayServer<'a>,
        place: &Place,
        bind: IpAddr,
        class: Class,
    ) -> Result<(), Rejection> {
        if self.bind != bind {
            return Err(conflict(format!("{place} is served on {} already", self.bind)));
        }
        match (&mut self.servers, class) {
            (Servers::Http(servers), Class::Http) => servers.push(server),
            (
                Servers::Tls(servers),
                Class::Tls {
                    server_names,
                    handling,
                },
            ) => {
                let new = TlsServer {
                    server,
                    server_names,
                    handling,
                };
                for other in &*servers {
                    other.check(&new, place)?;
                }
                servers.push(new);
            }
            (servers, _) => {
                return Err(conflict(format!("{place} is {} already", servers.what())));
            }
        }
        Ok(())
    }
}

impl Port<'_> {
    /// The name of the port, as the first server has it.
    pub(crate) fn name(&self) -> &str {
        let first = self.servers.iter().next();
        let port = first.and_then(|first| first.server.port.as_ref());
        port.map_or("", |port| port.name.as_str())
    }
}

// === impl Servers ===

impl Servers<'_> {
    fn what(&self) -> &'static str {
        match self {
            Self::Http(_) => "plain HTTP",
            Self::Tcp(_) => "that of another TCP server",
            Self::Tls(_) => "for TLS",
        }
    }

    /// The servers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = GatewayServer<'_>> {
        let (plain, tls): (&[GatewayServer<'_>], &[TlsServer<'_>]) = match self {
            Self::Http(servers) => (servers, &[]),
            Self::Tcp(server) => (std::slice::from_ref(server), &[]),
            Self::Tls(servers) => (&[], servers),
        };
        plain.iter().copied().chain(tls.iter().map(|tls| tls.server))
    }
}

// === impl TlsServer ===

impl TlsServer<'_> {
    /// Whether another server may stand beside this one: Envoy must know whose connection it is, and each route
    /// configuration needs a name of its own.
    fn check(&self, other: &Self, place: &Place) -> Result<(), Rejection> {
        let of = &self.server.gateway.key;
        if self.server_names.is_empty() && other.server_names.is_empty() {
            return Err(conflict(format!(
                "all other hosts of {place} are those of {of} already"
            )));
        }
        let ours: BTreeSet<&ServerName> = self.server_names.iter().collect();
        if let Some(host) = other.server_names.iter().find(|host| ours.contains(host)) {
            return Err(conflict(format!(
                "host {host} of {place} is that of {of} already"
            )));
        }
        match (&self.handling, &other.handling) {
            (Handling::Http { routes: ours, .. }, Handling::Http { routes: theirs, .. })
                if ours == theirs =>
            {
                Err(conflict("another server of port and Gateway has its port name"))
            }
            _ => Ok(()),
        }
    }
}

// === impl Class ===

impl Class {
    fn of(
        server: GatewayServer<'_>,
        place: &Place,
        secrets: bool,
        findings: &mut Vec<String>,
    ) -> Result<Self, Rejection> {
        let GatewayServer { gateway, server } = server;
        let port = server.port.as_ref();
        let (protocol, port_name) = port.map_or(("", ""), |port| (&port.protocol, &port.name));
        let protocol: Protocol = protocol
            .parse()
            .map_err(|error: ParseProtocolError| unsupported(error.to_string()))?;
        let tls = server.tls.as_ref();
        let terminates = |mode| matches!(mode, TlSmode::Simple | TlSmode::Mutual);
        match (protocol, tls) {
            (protocol, tls) if protocol.is_http() => {
                // Plain text where TLS was asked for would surprise somebody.
                if tls.is_some_and(|tls| terminates(tls.mode())) {
                    return Err(unsupported(format!("tls does not go with protocol {protocol}")));
                }
                Ok(Self::Http)
            }
            (Protocol::Udp, _) => Err(unsupported("protocol UDP is not supported")),
            (protocol, None) if protocol.is_tls() => {
                Err(unsupported(format!("protocol {protocol} needs tls")))
            }
            (_, None) => Ok(Self::Tcp),
            (protocol, Some(tls)) => {
                let mut downstream = |inside| {
                    let (downstream, left_out) =
                        Downstream::new(tls, inside, secrets).map_err(unsupported)?;
                    findings.extend(left_out);
                    Ok(downstream)
                };
                let handling = match tls.mode() {
                    TlSmode::Passthrough => Handling::Passthrough,
                    TlSmode::AutoPassthrough => Handling::AutoPassthrough,
                    TlSmode::Simple | TlSmode::Mutual if protocol == Protocol::Https => Handling::Http {
                        tls: downstream(Inside::Http)?,
                        routes: name::gateway_https_route(place.number(), port_name, &gateway.key).into(),
                    },
                    TlSmode::Simple | TlSmode::Mutual => Handling::Tcp {
                        tls: downstream(Inside::Bytes)?,
                    },
                };
                Ok(Self::Tls {
                    server_names: hosts::server_names(gateway, server, findings).map_err(unsupported)?,
                    handling,
                })
            }
        }
    }
}

// === impl GatewayServer ===

impl GatewayServer<'_> {
    /// What is spoken on its port; bytes when it says something else.
    pub(crate) fn protocol(&self) -> Protocol {
        let port = self.server.port.as_ref();
        port.and_then(|port| port.protocol.parse().ok())
            .unwrap_or(Protocol::Tcp)
    }

    /// A finding about it.
    pub(crate) fn warning(&self, kind: WarningKind, finding: impl fmt::Display) -> Warning {
        let port = self.server.port.as_ref().map_or("", |port| port.name.as_str());
        Warning {
            object: self.gateway.key.clone(),
            kind,
            reason: format!("server {port:?} {finding}"),
        }
    }
}

fn unsupported(reason: impl Into<String>) -> Rejection {
    (WarningKind::Unsupported, reason.into())
}

fn conflict(reason: impl Into<String>) -> Rejection {
    (WarningKind::GatewayServer, reason.into())
}
