//! Which listeners a router gets (P14, §7.4).

mod build;
mod chains;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::istio::networking::v1alpha3::envoy_filter::listener_match::ListenerType;
use mesh_config::{ConfigKey, Protocol, Str};
use pilot_model::{Proxy, ScopedView, WarningKind, Workload};

pub(super) use self::build::listener;
use super::{At, Families, ListenerKey, Spec};
use crate::authentication::{self, Refusal};
use crate::envoy_filter::{Chains, Selected, Target};
use crate::filter::HttpSettings;
use crate::gateway::{self, Place, Servers};
use crate::l4::{Route, ServerName};
use crate::tls::downstream::{self, Downstream};
use crate::{Features, Origin, Plan, ports};

/// What a router does with the connections of one port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct GatewayPort {
    /// Never empty: Envoy takes no listener without one.
    chains: Arc<[GatewayChain]>,
    /// Whether connections start with TLS.
    is_tls: bool,
    /// Why all requests are refused.
    refusal: Option<Refusal>,
    /// The Gateways whose servers share the port, sorted.
    gateways: Vec<ConfigKey>,
}

/// What becomes of some of the connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GatewayChain {
    /// Those to this range of addresses; `None` for all that no other chain has a range for.
    range: Option<IpNet>,
    /// Those with one of these server names; empty for all that no other chain takes. No two chains with the same range
    /// have one in common.
    server_names: Vec<ServerName>,
    /// Whether TLS ends here.
    tls: Option<Downstream>,
    leads_to: LeadsTo,
    /// The Gateway whose server it is; `None` where several share it, which the route configuration names.
    gateway: Option<ConfigKey>,
}

/// Where the bytes of a connection go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LeadsTo {
    /// They are HTTP, routed by this route configuration.
    Routes(Str),
    /// To the cluster that the server name says.
    ServerName,
    /// To clusters.
    Clusters {
        route: Arc<Route>,
        /// What is spoken, as far as it is known.
        protocol: Protocol,
    },
}

// === impl LeadsTo ===

impl LeadsTo {
    /// The VirtualService that says so.
    fn rule(&self) -> Option<&ConfigKey> {
        match self {
            Self::Clusters { route, .. } => route.rule.as_ref(),
            Self::Routes(_) | Self::ServerName => None,
        }
    }
}

// === impl GatewayPort ===

impl GatewayPort {
    /// The Gateways, and the VirtualServices whose rules for connections stand in the listener itself.
    pub(super) fn origins(&self) -> Vec<Origin> {
        let gateways = self.gateways.iter().cloned().map(Origin::Object);
        let routes = self.chains.iter().filter_map(|chain| match &chain.leads_to {
            LeadsTo::Clusters { route, .. } => Some(route),
            LeadsTo::Routes(_) | LeadsTo::ServerName => None,
        });
        gateways
            .chain(routes.flat_map(|route| Origin::of_route(route)))
            .collect()
    }
}

fn sorted(objects: impl Iterator<Item = ConfigKey>) -> Vec<ConfigKey> {
    let objects: BTreeSet<ConfigKey> = objects.collect();
    objects.into_iter().collect()
}

/// The listeners of a router: one for each port of the Gateways that select it; none without a Gateway (`R-G-0`).
///
/// `workload` tells which Gateways those are, and which target port stands behind a service port (§7.4).
pub fn gateway(
    view: &ScopedView,
    proxy: &Proxy,
    workload: &Workload,
    features: &Features,
) -> Plan<ListenerKey> {
    let merged = gateway::merge(
        view.gateways(&workload.labels),
        downstream::asks_for_secrets(proxy),
    );
    let mut warnings = merged.warnings;
    let mut envoy_filters = Selected::new(view, &workload.labels);
    // Two service ports may lead to the same port of the workload.
    let mut bound = BTreeMap::new();
    let mut keys = Vec::with_capacity(merged.ports.len());
    for (place, port) in &merged.ports {
        let at = match place {
            Place::Port(number) => At::Port(port.bind, target_port(workload, *number)),
            Place::Socket(path) => At::Socket(path.clone()),
        };
        if let At::Port(_, number) = at {
            let owner = match bound.get(&number) {
                Some(other) => Some(format!("serves port {other} already")),
                None if ports::is_bound_on_router(view.mesh(), number) => {
                    Some("belongs to the proxy itself".to_owned())
                }
                None => None,
            };
            if let Some(owner) = owner {
                let finding = format!("is left out: {place} leads to {number}, which {owner}");
                let servers = port.servers.iter();
                warnings.extend(servers.map(|server| server.warning(WarningKind::GatewayServer, &finding)));
                continue;
            }
            bound.insert(number, place.number());
        }
        let content = GatewayPort {
            chains: chains::of_port(view, place, &port.servers, &mut warnings).into(),
            is_tls: matches!(port.servers, Servers::Tls(_)),
            refusal: authentication::refusal_of_gateway(view, workload, place.number(), &mut warnings),
            gateways: sorted(port.servers.iter().map(|server| server.gateway.key.clone())),
        };
        let user_filters = envoy_filters.on(Target {
            listener_type: ListenerType::Gateway,
            port: place.number(),
            port_name: port.name(),
            address: at.ip(),
            chains: content.chains(),
        });
        keys.push(ListenerKey {
            name: at.to_string().into(),
            mesh: view.mesh().clone(),
            at,
            families: Families::of(proxy),
            http: HttpSettings::of(proxy, features),
            sidecar: None,
            spec: Spec::Gateway(content),
            user_filters,
        });
    }
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    warnings.extend(envoy_filters.warnings);
    warnings.sort();
    warnings.dedup();
    Plan { keys, warnings }
}

// === impl GatewayPort ===

impl GatewayPort {
    fn chains(&self) -> Chains {
        let is_http = |chain: &GatewayChain| matches!(chain.leads_to, LeadsTo::Routes(_));
        Chains {
            http: self.chains.iter().any(is_http),
            tcp: !self.chains.iter().all(is_http),
        }
    }
}

/// The port of the workload behind a port of its service, else the same number (`A-13`).
fn target_port(workload: &Workload, port: u16) -> u16 {
    let targets = workload
        .instances
        .iter()
        .filter(|instance| instance.service_port.number == port);
    targets.map(|instance| instance.target_port).min().unwrap_or(port)
}
