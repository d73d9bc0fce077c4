//! Which listeners a sidecar gets for the connections that its workload opens (P12.2, P12.3, P12.4).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mesh_api::istio::networking::v1alpha3::envoy_filter::listener_match::ListenerType;
use mesh_config::{Port, Protocol, Str};
use pilot_model::{
    Bind, Egress, EgressListener, InterceptionMode, ScopedView, Service, ServiceAddress, Warning, WarningKind,
};

use super::rules::{self, ServiceRules};
use super::tcp::{Claim, TcpTable};
use super::{Access, At, ListenerKey, OutboundScope, Spec};
use crate::egress::{self, LOOPBACK};
use crate::envoy_filter::{Chains, Selected, Target, UserFilters};
use crate::{Plan, l4, name, ports, service};

/// All addresses: HTTP, where the host header tells services apart, and TCP services without an address of their own.
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What a listener serves so far.
struct Entry<'a> {
    /// The service that came first; it decides what the listener speaks. `None`: a Sidecar does.
    owner: Option<&'a Service>,
    /// The name of its port.
    port_name: Str,
    access: Access,
    serves: Serves<'a>,
}

enum Serves<'a> {
    Http { routes: Str },
    Tcp(TcpTable<'a>),
}

/// What each address serves.
#[derive(Default)]
struct Planner<'a> {
    entries: BTreeMap<At, Entry<'a>>,
    /// Where egress listeners with a port are: nothing is added there later, and that is no conflict.
    locked: BTreeSet<At>,
    /// Who speaks HTTP at addresses of its own, on the listeners for all addresses. One for such an address alone would
    /// take these connections away.
    http_addresses: BTreeMap<At, &'a Service>,
    warnings: Vec<Warning>,
}

/// The services that a workload finds in one way: all that it sees, or those of one egress listener.
struct Section<'a> {
    view: &'a ScopedView,
    listener: Option<&'a EgressListener>,
    access: Access,
    binds_low_ports: bool,
    own_addresses: &'a [IpAddr],
    taken_ports: &'a BTreeSet<u16>,
    rules: ServiceRules<'a>,
}

/// The listeners for connections that the workload of a sidecar opens.
///
/// `scope` is the scope of the sidecar in the same view.
pub fn outbound(view: &ScopedView, scope: &OutboundScope) -> Plan<ListenerKey> {
    let mesh = view.mesh();
    let interception = scope.interception;
    let captured = interception != InterceptionMode::None;
    let mut planner = Planner::default();
    match view.egress() {
        None => planner.add_services(Section::new(view, None, scope)),
        // Those with a port come first (`A-14`).
        Some(listeners) => {
            for Egress { listener, view } in listeners {
                let section = Section::new(view, Some(listener), scope);
                if let Err(reason) = section.check(listener, scope) {
                    planner.leave_out(view, listener, reason);
                    continue;
                }
                match &listener.port {
                    Some(port) => planner.add_listener(section, listener, port),
                    None => planner.add_services(section),
                }
            }
        }
    }
    let sidecar = view.sidecar().map(|sidecar| sidecar.key.clone());
    let locked = planner.locked;
    let mut envoy_filters = Selected::of(view, &scope.envoy_filters);
    let mut keys: Vec<ListenerKey> = planner
        .entries
        .into_iter()
        .map(|(at, entry)| ListenerKey {
            name: at.listener_name(captured, entry.access),
            mesh: mesh.clone(),
            families: scope.families,
            http: scope.http,
            sidecar: sidecar.clone().filter(|_| locked.contains(&at)),
            user_filters: envoy_filters.on(Target {
                listener_type: ListenerType::SidecarOutbound,
                port: at.port(),
                port_name: &entry.port_name,
                address: at.ip(),
                chains: Chains::of(matches!(entry.serves, Serves::Http { .. })),
            }),
            at,
            spec: match entry.serves {
                Serves::Http { routes } => Spec::OutboundHttp {
                    routes,
                    access: entry.access,
                },
                Serves::Tcp(chains) => Spec::OutboundTcp {
                    chains: chains.into_chains().into(),
                    access: entry.access,
                },
            },
        })
        .collect();

    if captured {
        keys.push(ListenerKey {
            name: name::VIRTUAL_OUTBOUND_LISTENER.into(),
            mesh: mesh.clone(),
            at: At::Port(ANY, ports::outbound(mesh)),
            families: scope.families,
            http: scope.http,
            sidecar: None,
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
        at: At::Port(LOOPBACK, port),
        families: scope.families,
        http: scope.http,
        sidecar: None,
        spec: Spec::OutboundHttp {
            routes: name::HTTP_PROXY_ROUTES.into(),
            access: Access::Bound,
        },
        user_filters: UserFilters::default(),
    }));
    let mut warnings = planner.warnings;
    warnings.extend(envoy_filters.warnings);
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    keys.dedup_by(|later, first| later.name == first.name);
    Plan { keys, warnings }
}

