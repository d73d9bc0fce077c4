//! Listeners from their keys.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use mesh_api::Any;
use mesh_api::envoy::config::core::v3::{CidrRange, TrafficDirection};
use mesh_api::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;
use mesh_api::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter, listener_filter,
};
use mesh_api::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::Protocol;
use pilot_model::Warning;
use prost_types::Duration;

use super::{Access, ListenerKey, Spec, TcpChain, inbound_build};
use crate::filter::{self, Http, Role, Routes};
use crate::{name, origin, ports};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(super) fn listener(key: &ListenerKey, warnings: &mut Vec<Warning>) -> Listener {
    let listener = Listener {
        name: key.name.to_string(),
        address: Some(key.at.to_envoy(key.families)),
        additional_addresses: key.at.further(key.families),
        metadata: origin::metadata(None, &key.sidecar),
        ..Listener::default()
    };
    let mesh = &*key.mesh;
    match &key.spec {
        Spec::VirtualOutbound { transparent } => virtual_outbound(listener, mesh, *transparent),
        Spec::VirtualInbound {
            transparent,
            loopback,
            ports,
        } => inbound_build::virtual_inbound(listener, mesh, *transparent, *loopback, ports, warnings),
        Spec::OutboundHttp { routes, access } => {
            let http = Http {
                stat_prefix: format!("outbound_{}", key.name),
                role: Role::Outbound,
                routes: Routes::Rds(routes),
                protocol: Protocol::Http,
                settings: key.http,
            };
            let chain = FilterChain {
                filters: filter::http(mesh, http),
                ..FilterChain::default()
            };
            outbound(listener, key, *access, vec![chain])
        }
        Spec::OutboundTcp { chains, access } => outbound_tcp(listener, key, chains, *access),
        Spec::Inbound { port, access } => inbound_build::of_port(listener, mesh, port, *access, warnings),
        Spec::Gateway(port) => super::gateway::listener(listener, key, port),
    }
}

/// Hands captured connections to the listener for their destination; the rest follows the outbound traffic policy.
fn virtual_outbound(listener: Listener, mesh: &MeshConfig, transparent: bool) -> Listener {
    let itself = FilterChainMatch {
        destination_port: Some(ports::outbound(mesh).into()),
        ..FilterChainMatch::default()
    };
    Listener {
        use_original_dst: Some(true),
        transparent: transparent.then_some(true),
        traffic_direction: TrafficDirection::Outbound.into(),
        filter_chains: vec![
            chain(FilterChainMatch::default(), filter::unknown_destination(mesh)),
            to_itself(mesh, FilterChainMatch::default()),
            // Opened to the proxy itself, not captured: forwarding it would lead here again.
            chain(itself, filter::tcp(mesh, name::BLACK_HOLE_CLUSTER)),
        ],
        ..listener
    }
}

fn outbound_tcp(listener: Listener, key: &ListenerKey, chains: &[TcpChain], access: Access) -> Listener {
    let mesh = &*key.mesh;
    let mut filter_chains: Vec<FilterChain> = chains.iter().map(|tcp| tcp_chain(mesh, tcp)).collect();
    if access == Access::Captured {
        // What goes to an address inside such a range, or bears such a name, may go to the pod itself.
        let may_return = |chain: &&TcpChain| {
            !chain.catches_all() && chain.route.as_ref().is_none_or(|route| route.is_passthrough)
        };
        let returning = chains.iter().filter(may_return);
        filter_chains.extend(returning.map(|chain| to_itself(mesh, chain.to_match())));
    }
    let inspection = inspection_timeout(chains);
    Listener {
        listener_filters: inspection
            .iter()
            .map(|_| listener_filter("envoy.filters.listener.tls_inspector", &TlsInspector::default()))
            .collect(),
        listener_filters_timeout: inspection,
        // A client that waits for the server to speak first is not turned away for sending no handshake.
        continue_on_listener_filters_timeout: inspection.is_some(),
        ..outbound(listener, key, access, filter_chains)
    }
}

/// How long connections are held back until they announce a name; `None` when names do not matter.
///
/// Long enough for a busy client to send its handshake. Where a service shares the listener whose clients may wait for
/// the server to speak first, they do not wait long.
fn inspection_timeout(chains: &[TcpChain]) -> Option<Duration> {
    const ALONE: Duration = Duration { seconds: 5, nanos: 0 };
    const SHARED: Duration = Duration {
        seconds: 0,
        nanos: 500_000_000,
    };
    let looks_at_names = chains.iter().any(|chain| !chain.server_names.is_empty());
    let is_shared = chains
        .iter()
        .any(|chain| chain.route.is_some() && !chain.protocol.is_tls());
    looks_at_names.then_some(if is_shared { SHARED } else { ALONE })
}

/// The chain that serves connections by rules of VirtualServices, or of services without any.
fn tcp_chain(mesh: &MeshConfig, tcp: &TcpChain) -> FilterChain {
    let Some(route) = &tcp.route else {
        // None of these services' business.
        return chain(tcp.to_match(), filter::unknown_destination(mesh));
    };
    FilterChain {
        metadata: origin::metadata(route.rule.as_ref(), &tcp.service),
        ..chain(
            tcp.to_match(),
            filter::route(mesh, route, tcp.protocol, Role::Outbound),
        )
    }
}

fn outbound(
    listener: Listener,
    key: &ListenerKey,
    access: Access,
    mut filter_chains: Vec<FilterChain>,
) -> Listener {
    if access == Access::Captured && key.at.is_any_address() {
        filter_chains.push(to_itself(&key.mesh, FilterChainMatch::default()));
    }
    Listener {
        bind_to_port: (access == Access::Captured).then_some(false),
        traffic_direction: TrafficDirection::Outbound.into(),
        filter_chains,
        ..listener
    }
}

/// Takes what the pod sends to its own address and no inbound listener serves.
///
/// It is recognised by its source; the address itself would make the listener another one for every pod.
fn to_itself(mesh: &MeshConfig, matches: FilterChainMatch) -> FilterChain {
    let matches = FilterChainMatch {
        source_type: ConnectionSourceType::SameIpOrLoopback.into(),
        ..matches
    };
    chain(
        matches,
        filter::local_passthrough(mesh, name::INBOUND_PASSTHROUGH_CLUSTER, LOOPBACK),
    )
}

/// Whether a chain takes what the pod sends to itself, which is not what the listener is about.
pub(super) fn is_to_itself(chain: &FilterChain) -> bool {
    let matches = chain.filter_chain_match.as_ref();
    matches.is_some_and(|matches| matches.source_type() == ConnectionSourceType::SameIpOrLoopback)
}

pub(super) fn chain(matches: FilterChainMatch, filters: Vec<Filter>) -> FilterChain {
    let matches = (matches != FilterChainMatch::default()).then_some(matches);
    FilterChain {
        filter_chain_match: matches,
        filters,
        ..FilterChain::default()
    }
}

pub(super) fn range(range: IpNet) -> CidrRange {
    CidrRange {
        address_prefix: range.network().to_string(),
        prefix_len: Some(range.prefix_len().into()),
    }
}

pub(super) fn listener_filter<M: prost::Name>(name: &str, config: &M) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(Any::pack(config))),
        ..ListenerFilter::default()
    }
}

// === impl TcpChain ===

impl TcpChain {
    fn to_match(&self) -> FilterChainMatch {
        FilterChainMatch {
            prefix_ranges: self.range.map(range).into_iter().collect(),
            server_names: self.server_names.iter().map(ToString::to_string).collect(),
            ..FilterChainMatch::default()
        }
    }
}
