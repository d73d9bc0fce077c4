//! Which rules hold at a place.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::istio::networking::v1alpha3::{L4MatchAttributes, RouteDestination, TlsMatchAttributes};
use mesh_config::{Host, Labels};
use pilot_model::{MESH_GATEWAY, ScopedView, VirtualService, Warning, WarningKind};

use super::{Route, Rule, ServerName, WeightedCluster};
use crate::target::{Place, Resolver};

/// What a VirtualService says at a place.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    /// In order; nothing follows a rule that holds for every connection.
    pub(crate) rules: Vec<Rule>,
    /// Whether it has rules for the place, be it only such as Envoy would not take. Those never hold; they do not become
    /// broader.
    pub(crate) is_meant: bool,
    /// What is wrong with it.
    pub(crate) warnings: Vec<Warning>,
}

/// The TLS rules of a VirtualService that can hold at a place.
pub(crate) fn tls_rules(view: &ScopedView, object: &VirtualService, place: Place<'_>) -> Selected {
    let mut selection = Selection::new(view, object, place);
    for (position, route) in object.spec.tls.iter().enumerate() {
        let matches: Vec<_> = route.r#match.iter().map(Condition::of_tls).collect();
        if selection.add("tls", position, &matches, &route.route) {
            break;
        }
    }
    selection.finish()
}

/// The TCP rules of a VirtualService that can hold at a place.
pub(crate) fn tcp_rules(view: &ScopedView, object: &VirtualService, place: Place<'_>) -> Selected {
    let mut selection = Selection::new(view, object, place);
    for (position, route) in object.spec.tcp.iter().enumerate() {
        let matches: Vec<_> = if route.r#match.is_empty() {
            vec![Condition::default()]
        } else {
            route.r#match.iter().map(Condition::of_tcp).collect()
        };
        if selection.add("tcp", position, &matches, &route.route) {
            break;
        }
    }
    selection.finish()
}

/// The ports that matches of a VirtualService name and that hold at a place but for the port, each with whether TLS rules
/// name it.
pub(crate) fn named_ports(object: &VirtualService, place: Place<'_>) -> BTreeMap<u16, bool> {
    let tls = object.spec.tls.iter().flat_map(|route| &route.r#match);
    let tcp = object.spec.tcp.iter().flat_map(|route| &route.r#match);
    let conditions = tcp
        .map(|attributes| (Condition::of_tcp(attributes), false))
        .chain(tls.map(|attributes| (Condition::of_tls(attributes), true)));
    conditions
        .filter_map(|(condition, is_tls)| {
            let port = u16::try_from(condition.port).ok().filter(|port| *port != 0)?;
            let place = Place { port, ..place };
            condition.can_hold(object, place).then_some((port, is_tls))
        })
        .collect()
}

/// The conditions that both kinds of matches have.
#[derive(Clone, Copy, Default)]
struct Condition<'a> {
    server_names: Option<&'a [String]>,
    destination_subnets: &'a [String],
    port: u32,
    source_subnet: &'a str,
    source_labels: Option<&'a BTreeMap<String, String>>,
    gateways: &'a [String],
}

struct Selection<'a> {
    object: &'a VirtualService,
    place: Place<'a>,
    rules: Vec<Rule>,
    is_meant: bool,
    resolver: Resolver<'a>,
}

// === impl Condition ===

impl<'a> Condition<'a> {
    fn of_tls(attributes: &'a TlsMatchAttributes) -> Self {
        Self {
            server_names: Some(&attributes.sni_hosts),
            destination_subnets: &attributes.destination_subnets,
            port: attributes.port,
            source_subnet: &attributes.source_subnet,
            source_labels: Some(&attributes.source_labels),
            gateways: &attributes.gateways,
        }
    }

    fn of_tcp(attributes: &'a L4MatchAttributes) -> Self {
        Self {
            server_names: None,
            destination_subnets: &attributes.destination_subnets,
            port: attributes.port,
            source_subnet: &attributes.source_subnet,
            source_labels: Some(&attributes.source_labels),
            gateways: &attributes.gateways,
        }
    }

    /// Whether it can hold at a place as far as that is known before there is a connection.
    fn can_hold(&self, object: &VirtualService, place: Place<'_>) -> bool {
        if self.port != 0 && self.port != u32::from(place.port) {
            return false;
        }
        let here = |gateway: &String| *object.gateway(gateway) == *place.gateway;
        if !self.gateways.is_empty() && !self.gateways.iter().any(here) {
            return false;
        }
        match self.source_labels.filter(|labels| !labels.is_empty()) {
            // Only sidecars know whose connection it is (`R-VS-5`).
            Some(labels) => place.gateway == MESH_GATEWAY && place.satisfies(&Labels::from(labels)),
            None => true,
        }
    }
}

// === impl Selection ===

