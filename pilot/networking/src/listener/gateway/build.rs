//! Gateway listeners from their keys.

use ipnet::IpNet;
use mesh_api::envoy::config::core::v3::{CidrRange, TrafficDirection};
use mesh_api::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, Listener};
use mesh_api::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost, route};
use mesh_api::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use mesh_config::Protocol;

use super::super::ListenerKey;
use super::super::build::listener_filter;
use super::super::inbound_build::every_request;
use super::{GatewayChain, GatewayPort, LeadsTo};
use crate::authentication::Refusal;
use crate::filter::{self, Http, Role, Routes};
use crate::origin;

/// Completes a listener that has its name and address.
pub(in crate::listener) fn listener(listener: Listener, key: &ListenerKey, port: &GatewayPort) -> Listener {
    let inspector = || listener_filter("envoy.filters.listener.tls_inspector", &TlsInspector::default());
    Listener {
        traffic_direction: TrafficDirection::Outbound.into(),
        listener_filters: port.is_tls.then(inspector).into_iter().collect(),
        // A client that waits for the server to speak first is not turned away for sending no handshake.
        continue_on_listener_filters_timeout: port.is_tls,
        filter_chains: port
            .chains
            .iter()
            .map(|chain| filter_chain(key, port, chain))
            .collect(),
        ..listener
    }
}

fn filter_chain(key: &ListenerKey, port: &GatewayPort, chain: &GatewayChain) -> FilterChain {
    let range = |range: &IpNet| CidrRange {
        address_prefix: range.network().to_string(),
        prefix_len: Some(range.prefix_len().into()),
    };
    let matches = FilterChainMatch {
        prefix_ranges: chain.range.iter().map(range).collect(),
        server_names: chain.server_names.iter().map(ToString::to_string).collect(),
        ..FilterChainMatch::default()
    };
    FilterChain {
        filter_chain_match: (matches != FilterChainMatch::default()).then_some(matches),
        transport_socket: chain.tls.as_ref().map(|tls| tls.to_envoy()),
        filters: filters(key, port, &chain.leads_to),
        metadata: origin::metadata(chain.leads_to.rule(), &chain.gateway),
        ..FilterChain::default()
    }
}

fn filters(key: &ListenerKey, port: &GatewayPort, leads_to: &LeadsTo) -> Vec<Filter> {
    match leads_to {
        LeadsTo::Routes(routes) => filter::http(
            &key.mesh,
            Http {
                stat_prefix: format!("outbound_{}", key.name),
                role: Role::Gateway,
                routes: match port.refusal {
                    None => Routes::Rds(routes),
                    Some(refusal) => Routes::Inline(Box::new(refuse(routes, refusal))),
                },
                protocol: Protocol::Http,
                settings: key.http,
            },
        ),
        LeadsTo::Clusters { route, protocol } => filter::route(&key.mesh, route, *protocol, Role::Gateway),
        LeadsTo::ServerName => filter::by_server_name(&key.mesh),
    }
}

/// Answers every request in place of a route configuration.
fn refuse(name: &str, refusal: Refusal) -> RouteConfiguration {
    let everything = Route {
        r#match: every_request(),
        action: Some(route::Action::DirectResponse(refusal.response())),
        ..Route::default()
    };
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: "refused".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![everything],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}
