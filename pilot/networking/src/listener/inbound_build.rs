//! Listeners for connections to the workload, from their keys.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh_api::envoy::config::core::v3::{Metadata, TrafficDirection};
use mesh_api::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;
use mesh_api::envoy::config::listener::v3::listener_filter_chain_match_predicate::{MatchSet, Rule};
use mesh_api::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter, ListenerFilterChainMatchPredicate,
};
use mesh_api::envoy::config::route::v3::{
    Decorator, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route, route_action,
    route_match,
};
use mesh_api::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use mesh_api::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use mesh_api::envoy::r#type::v3::Int32Range;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use pilot_model::Warning;
use prost_types::Duration;

use super::build::{chain, listener_filter, range};
use super::{Access, InboundPort};
use crate::filter::{self, Http, Role, Routes};
use crate::tls::ALPN_MESH;
use crate::tls::inbound::{self, Taken};
use crate::{envoy, l4, name, origin, ports};

/// Serves the ports of the workload. A captured port that no service has is forwarded as it is: with `-b` naming only
/// declared ports (trap 7), somebody meant it to be reachable.
pub(super) fn virtual_inbound(
    listener: Listener,
    mesh: &MeshConfig,
    transparent: bool,
    loopback: IpAddr,
    served: &[InboundPort],
    warnings: &mut Vec<Warning>,
) -> Listener {
    let to = |address: Option<IpAddr>, port: u16| FilterChainMatch {
        destination_port: Some(port.into()),
        prefix_ranges: address.map(|ip| range(ip.into())).into_iter().collect(),
        ..FilterChainMatch::default()
    };
    let closed = ports::closed(mesh);
    let mut filter_chains = Vec::with_capacity(2 * served.len() + closed.len() + 1);
    for port in served {
        filter_chains.extend(chains(mesh, port, &to(port.address, port.port), warnings));
    }
    filter_chains.extend(
        closed
            .into_iter()
            .map(|port| chain(to(None, port), filter::tcp(mesh, name::BLACK_HOLE_CLUSTER))),
    );
    filter_chains.push(chain(
        FilterChainMatch::default(),
        filter::local_passthrough(mesh, name::INBOUND_PASSTHROUGH_CLUSTER, loopback),
    ));
    let original = listener_filter("envoy.filters.listener.original_dst", &OriginalDst {});
    let inspected: Vec<&InboundPort> = served.iter().filter(|port| port.is_inspected()).collect();
    let inspector = (!inspected.is_empty()).then(|| ListenerFilter {
        // Servers that speak first are not kept waiting on ports where it makes no difference.
        filter_disabled: Some(others(&inspected)),
        ..inspector()
    });
    Listener {
        transparent: transparent.then_some(true),
        traffic_direction: TrafficDirection::Inbound.into(),
        listener_filters_timeout: inspection_timeout(&inspected),
        continue_on_listener_filters_timeout: !inspected.is_empty(),
        listener_filters: [original].into_iter().chain(inspector).collect(),
        filter_chains,
        ..listener
    }
}

/// Serves one port of the workload.
pub(super) fn of_port(
    listener: Listener,
    mesh: &MeshConfig,
    port: &InboundPort,
    access: Access,
    warnings: &mut Vec<Warning>,
) -> Listener {
    let inspected = if port.is_inspected() { &[port][..] } else { &[] };
    Listener {
        bind_to_port: (access == Access::Captured).then_some(false),
        traffic_direction: TrafficDirection::Inbound.into(),
        listener_filters: inspected.iter().map(|_| inspector()).collect(),
        listener_filters_timeout: inspection_timeout(inspected),
        continue_on_listener_filters_timeout: !inspected.is_empty(),
        filter_chains: chains(mesh, port, &FilterChainMatch::default(), warnings),
        ..listener
    }
}

fn inspector() -> ListenerFilter {
    listener_filter("envoy.filters.listener.tls_inspector", &TlsInspector::default())
}

/// Holds for connections to other ports than these, of which there is at least one.
fn others(inspected: &[&InboundPort]) -> ListenerFilterChainMatchPredicate {
    let predicate = |rule| ListenerFilterChainMatchPredicate { rule: Some(rule) };
    let numbers: BTreeSet<i32> = inspected.iter().map(|port| i32::from(port.port)).collect();
    let mut ranges: Vec<_> = numbers
        .into_iter()
        .map(|number| {
            let range = Int32Range {
                start: number,
                end: number + 1,
            };
            predicate(Rule::DestinationPortRange(range))
        })
        .collect();
    // Envoy takes no alternative of one.
    let these = match ranges.pop() {
        Some(only) if ranges.is_empty() => only,
        last => {
            ranges.extend(last);
            predicate(Rule::OrMatch(MatchSet { rules: ranges }))
        }
    };
    predicate(Rule::NotMatch(Box::new(these)))
}

