//! Which connections of a gateway port go where (§7.4, P14).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use mesh_config::{ConfigKey, Host, most_specific_first};
use pilot_model::{ScopedView, Warning, WarningKind};

use super::{GatewayChain, LeadsTo};
use crate::gateway::{self, GatewayServer, Handling, Place as Port, Servers};
use crate::l4::{self, Route, Rule, ServerName};
use crate::name;
use crate::target::Place;
use crate::tls::downstream::Downstream;

/// The chains of a port.
///
/// A server has the connections with its names, except those with a narrower name of another server, whatever its rules
/// say of them. Connections that no rule of their server takes go to its default endpoint, or are closed.
pub(super) fn of_port(
    view: &ScopedView,
    at: &Port,
    servers: &Servers<'_>,
    warnings: &mut Vec<Warning>,
) -> Vec<GatewayChain> {
    let mut table = Table::default();
    let port = at.number();
    match servers {
        Servers::Http(servers) => {
            // They share their routes, so one stands for all.
            if let Some(server) = servers.first() {
                let routes = LeadsTo::Routes(at.http_routes().into());
                table.add_whole(*server, &[], None, routes);
            }
        }
        Servers::Tcp(server) => {
            let rules = l4_rules(view, *server, port, false, warnings);
            table.add_rules(*server, &[], None, rules);
        }
        Servers::Tls(servers) => {
            for content in servers {
                let (server, names) = (content.server, &*content.server_names);
                match &content.handling {
                    Handling::Http { tls, routes } => {
                        table.add_whole(server, names, Some(tls), LeadsTo::Routes(routes.clone()));
                    }
                    Handling::AutoPassthrough => table.add_whole(server, names, None, LeadsTo::ServerName),
                    Handling::Tcp { tls } => {
                        let rules = l4_rules(view, server, port, false, warnings);
                        table.add_rules(server, names, Some(tls), rules);
                    }
                    Handling::Passthrough => {
                        let rules = l4_rules(view, server, port, true, warnings);
                        table.add_rules(server, names, None, rules);
                    }
                }
            }
        }
    }
    table.into_chains(warnings)
}

/// The rules of the VirtualServices that bind to a server, oldest first.
///
/// Where TLS goes through, a connection that no rule for its server name takes is like any other (§5.14).
fn l4_rules(
    view: &ScopedView,
    server: GatewayServer<'_>,
    port: u16,
    is_tls: bool,
    warnings: &mut Vec<Warning>,
) -> Vec<Rule> {
    let GatewayServer { gateway, server } = server;
    let place = Place {
        gateway: &gateway.name,
        port,
        source_selectors: &[],
    };
    let bound: Vec<_> = view
        .bound_virtual_services(gateway)
        .filter(|object| !gateway::common(gateway, server, object).is_empty())
        .collect();
    let mut rules = Vec::new();
    if is_tls {
        for object in &bound {
            let selected = l4::tls_rules(view, object, place);
            warnings.extend(selected.warnings);
            rules.extend(selected.rules);
        }
    }
    for object in &bound {
        let selected = l4::tcp_rules(view, object, place);
        warnings.extend(selected.warnings);
        rules.extend(selected.rules);
    }
    rules
}

/// What the servers of a port say.
#[derive(Default)]
struct Table<'a> {
    targets: Vec<Target<'a>>,
    parts: Vec<Part>,
}

/// What is done with some connections.
struct Target<'a> {
    server: GatewayServer<'a>,
    tls: Option<&'a Downstream>,
    leads_to: LeadsTo,
}

/// What a server says of connections with one of its names.
struct Part {
    /// `None`: those that no other server has.
    server_name: Option<ServerName>,
    /// In order. They lead to targets by position.
    rules: Vec<Rule<usize>>,
}

// === impl Table ===

impl<'a> Table<'a> {
    /// A server that does the same with all its connections.
    fn add_whole(
        &mut self,
        server: GatewayServer<'a>,
        names: &[ServerName],
        tls: Option<&'a Downstream>,
        leads_to: LeadsTo,
    ) {
        let target = self.add_target(server, tls, leads_to);
        self.add_parts(names, &[for_all(target)]);
    }

    /// A server that forwards connections by rules, and the others to its default endpoint if it has one.
    fn add_rules(
        &mut self,
        server: GatewayServer<'a>,
        names: &[ServerName],
        tls: Option<&'a Downstream>,
        rules: Vec<Rule>,
    ) {
        let protocol = server.protocol();
        let mut own = Vec::with_capacity(rules.len() + 1);
        for rule in rules {
            let Rule {
                server_names,
                ranges,
                route,
            } = rule;
            own.push(Rule {
                server_names,
                ranges,
                route: self.add_target(server, tls, LeadsTo::Clusters { route, protocol }),
            });
        }
        if !own.iter().any(Rule::catches_all) {
            let default = server.default_endpoint().ok().flatten();
            let cluster = default.map_or_else(|| name::BLACK_HOLE_CLUSTER.into(), |default| default.cluster);
            let rest = LeadsTo::Clusters {
                route: Arc::new(Route::to_cluster(cluster, false)),
                protocol,
            };
            let target = self.add_target(server, tls, rest);
            own.push(for_all(target));
        }
        self.add_parts(names, &own);
    }