// === impl Planner ===

impl<'a> Planner<'a> {
    /// Gives each service the listeners for its ports. They come oldest first, and the first one on an address decides
    /// (P12.3).
    fn add_services(&mut self, mut section: Section<'a>) {
        let view = section.view;
        for service in view.services() {
            let ports = service.ports.iter().filter(|port| port.protocol != Protocol::Udp);
            for port in ports {
                self.add(&mut section, service, port);
            }
            for port in section.rules.further_ports(service) {
                self.add(&mut section, service, &port);
            }
        }
        self.warnings.extend(section.rules.warnings);
    }

    fn add(&mut self, section: &mut Section<'a>, service: &'a Service, port: &Port) {
        // A proxy that is not root cannot bind the lower ports.
        if !section.can_open(port.number) {
            return;
        }
        let at = At::Port(section.address(service, port), port.number);
        if section.is_reserved(&at) {
            self.warnings.push(Warning {
                object: service::object(service),
                kind: WarningKind::Unsupported,
                reason: format!(
                    "port {} is the proxy's own; its listener is left out",
                    port.number
                ),
            });
            return;
        }
        if self.locked.contains(&at) {
            return;
        }
        if section.is_taken(port.number) {
            self.warnings.push(Warning {
                object: service::object(service),
                kind: WarningKind::Unsupported,
                reason: format!(
                    "port {0} is that of the application of a pod where nothing is captured; \
                     there is no listener for port {0} of {1} there",
                    port.number, service.id.host
                ),
            });
            return;
        }
        if port.protocol.is_http() {
            self.add_http(section, &at, service, port);
        } else {
            self.add_tcp(section, &at, service, port);
        }
    }

    fn add_http(&mut self, section: &Section<'a>, at: &At, service: &'a Service, port: &Port) {
        let entry = self.entries.entry(at.clone()).or_insert_with(|| Entry {
            owner: Some(service),
            port_name: port.name.clone(),
            access: section.access,
            serves: Serves::Http {
                routes: section.routes(port.number),
            },
        });
        // Host names tell services apart.
        if let Serves::Tcp(_) = entry.serves {
            let owner = entry.owner;
            self.conflict(owner, service, at, port.number, WarningKind::HttpOverTcp);
            return;
        }
        let Some(address) = service.address.ip().filter(|_| at.is_any_address()) else {
            return;
        };
        let own = At::Port(address, port.number);
        match self.entries.get(&own) {
            Some(entry) => {
                let owner = entry.owner;
                self.conflict(owner, service, &own, port.number, WarningKind::HttpOverTcp);
            }
            None => {
                self.http_addresses.entry(own).or_insert(service);
            }
        }
    }