/// How long a connection is held back until it shows whether it is TLS; `None` when that does not matter.
///
/// Long enough for a busy caller to send its handshake. Where callers may wait for the application to speak first, they
/// do not wait long.
fn inspection_timeout(inspected: &[&InboundPort]) -> Option<Duration> {
    const CALLER_FIRST: Duration = Duration { seconds: 5, nanos: 0 };
    const ANYBODY_FIRST: Duration = Duration {
        seconds: 0,
        nanos: 500_000_000,
    };
    let may_wait =
        |port: &&InboundPort| !port.protocol.is_http() && matches!(port.taken(), Some(Taken::All(_)));
    (!inspected.is_empty()).then(|| {
        if inspected.iter().any(may_wait) {
            ANYBODY_FIRST
        } else {
            CALLER_FIRST
        }
    })
}

/// What serves connections to one port of the workload that match: one chain for each kind of caller that its policy
/// tells apart. What none of them takes is closed, since Envoy does not look further than the port.
fn chains(
    mesh: &MeshConfig,
    port: &InboundPort,
    matches: &FilterChainMatch,
    warnings: &mut Vec<Warning>,
) -> Vec<FilterChain> {
    match port.taken() {
        None => vec![plain(mesh, port, matches.clone(), warnings)],
        Some(Taken::Nothing) => {
            let mut closed = chain(matches.clone(), filter::tcp(mesh, name::BLACK_HOLE_CLUSTER));
            closed.metadata = metadata(port);
            vec![closed]
        }
        Some(Taken::Secured(certificates)) => {
            let handshakes = FilterChainMatch {
                transport_protocol: "tls".to_owned(),
                ..matches.clone()
            };
            // The pod itself reaches the application without us too.
            let itself = FilterChainMatch {
                source_type: ConnectionSourceType::SameIpOrLoopback.into(),
                ..matches.clone()
            };
            vec![
                FilterChain {
                    transport_socket: Some(inbound::transport_socket(certificates)),
                    ..plain(mesh, port, handshakes, warnings)
                },
                plain(mesh, port, itself, warnings),
            ]
        }
        Some(Taken::All(certificates)) => {
            // By the name of the mesh alone: TLS that the application itself speaks goes on to it as it is.
            let of_mesh = FilterChainMatch {
                application_protocols: vec![ALPN_MESH.to_owned()],
                ..matches.clone()
            };
            vec![
                FilterChain {
                    transport_socket: Some(inbound::transport_socket(certificates)),
                    ..plain(mesh, port, of_mesh, warnings)
                },
                plain(mesh, port, matches.clone(), warnings),
            ]
        }
    }
}

/// What serves a port of the workload without asking for anything.
fn plain(
    mesh: &MeshConfig,
    port: &InboundPort,
    matches: FilterChainMatch,
    warnings: &mut Vec<Warning>,
) -> FilterChain {
    let mut chain = chain(matches, filters(mesh, port));
    chain.metadata = metadata(port);
    port.user_filters.insert_into([&mut chain], warnings);
    chain
}

/// The service, and the policy that makes the chain another one.
fn metadata(port: &InboundPort) -> Option<Metadata> {
    let tls = port.authentication.tls.as_ref();
    origin::metadata(None, port.service.iter().chain(tls.map(|tls| &tls.policy)))
}

fn filters(mesh: &MeshConfig, port: &InboundPort) -> Vec<Filter> {
    if !port.protocol.is_http() {
        let route = l4::Route::to_cluster(port.cluster.clone(), false);
        return filter::route(mesh, &route, port.protocol, Role::Inbound);
    }
    let http = Http {
        stat_prefix: format!("inbound_{}", port.port),
        role: Role::Inbound,
        routes: Routes::Inline(Box::new(routes(port))),
        protocol: port.protocol,
        settings: port.http,
    };
    filter::http(mesh, http)
}

/// Everything goes to the workload, for as long as it takes: time limits are the caller's business.
fn routes(port: &InboundPort) -> RouteConfiguration {
    let action = match port.authentication.refusal {
        None => route::Action::Route(RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(port.cluster.to_string())),
            timeout: Some(envoy::seconds(0)),
            ..RouteAction::default()
        }),
        Some(refusal) => route::Action::DirectResponse(refusal.response()),
    };
    let everything = Route {
        name: "default".to_owned(),
        r#match: every_request(),
        decorator: Some(Decorator {
            operation: format!("{}:{}/*", port.host, port.service_port),
            ..Decorator::default()
        }),
        action: Some(action),
        ..Route::default()
    };
    RouteConfiguration {
        name: port.cluster.to_string(),
        virtual_hosts: vec![VirtualHost {
            name: format!("inbound|http|{}", port.service_port),
            domains: vec!["*".to_owned()],
            routes: vec![everything],
            ..VirtualHost::default()
        }],
        validate_clusters: Some(false),
        ..RouteConfiguration::default()
    }
}

/// The condition that every request meets.
pub(super) fn every_request() -> Option<RouteMatch> {
    Some(RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    })
}

// === impl InboundPort ===

impl InboundPort {
    /// Which connections its policy takes; `None` without one.
    fn taken(&self) -> Option<&Taken> {
        self.authentication.tls.as_ref().map(|tls| &tls.taken)
    }

    /// Whether it matters if connections are TLS.
    fn is_inspected(&self) -> bool {
        matches!(self.taken(), Some(Taken::Secured(_) | Taken::All(_)))
    }
}
