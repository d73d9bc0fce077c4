//! Which listener and which of its filter chains take a connection.

use std::net::{IpAddr, Ipv4Addr};

use mesh_api::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};

use super::ProxyConfig;
use crate::{envoy, name};

/// A connection as listeners see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection<'a> {
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    /// What its TLS handshake announces.
    pub(super) server_name: Option<&'a str>,
}

/// The listener and the filter chain that take a connection: exact address first, then any address on the port, then
/// the one that captures.
pub(super) fn find<'c>(
    config: &'c ProxyConfig,
    connection: &Connection<'_>,
) -> Option<(&'c Listener, &'c FilterChain)> {
    let Connection { address, port, .. } = *connection;
    let at = |address: IpAddr| {
        let place = envoy::socket_address(address.to_string(), port);
        let mut listeners = config.listeners.iter();
        listeners.find(|listener| listener.address.as_ref() == Some(&place))
    };
    let listener = address
        .and_then(at)
        .or_else(|| at(Ipv4Addr::UNSPECIFIED.into()))
        // Whoever uses the proxy by its own port finds it on the loopback address.
        .or_else(|| at(Ipv4Addr::LOCALHOST.into()))
        .or_else(|| {
            let mut listeners = config.listeners.iter();
            listeners.find(|listener| listener.name == name::VIRTUAL_OUTBOUND_LISTENER)
        })?;
    let chain = matching(listener, connection).or(listener.default_filter_chain.as_ref())?;
    Some((listener, chain))
}

/// The chain that matches a connection. One condition after the other narrows the chains down to those for which it is
/// most specific; what was left behind is never looked at again.
fn matching<'c>(listener: &'c Listener, connection: &Connection<'_>) -> Option<&'c FilterChain> {
    static ALWAYS: FilterChainMatch = FilterChainMatch {
        destination_port: None,
        prefix_ranges: Vec::new(),
        address_suffix: String::new(),
        suffix_len: None,
        direct_source_prefix_ranges: Vec::new(),
        source_type: 0,
        source_prefix_ranges: Vec::new(),
        source_ports: Vec::new(),
        server_names: Vec::new(),
        transport_protocol: String::new(),
        application_protocols: Vec::new(),
    };
    let mut chains: Vec<(&FilterChain, &FilterChainMatch)> = listener
        .filter_chains
        .iter()
        .map(|chain| (chain, chain.filter_chain_match.as_ref().unwrap_or(&ALWAYS)))
        // Those for what the pod sends to itself are no concern here.
        .filter(|(_, matches)| matches.source_type == 0)
        .collect();
    narrow(&mut chains, |matches| by_port(matches, connection.port));
    narrow(&mut chains, |matches| by_address(matches, connection.address));
    narrow(&mut chains, |matches| {
        by_server_name(matches, connection.server_name)
    });
    chains.first().map(|(chain, _)| *chain)
}

/// Keeps the chains that are most specific about one condition, and none for which it does not hold.
fn narrow(
    chains: &mut Vec<(&FilterChain, &FilterChainMatch)>,
    specificity: impl Fn(&FilterChainMatch) -> Option<usize>,
) {
    let best = chains
        .iter()
        .filter_map(|(_, matches)| specificity(matches))
        .max();
    chains.retain(|(_, matches)| best.is_some() && specificity(matches) == best);
}

/// How specific a match is about the port; `None` when it does not hold.
fn by_port(matches: &FilterChainMatch, port: u16) -> Option<usize> {
    match matches.destination_port {
        None => Some(0),
        Some(wanted) => (wanted == u32::from(port)).then_some(1),
    }
}

/// How specific a match is about the address.
fn by_address(matches: &FilterChainMatch, address: Option<IpAddr>) -> Option<usize> {
    if matches.prefix_ranges.is_empty() {
        return Some(0);
    }
    let address = address?;
    let covering = matches.prefix_ranges.iter().filter_map(|range| {
        let network: ipnet::IpNet = format!("{}/{}", range.address_prefix, range.prefix_len.unwrap_or(0))
            .parse()
            .ok()?;
        network
            .contains(&address)
            .then_some(usize::from(network.prefix_len()) + 1)
    });
    covering.max()
}

/// How specific a match is about the server name.
fn by_server_name(matches: &FilterChainMatch, server_name: Option<&str>) -> Option<usize> {
    if matches.server_names.is_empty() {
        return Some(0);
    }
    let name = server_name?.to_ascii_lowercase();
    let covering = matches.server_names.iter().filter_map(|pattern| {
        if *pattern == name {
            return Some(usize::MAX);
        }
        let suffix = pattern.strip_prefix('*')?;
        (name.len() > suffix.len() && name.ends_with(suffix)).then_some(suffix.len())
    });
    covering.max()
}
