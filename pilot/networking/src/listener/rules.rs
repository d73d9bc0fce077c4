//! Where connections to a port of a service go: what VirtualServices say, else the service itself (§5.13, §5.14).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_config::{Host, Labels, Port, Protocol};
use pilot_model::{
    MESH_GATEWAY, Resolution, ScopedView, Service, ServiceAddress, Versioned, VirtualService, Warning,
};

use crate::l4::{self, Route, Rule, ServerName};
use crate::target::Place;
use crate::{name, service};

/// The TLS and TCP rules that hold for one workload.
pub(super) struct ServiceRules<'a> {
    view: &'a ScopedView,
    source_selectors: &'a [Labels],
    has_any: bool,
    /// What is wrong with the VirtualServices that were asked, each finding once.
    pub(super) warnings: BTreeSet<Warning>,
}

// === impl ServiceRules ===

impl<'a> ServiceRules<'a> {
    /// The rules for workloads that satisfy `source_selectors`.
    pub(super) fn new(view: &'a ScopedView, source_selectors: &'a [Labels]) -> Self {
        Self {
            view,
            source_selectors,
            has_any: view.mesh_l4_virtual_services().next().is_some(),
            warnings: BTreeSet::new(),
        }
    }

    /// The ports that rules for a service name although it does not have them.
    ///
    /// Its address is its own, so that nothing else is in the way of such a rule (EX26).
    pub(super) fn further_ports(&self, service: &Service) -> Vec<Port> {
        if !matches!(service.address, ServiceAddress::Ip(_)) {
            return Vec::new();
        }
        let mut named = BTreeMap::new();
        for object in self.objects(&service.id.host) {
            if covers(object, &service.id.host) {
                named.extend(l4::named_ports(object, self.place(0)));
            }
        }
        named
            .into_iter()
            .filter(|(number, _)| service.port(*number).is_none())
            .map(|(number, is_tls)| Port {
                name: Default::default(),
                number,
                protocol: if is_tls { Protocol::Tls } else { Protocol::Tcp },
            })
            .collect()
    }

    /// Where connections to a port of a service go, in order; `server_names` tell them from those to other services.
    ///
    /// Without a rule that leaves nothing else they go to the service, when it has the port.
    pub(super) fn of(&mut self, service: &Service, port: &Port, server_names: &[ServerName]) -> Vec<Rule> {
        let host = &service.id.host;
        let objects = self.objects(host);
        let mut rules = Vec::new();
        // TLS rules that are about the whole host leave nothing to others.
        let mut is_routed = false;
        if port.protocol.is_tls() {
            for object in &objects {
                let selected = l4::tls_rules(self.view, object, self.place(port.number));
                self.warnings.extend(selected.warnings);
                is_routed |= selected.is_meant && covers(object, host);
                rules.extend(selected.rules);
            }
        }
        if !is_routed {
            for object in objects.iter().filter(|object| covers(object, host)) {
                let selected = l4::tcp_rules(self.view, object, self.place(port.number));
                self.warnings.extend(selected.warnings);
                rules.extend(selected.rules.into_iter().map(|rule| Rule {
                    server_names: server_names.to_vec(),
                    ..rule
                }));
            }
            if service.port(port.number).is_some() {
                let cluster = name::outbound_cluster(port.number, "", host);
                let is_passthrough = service.resolution == Resolution::Passthrough;
                rules.push(Rule {
                    server_names: server_names.to_vec(),
                    ranges: Vec::new(),
                    route: Arc::new(Route::to_cluster(cluster, is_passthrough)),
                });
            }
        }
        at_address(service, port, &mut rules);
        rules
    }

    fn objects(&self, host: &Host) -> Vec<&'a Versioned<VirtualService>> {
        if self.has_any {
            self.view.mesh_l4_rules(host)
        } else {
            Vec::new()
        }
    }

    fn place(&self, port: u16) -> Place<'a> {
        Place {
            gateway: MESH_GATEWAY,
            port,
            source_selectors: self.source_selectors,
        }
    }
}

/// What of the rules is left for the address of a service.
fn at_address(service: &Service, port: &Port, rules: &mut Vec<Rule>) {
    match service.address {
        // Known already, so that no connection has to be asked.
        ServiceAddress::Ip(ip) => rules.retain_mut(|rule| {
            let holds = rule.ranges.is_empty() || rule.ranges.iter().any(|range| range.contains(&ip));
            rule.ranges.clear();
            holds
        }),
        // Rules with ranges of their own know better.
        ServiceAddress::Cidr(range) if !port.protocol.is_tls() => {
            let without = rules.iter_mut().filter(|rule| rule.ranges.is_empty());
            without.for_each(|rule| rule.ranges.push(range.trunc()));
        }
        ServiceAddress::Cidr(_) | ServiceAddress::Unspecified => {}
    }
}

/// Whether a VirtualService is about all of a host, not only about names under it.
fn covers(object: &VirtualService, host: &Host) -> bool {
    object.hosts.iter().any(|own| host.is_subset_of(own))
}

/// The names by which TLS connections to a service are told from those to others on the same port, when it has no
/// address of its own; `None` when no name could.
///
/// Clients reach the pods of a headless service by names under it, and within the cluster by shorter ones.
pub(super) fn server_names(view: &ScopedView, service: &Service, port: &Port) -> Option<Vec<ServerName>> {
    if matches!(service.address, ServiceAddress::Ip(_)) || !port.protocol.is_tls() {
        return Some(Vec::new());
    }
    let host = service.id.host.as_str();
    let mut names = vec![ServerName::new(host)?];
    if service::is_headless(view, service)
        && let Some(short) = service::name_in_cluster(view, service)
    {
        for name in [host, short, &format!("{short}.svc")] {
            names.extend(ServerName::new(name));
            names.extend(ServerName::new(&format!("*.{name}")));
        }
    }
    names.sort();
    names.dedup();
    Some(names)
}