    fn add_target(
        &mut self,
        server: GatewayServer<'a>,
        tls: Option<&'a Downstream>,
        leads_to: LeadsTo,
    ) -> usize {
        self.targets.push(Target {
            server,
            tls,
            leads_to,
        });
        self.targets.len() - 1
    }

    fn add_parts(&mut self, names: &[ServerName], rules: &[Rule<usize>]) {
        if names.is_empty() {
            self.parts.push(Part {
                server_name: None,
                rules: rules.to_vec(),
            });
        }
        self.parts.extend(names.iter().map(|name| Part {
            server_name: Some(name.clone()),
            rules: rules.iter().filter_map(|rule| narrowed(rule, name)).collect(),
        }));
    }

    fn into_chains(mut self, warnings: &mut Vec<Warning>) -> Vec<GatewayChain> {
        // Strongest first, as if they were the rules of one list.
        self.parts
            .sort_by(|a, b| by_name(a.server_name.as_ref(), b.server_name.as_ref()));
        let rules: Vec<Rule<usize>> = self.parts.into_iter().flat_map(|part| part.rules).collect();
        let slots = l4::first_match(&rules);

        // What is done with connections of several names needs one chain only.
        let mut names: BTreeMap<(Option<IpNet>, usize), Vec<ServerName>> = BTreeMap::new();
        let mut order = Vec::new();
        for slot in slots {
            let key = (slot.range, rules[slot.rule].route);
            names
                .entry(key)
                .or_insert_with(|| {
                    order.push(key);
                    Vec::new()
                })
                .extend(slot.server_name);
        }
        let reached: BTreeSet<usize> = order.iter().map(|(_, target)| *target).collect();
        for (_, target) in self
            .targets
            .iter()
            .enumerate()
            .filter(|(position, _)| !reached.contains(position))
        {
            warnings.extend(target.unreached());
        }
        let chains = order.into_iter().map(|key| {
            let target = &self.targets[key.1];
            let mut server_names = names.remove(&key).unwrap_or_default();
            server_names.sort();
            GatewayChain {
                range: key.0,
                server_names,
                tls: target.tls.cloned(),
                leads_to: target.leads_to.clone(),
                gateway: target.gateway().cloned(),
            }
        });
        chains.collect()
    }
}

// === impl Target ===

impl Target<'_> {
    /// The Gateway of the server. Those of plain HTTP share the chain: one that comes or goes must not cut the others'
    /// connections off.
    fn gateway(&self) -> Option<&ConfigKey> {
        let is_shared = self.tls.is_none() && matches!(self.leads_to, LeadsTo::Routes(_));
        (!is_shared).then_some(&self.server.gateway.key)
    }

    /// A finding about a rule that takes no connections.
    fn unreached(&self) -> Option<Warning> {
        let LeadsTo::Clusters { route, .. } = &self.leads_to else {
            return None;
        };
        let object = route.rule.clone()?;
        let port = self.server.server.port.as_ref();
        Some(Warning {
            object,
            kind: WarningKind::GatewayServer,
            reason: format!(
                "a rule takes no connections on port {} of {}: its names are not those of the server, or have others \
                 before it",
                port.map_or(0, |port| port.number),
                self.server.gateway.key,
            ),
        })
    }
}

/// A rule for all connections of a server.
fn for_all(target: usize) -> Rule<usize> {
    Rule {
        server_names: Vec::new(),
        ranges: Vec::new(),
        route: target,
    }
}

/// A rule as far as it is about connections with one of these names; `None` when it is about none of them.
fn narrowed(rule: &Rule<usize>, name: &ServerName) -> Option<Rule<usize>> {
    let server_names = if rule.server_names.is_empty() {
        vec![name.clone()]
    } else {
        let common = rule.server_names.iter().filter_map(|own| {
            let common: Host = own.as_host().intersection(name.as_host())?;
            ServerName::new(common.as_str())
        });
        common.collect()
    };
    (!server_names.is_empty()).then(|| Rule {
        server_names,
        ..rule.clone()
    })
}

/// Narrow names before wide ones, all names last.
fn by_name(a: Option<&ServerName>, b: Option<&ServerName>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => most_specific_first(a.as_host(), b.as_host()),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}