    fn add_tcp(&mut self, section: &mut Section<'a>, at: &At, service: &'a Service, port: &Port) {
        if at.ip().is_some_and(|ip| section.own_addresses.contains(&ip)) {
            self.warnings.push(Warning {
                object: service::object(service),
                kind: WarningKind::Unsupported,
                reason: format!(
                    "its address is that of a pod; what that pod sends to port {} of it stays there",
                    port.number
                ),
            });
            return;
        }
        let Some(server_names) = rules::server_names(section.view, service, port) else {
            self.warnings.push(Warning {
                object: service::object(service),
                kind: WarningKind::Unsupported,
                reason: format!(
                    "host {} cannot be told from others by TLS server name; port {} is left out",
                    service.id.host, port.number
                ),
            });
            return;
        };
        let rules = section.rules.of(service, port, &server_names);
        if rules.is_empty() {
            return;
        }
        if let Some(&owner) = self.http_addresses.get(at) {
            self.conflict(Some(owner), service, at, port.number, WarningKind::TcpOverHttp);
            return;
        }
        let entry = self.entries.entry(at.clone()).or_insert_with(|| Entry {
            owner: Some(service),
            port_name: port.name.clone(),
            access: section.access,
            serves: Serves::Tcp(TcpTable::default()),
        });
        let owner = entry.owner;
        let Serves::Tcp(table) = &mut entry.serves else {
            self.conflict(owner, service, at, port.number, WarningKind::TcpOverHttp);
            return;
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
        if loser_to.is_some() {
            self.conflict(loser_to, service, at, port.number, WarningKind::TcpOverTcp);
        }
    }

    /// What an egress listener with a port serves: HTTP for all services that it imports, whatever their ports (its
    /// routes tell them apart), else those that have the port or a rule for it (`R-SC-6`).
    fn add_listener(&mut self, mut section: Section<'a>, listener: &'a EgressListener, port: &Port) {
        let place = match &listener.bind {
            Some(Bind::Unix(path)) => Some(At::Socket(path.clone())),
            _ => section
                .own_address()
                .map(|address| At::Port(address, port.number)),
        };
        if port.protocol.is_http() {
            let at = place.unwrap_or(At::Port(ANY, port.number));
            let serves = Serves::Http {
                routes: section.routes(port.number),
            };
            self.locked.insert(at.clone());
            self.entries.entry(at).or_insert(Entry {
                owner: None,
                port_name: port.name.clone(),
                access: section.access,
                serves,
            });
            return;
        }
        let view = section.view;
        for service in view.services() {
            let own = || At::Port(address_of(service, port), port.number);
            let at = place.clone().unwrap_or_else(own);
            self.add_tcp(&mut section, &at, service, port);
            self.locked.insert(at);
        }
        self.warnings.extend(section.rules.warnings);
    }

    fn leave_out(&mut self, view: &ScopedView, listener: &EgressListener, reason: &str) {
        let which = match &listener.port {
            Some(port) => format!("{:?} on port {}", &*port.name, port.number),
            None => "without port".to_owned(),
        };
        let sidecar = view.sidecar();
        self.warnings.extend(sidecar.map(|sidecar| Warning {
            object: sidecar.key.clone(),
            kind: WarningKind::Unsupported,
            reason: format!("egress listener {which} is left out: {reason}"),
        }));
    }

    fn conflict(
        &mut self,
        owner: Option<&Service>,
        service: &Service,
        at: &At,
        port: u16,
        kind: WarningKind,
    ) {
        self.warnings.extend(owner.map(|owner| Warning {
            object: service::object(service),
            kind,
            reason: format!(
                "listener {at} serves {} already; connections to {}:{port} do not reach {}",
                service::object(owner),
                service.id.host,
                service::object(service),
            ),
        }));
    }
}

// === impl Section ===

impl<'a> Section<'a> {
    fn new(view: &'a ScopedView, listener: Option<&'a EgressListener>, scope: &'a OutboundScope) -> Self {
        let captured = scope.interception != InterceptionMode::None;
        let is_opened =
            listener.is_some_and(|listener| listener.binds || matches!(listener.bind, Some(Bind::Unix(_))));
        Self {
            view,
            listener,
            access: if captured && !is_opened {
                Access::Captured
            } else {
                Access::Bound
            },
            binds_low_ports: scope.binds_low_ports,
            own_addresses: &scope.own_addresses,
            taken_ports: &scope.taken_ports,
            rules: ServiceRules::new(view, scope.source_selectors()),
        }
    }

    /// The address of all listeners, when there is only one.
    fn own_address(&self) -> Option<IpAddr> {
        let given = self.listener.and_then(egress::address);
        given.or((self.access == Access::Bound).then_some(LOOPBACK))
    }

    /// Where connections to a port of a service are opened to.
    fn address(&self, service: &Service, port: &Port) -> IpAddr {
        self.own_address().unwrap_or_else(|| address_of(service, port))
    }

    fn routes(&self, port: u16) -> Str {
        match self.listener {
            Some(listener) => egress::routes(listener, port),
            None => port.to_string().into(),
        }
    }

    fn can_open(&self, port: u16) -> bool {
        self.access == Access::Captured || self.binds_low_ports || !ports::is_privileged(port)
    }

    /// Whether the port is somebody's whom the listener would be in the way of.
    fn is_taken(&self, port: u16) -> bool {
        self.access == Access::Bound && self.taken_ports.contains(&port)
    }

    /// Whether the proxy itself listens there.
    fn is_reserved(&self, at: &At) -> bool {
        let mesh = self.view.mesh();
        match (self.access, at) {
            (Access::Captured, At::Port(address, port)) => {
                address.is_unspecified() && ports::is_bound(mesh, *port)
            }
            (Access::Bound, At::Port(_, port)) => ports::is_taken(mesh, *port),
            (_, At::Socket(_)) => false,
        }
    }

    /// Why a listener cannot be served.
    fn check(&self, listener: &EgressListener, scope: &OutboundScope) -> Result<(), &'static str> {
        if egress::address(listener).is_some_and(|address| scope.own_addresses.contains(&address)) {
            return Err("its address is that of the pod, where others reach the workload");
        }
        let Some(port) = listener.port.as_ref().filter(|port| port.number != 0) else {
            return Ok(());
        };
        if !self.can_open(port.number) {
            return Err("a proxy that is not root cannot bind the port");
        }
        if self.is_taken(port.number) {
            return Err("the application of the pod has the port itself");
        }
        if self.is_reserved(&At::Port(self.own_address().unwrap_or(ANY), port.number)) {
            return Err("the port is the proxy's own");
        }
        Ok(())
    }
}

/// Where captured connections to a port of a service are addressed to.
fn address_of(service: &Service, port: &Port) -> IpAddr {
    match service.address {
        ServiceAddress::Ip(ip) if !port.protocol.is_http() => ip,
        _ => ANY,
    }
}