impl<'a> Selection<'a> {
    fn new(view: &'a ScopedView, object: &'a VirtualService, place: Place<'a>) -> Self {
        Self {
            object,
            place,
            rules: Vec::new(),
            is_meant: false,
            resolver: Resolver::new(view, object, place.port, "connections are closed"),
        }
    }

    /// Adds what a route says; returns whether nothing after it can be reached.
    fn add(
        &mut self,
        kind: &str,
        position: usize,
        matches: &[Condition<'_>],
        destinations: &[RouteDestination],
    ) -> bool {
        let mut conditions = Vec::new();
        for (index, condition) in matches.iter().enumerate() {
            if !condition.can_hold(self.object, self.place) {
                continue;
            }
            self.is_meant = true;
            let field = format!("{kind}[{position}].match[{index}]");
            if !condition.source_subnet.is_empty() {
                let reason = format!("{field}.sourceSubnet: not supported, this match is left out");
                self.resolver.warn(WarningKind::Unsupported, reason);
                continue;
            }
            let (Some(server_names), Some(ranges)) = (
                self.server_names(&field, condition),
                self.ranges(&field, condition),
            ) else {
                continue;
            };
            conditions.push((server_names, ranges));
        }
        if conditions.is_empty() {
            return false;
        }
        let route = Arc::new(self.route(&format!("{kind}[{position}]"), destinations));
        for (server_names, ranges) in conditions {
            let rule = Rule {
                server_names,
                ranges,
                route: Arc::clone(&route),
            };
            let catches_all = rule.catches_all();
            self.rules.push(rule);
            if catches_all {
                return true;
            }
        }
        false
    }

    /// The names that a match asks for; none when any will do, `None` when no name that it asks for can be matched.
    fn server_names(&mut self, field: &str, condition: &Condition<'_>) -> Option<Vec<ServerName>> {
        let Some(hosts) = condition.server_names else {
            return Some(Vec::new());
        };
        let mut names = Vec::with_capacity(hosts.len());
        for (index, host) in hosts.iter().enumerate() {
            let reason = match ServerName::new(host) {
                Some(name) if self.is_own(&name) => {
                    names.push(name);
                    continue;
                }
                None if host == "*" && self.object.hosts.contains(&Host::new("*")) => return Some(Vec::new()),
                None if host != "*" => "cannot be told from others by TLS server name",
                _ => "is covered by no host of the virtual service",
            };
            let reason = format!("{field}.sniHosts[{index}]: {host:?} {reason}, it is left out");
            self.resolver.warn(WarningKind::Unsupported, reason);
        }
        names.sort();
        names.dedup();
        (!names.is_empty()).then_some(names)
    }

    /// Whether a name is covered by a host of the VirtualService, as it is written or as it is meant: a rule must not
    /// take the connections to other hosts on the same port.
    fn is_own(&self, name: &ServerName) -> bool {
        let written = self
            .object
            .spec
            .hosts
            .iter()
            .map(|host| Host::from(host.as_str()));
        self.object
            .hosts
            .iter()
            .cloned()
            .chain(written)
            .any(|host| name.is_subset_of(&host))
    }

    /// The addresses that a match asks for; none when any will do, `None` when nothing that it asks for is an address.
    fn ranges(&mut self, field: &str, condition: &Condition<'_>) -> Option<Vec<IpNet>> {
        let subnets = condition.destination_subnets;
        let mut ranges = Vec::with_capacity(subnets.len());
        for (index, subnet) in subnets.iter().enumerate() {
            match parse_range(subnet) {
                Some(range) => ranges.push(range),
                None => {
                    let reason = format!(
                        "{field}.destinationSubnets[{index}]: {subnet:?} is no range of addresses, it is left out"
                    );
                    self.resolver.warn(WarningKind::Unsupported, reason);
                }
            }
        }
        ranges.sort();
        ranges.dedup();
        (subnets.is_empty() || !ranges.is_empty()).then_some(ranges)
    }

    fn route(&mut self, field: &str, destinations: &[RouteDestination]) -> Route {
        let shares = self.resolver.shares(
            field,
            destinations
                .iter()
                .map(|share| (share.destination.as_ref(), share.weight)),
        );
        Route {
            rule: Some(self.object.key.clone()),
            is_passthrough: shares.iter().any(|share| share.target.is_passthrough),
            clusters: shares
                .into_iter()
                .map(|share| WeightedCluster {
                    name: share.target.cluster,
                    weight: share.weight,
                })
                .collect(),
        }
    }

    fn finish(self) -> Selected {
        Selected {
            rules: self.rules,
            is_meant: self.is_meant,
            warnings: self.resolver.warnings,
        }
    }
}

/// An address, or an address with the length of a prefix.
fn parse_range(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(range) => Some(range.trunc()),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}
