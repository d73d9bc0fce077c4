//! Listeners (P12, P14).

mod at;
mod build;
mod gateway;
mod inbound;
mod inbound_build;
mod outbound;
mod rules;
mod tcp;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::envoy::config::listener::v3::Listener;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::{ConfigKey, Host, Labels, Protocol, Str};
use pilot_model::{EnvoyFilter, InterceptionMode, Proxy, Rev, ScopedView, Versioned, Viewer, Workload};

use self::at::{At, Families};
pub use self::gateway::gateway;
pub use self::inbound::inbound;
pub use self::outbound::outbound;
use self::tcp::TcpChain;
use crate::authentication::Authentication;
use crate::envoy_filter::UserFilters;
use crate::filter::HttpSettings;
use crate::{Built, Features, Generate, Origin, egress, instance, ports};

/// Makes listeners.
#[derive(Debug)]
pub struct Listeners;

/// What the outbound listeners of a sidecar depend on: sidecars with equal scopes share them all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutboundScope {
    mesh: Rev,
    services: Rev,
    families: Families,
    http: HttpSettings,
    interception: InterceptionMode,
    binds_low_ports: bool,
    /// Addresses of the pod that egress listeners or services claim too. They are the pod's, whatever others say.
    own_addresses: Vec<IpAddr>,
    /// Ports of the pod that the proxy cannot open, since somebody has them; empty where it opens none.
    taken_ports: BTreeSet<u16>,
    /// Who gets them, when not everybody sees these services.
    viewer: Option<Viewer>,
    /// `None` when there are no TLS and TCP rules.
    rules: Option<RuleScope>,
    /// Those for the workload, oldest first.
    envoy_filters: Vec<Versioned<EnvoyFilter>>,
}

/// What TLS and TCP rules say to a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RuleScope {
    /// The visible VirtualServices with such rules, oldest first.
    virtual_services: Vec<Rev>,
    destination_rules: Rev,
    /// Those of the `sourceLabels` in use that the workload satisfies, sorted.
    source_selectors: Vec<Labels>,
}

/// Everything that one listener depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    name: Str,
    mesh: Versioned<MeshConfig>,
    at: At,
    /// What all addresses are, where it listens on all.
    families: Families,
    http: HttpSettings,
    /// The Sidecar that asks for it.
    sidecar: Option<ConfigKey>,
    spec: Spec,
    /// What EnvoyFilters add to all of its filter chains.
    user_filters: UserFilters,
}

/// What a listener does with connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Spec {
    /// Takes what was captured on the way out to the listener for its destination.
    VirtualOutbound { transparent: bool },
    /// Takes what was captured on the way in to the port that it was sent to.
    VirtualInbound {
        transparent: bool,
        loopback: IpAddr,
        ports: Arc<[InboundPort]>,
    },
    /// Routes requests to services.
    OutboundHttp { routes: Str, access: Access },
    /// Forwards connections to services.
    OutboundTcp { chains: Arc<[TcpChain]>, access: Access },
    /// Serves one port of the workload.
    Inbound { port: InboundPort, access: Access },
    /// Serves one port of an edge of the mesh.
    Gateway(gateway::GatewayPort),
}

/// How connections reach a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Access {
    /// Captured, and handed over by the listener that captures.
    Captured,
    /// Opened to it by whoever sends them.
    Bound,
}

/// One port of the workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InboundPort {
    /// The address that connections are opened to; `None` means all of the workload.
    address: Option<IpAddr>,
    /// The port that connections are opened to, 0 for a Unix socket.
    port: u16,
    /// The port that callers use.
    service_port: u16,
    /// The service.
    host: Host,
    /// The object that defines it.
    service: Option<ConfigKey>,
    protocol: Protocol,
    http: HttpSettings,
    /// What callers must show.
    authentication: Authentication,
    /// The cluster that leads to it.
    cluster: Str,
    /// What EnvoyFilters add to its filter chain.
    user_filters: UserFilters,
}

// === impl OutboundScope ===

impl OutboundScope {
    /// The scope of the sidecar of a workload.
    pub fn new(view: &ScopedView, proxy: &Proxy, workload: &Workload, features: &Features) -> Self {
        let revs = view.revs();
        let labels = &workload.labels;
        let mut egress = view.egress().into_iter().flatten();
        let opens_ports =
            proxy.interception == InterceptionMode::None || egress.any(|egress| egress.listener.binds);
        let virtual_services: Vec<Rev> = view.mesh_l4_virtual_services().map(Versioned::rev).collect();
        let rules = (!virtual_services.is_empty()).then(|| {
            let selectors = view.l4_source_selectors().iter();
            RuleScope {
                virtual_services,
                destination_rules: revs.destination_rules,
                source_selectors: selectors
                    .filter(|selector| selector.is_subset_of(labels))
                    .cloned()
                    .collect(),
            }
        });
        Self {
            mesh: revs.mesh,
            services: revs.services,
            families: Families::of(proxy),
            http: HttpSettings::of(proxy, features),
            interception: proxy.interception,
            binds_low_ports: ports::is_root(proxy),
            own_addresses: view
                .egress()
                .into_iter()
                .flatten()
                .filter_map(|egress| egress::address(&egress.listener))
                .filter(|address| proxy.ips.contains(address))
                .chain(
                    proxy
                        .ips
                        .iter()
                        .copied()
                        .filter(|ip| view.has_service_address(*ip)),
                )
                .collect(),
            taken_ports: if opens_ports {
                instance::taken_ports(view, proxy, workload)
            } else {
                BTreeSet::new()
            },
            viewer: view.service_viewer(),
            rules,
            envoy_filters: view.envoy_filters().selecting(labels).cloned().collect(),
        }
    }

    fn source_selectors(&self) -> &[Labels] {
        self.rules.as_ref().map_or(&[], |rules| &rules.source_selectors)
    }
}

// === impl ListenerKey ===

impl ListenerKey {
    /// The EnvoyFilters that its filters are from.
    fn user_filters(&self) -> impl Iterator<Item = &EnvoyFilter> {
        let ports = match &self.spec {
            Spec::VirtualInbound { ports, .. } => &**ports,
            Spec::Inbound { port, .. } => std::slice::from_ref(port),
            _ => &[],
        };
        let of_ports = ports.iter().flat_map(|port| port.user_filters.objects());
        self.user_filters.objects().chain(of_ports)
    }
}

// === impl InboundPort ===

impl InboundPort {
    /// The service, and the policy where it decides who is let in.
    fn origins(&self) -> impl Iterator<Item = Origin> {
        let tls = self.authentication.tls.as_ref();
        let policy = tls.map(|tls| Origin::Object(tls.policy.clone()));
        [Origin::Host(self.host.clone())].into_iter().chain(policy)
    }
}

// === impl Listeners ===

impl Generate for Listeners {
    type Key = ListenerKey;
    type Message = Listener;

    fn name(key: &ListenerKey) -> &str {
        &key.name
    }

    fn build(key: &ListenerKey) -> Built<Listener> {
        let mut warnings = Vec::new();
        let mut message = build::listener(key, &mut warnings);
        let chains = message.filter_chains.iter_mut();
        key.user_filters
            .insert_into(chains.filter(|chain| !build::is_to_itself(chain)), &mut warnings);
        Built { message, warnings }
    }

    fn origins(key: &ListenerKey) -> Vec<Origin> {
        let of_ports = |ports: &[InboundPort]| ports.iter().flat_map(InboundPort::origins).collect();
        let mut origins = match &key.spec {
            Spec::OutboundTcp { chains, .. } => {
                let routes = chains.iter().filter_map(|chain| chain.route.as_ref());
                routes.flat_map(|route| Origin::of_route(route)).collect()
            }
            Spec::VirtualInbound { ports, .. } => of_ports(ports),
            Spec::Inbound { port, .. } => of_ports(std::slice::from_ref(port)),
            Spec::Gateway(port) => port.origins(),
            // Shared by everybody on the port: its routes know.
            Spec::VirtualOutbound { .. } | Spec::OutboundHttp { .. } => Vec::new(),
        };
        origins.extend(key.sidecar.iter().cloned().map(Origin::Object));
        origins.extend(
            key.user_filters()
                .map(|object| Origin::Object(object.key.clone())),
        );
        origins
    }
}
