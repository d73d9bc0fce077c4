//! The virtual hosts of one port, from a view.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_config::{ConfigKey, Host, Labels, Str, Timestamp};
use pilot_model::{Rev, ScopedView, Service, Versioned, VirtualService, Warning, WarningKind};

use super::PortPlan;
use crate::route::domains::{self, Domains, HostDomains, canonical, short_forms};
use crate::route::hash_policy::HashPolicy;
use crate::route::key::{Routes, RuleSet, Shared, VirtualHostInput, VirtualHostKey};
use crate::route::rules::{self, CommonRules, Selected};
use crate::service;

/// Plans one port.
pub(super) struct Planner<'a> {
    view: &'a ScopedView,
    /// DNS domain of the callers.
    domain: &'a str,
    source_selectors: &'a [Labels],
    common: Arc<CommonRules>,
    /// What VirtualServices say at a port: one with a wildcard host applies to many services.
    selected: HashMap<Rev, Arc<Selected>>,
    port: u16,
    /// Whether names count only with the port.
    port_only: bool,
    warnings: Vec<Warning>,
}

/// A virtual host whose domains are not settled yet.
struct Draft<'a> {
    host: &'a Host,
    owner: Owner<'a>,
    domains: HostDomains,
    routes: Routes,
}

/// Because of whom there is a virtual host.
#[derive(Clone, Copy)]
enum Owner<'a> {
    Service(&'a Service),
    VirtualService(&'a VirtualService),
}

// === impl Planner ===

impl<'a> Planner<'a> {
    /// A planner for callers that leave the labels of `domain` out and satisfy `source_selectors`.
    pub(super) fn new(
        view: &'a ScopedView,
        domain: &'a str,
        source_selectors: &'a [Labels],
        port: u16,
        port_only: bool,
    ) -> Self {
        Self {
            view,
            domain,
            source_selectors,
            common: view.derived_from_services().get(),
            selected: HashMap::new(),
            port,
            port_only,
            warnings: Vec::new(),
        }
    }

    /// Plans the port.
    pub(super) fn plan(mut self) -> PortPlan {
        let mut drafts = self.services();
        self.serviceless_hosts(&mut drafts);
        self.settle_domains(&mut drafts);

        let port = self.port;
        let takes_all = !self.port_only && drafts.iter().any(|draft| draft.host.as_str() == "*");
        let mut name = String::new();
        let keys = drafts.into_iter().map(|draft| {
            name.clear();
            // Writing to a string cannot fail.
            let _ = write!(name, "{}:{port}", draft.host);
            VirtualHostKey::new(VirtualHostInput {
                name: name.as_str().into(),
                domains: Domains::Host(draft.domains),
                require_tls: false,
                routes: draft.routes,
            })
        });
        let mut virtual_hosts: Vec<VirtualHostKey> = keys.collect();
        virtual_hosts.sort_by(VirtualHostKey::by_name);
        PortPlan {
            virtual_hosts,
            takes_all,
            warnings: self.warnings,
        }
    }

    /// One draft for each host that some service has on the port.
    fn services(&mut self) -> Vec<Draft<'a>> {
        let (view, port) = (self.view, self.port);
        let mut drafts: Vec<Draft<'a>> = Vec::new();
        let mut services = view.http_services(port).peekable();
        while let Some(first) = services.next() {
            let host = &first.id.host;
            let mut winner = first;
            let mut addresses: Vec<_> = first.address.ip().into_iter().collect();
            // A host can have several services: a private one wins over public ones, then the oldest. Those that one
            // ServiceEntry makes are one service with several addresses.
            while let Some(other) = services.next_if(|other| other.id.host == *host) {
                let is_same =
                    (&other.id.namespace, &other.id.name) == (&winner.id.namespace, &winner.id.name);
                if is_same {
                    addresses.extend(other.address.ip());
                } else if other.export_to > winner.export_to {
                    winner = other;
                    addresses = other.address.ip().into_iter().collect();
                }
            }
            if !domains::is_valid(host) {
                let reason = format!("host {host:?} cannot stand in a request, it is left out");
                self.warnings.push(Warning {
                    object: Owner::Service(winner).object(),
                    kind: WarningKind::Unsupported,
                    reason,
                });
                continue;
            }
            let routes = self.rules_of(host).unwrap_or_else(|| Routes::Service {
                cluster: format!("outbound|{port}||{host}").into(),
                service: winner.definition(),
                hash_policy: view
                    .rules(winner)
                    .and_then(|rules| HashPolicy::of(rules, "", port)),
            });
            addresses.dedup();
            let domains = HostDomains {
                has_pods: service::is_headless(view, winner),
                ..self.domains(host, addresses)
            };
            drafts.push(Draft {
                host,
                owner: Owner::Service(winner),
                domains,
                routes,
            });
        }
        drafts
    }

    /// Drafts for hosts that only VirtualServices know.
    fn serviceless_hosts(&mut self, drafts: &mut Vec<Draft<'a>>) {
        let view = self.view;
        for (host, objects) in view.serviceless_hosts().get(&self.port).into_iter().flatten() {
            let objects: Vec<_> = objects.iter().collect();
            let Some((object, rules)) = self.first_with_rules(host, &objects) else {
                continue;
            };
            if !domains::is_valid(host) {
                let reason = format!("host {host:?} cannot stand in a request, it is left out");
                self.warnings.push(Warning {
                    object: object.key.clone(),
                    kind: WarningKind::Unsupported,
                    reason,
                });
                continue;
            }
            // Only services have short forms.
            let domains = HostDomains {
                shared_labels: 0,
                ..self.domains(host, Vec::new())
            };
            let owner = Owner::VirtualService(object);
            drafts.push(Draft {
                host,
                owner,
                domains,
                routes: Routes::Rules(vec![rules]),
            });
        }
    }

    fn domains(&self, host: &Host, addresses: Vec<IpAddr>) -> HostDomains {
        HostDomains {
            host: host.clone(),
            port: self.port,
            shared_labels: domains::shared_labels(host, self.domain),
            has_pods: false,
            addresses,
            port_only: self.port_only,
            taken: Vec::new(),
        }
    }

    fn rules_of(&mut self, host: &Host) -> Option<Routes> {
        let objects = self.view.mesh_http_rules(host);
        if objects.is_empty() {
            return None;
        }
        self.first_with_rules(host, &objects)
            .map(|(_, rules)| Routes::Rules(vec![rules]))
    }

    /// The first VirtualService that has rules for these callers (`R-VS-10`).
    fn first_with_rules(
        &mut self,
        host: &Host,
        objects: &[&'a Versioned<VirtualService>],
    ) -> Option<(&'a VirtualService, Shared<RuleSet>)> {
        let mut found: Option<(&'a VirtualService, Shared<RuleSet>)> = None;
        for object in objects {
            if let Some((winner, _)) = &found {
                // One that names the host was certainly meant to apply; a wildcard may be meant for the others, and a
                // private one to replace what everybody else sees.
                if object.hosts.contains(host) && object.export_to == winner.export_to {
                    let reason = format!(
                        "host {host} is routed by {} already, these rules are ignored",
                        winner.key
                    );
                    let object = object.key.clone();
                    self.warnings.push(Warning {
                        object,
                        kind: WarningKind::DuplicateDomain,
                        reason,
                    });
                }
                continue;
            }
            if let Some(rules) = self.rule_set(object) {
                found = Some((object, rules));
            }
        }
        found
    }

    fn rule_set(&mut self, object: &Versioned<VirtualService>) -> Option<Shared<RuleSet>> {
        let selected = match self.selected.entry(object.rev()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let selected =
                    rules::select_for_mesh(self.view, &self.common, object, self.port, self.source_selectors);
                self.warnings.extend(selected.warnings.iter().cloned());
                entry.insert(selected)
            }
        };
        selected.rules.clone()
    }

    /// Sees to it that no domain stands in two virtual hosts: Envoy would reject all of them.
    ///
    /// Full names go before short forms, then the older object wins (`R-N-12`).
    fn settle_domains(&mut self, drafts: &mut Vec<Draft<'a>>) {
        let mut names: HashMap<Cow<'a, str>, usize> = HashMap::with_capacity(6 * drafts.len());
        let mut position = 0;
        drafts.retain(|draft| match names.entry(canonical(draft.host.as_str())) {
            Entry::Vacant(entry) => {
                entry.insert(position);
                position += 1;
                true
            }
            Entry::Occupied(_) => {
                // Hosts are unique, so this one differs only in case.
                self.warnings.push(duplicate(draft.owner, draft.host.as_str()));
                false
            }
        });

        let mut lost: Vec<(usize, Cow<'a, str>)> = Vec::new();
        let mut lost_of_pods: Vec<(usize, String)> = Vec::new();
        let mut addresses = HashMap::with_capacity(drafts.len());
        let mut lost_addresses = Vec::new();
        for (position, draft) in drafts.iter().enumerate() {
            for name in short_forms(draft.host.as_str(), draft.domains.shared_labels) {
                match names.entry(canonical(name)) {
                    Entry::Vacant(entry) => {
                        entry.insert(position);
                    }
                    Entry::Occupied(mut entry) => {
                        let other = *entry.get();
                        let is_full = *canonical(drafts[other].host.as_str()) == **entry.key();
                        if is_full || drafts[other].owner.age() <= draft.owner.age() {
                            lost.push((position, entry.key().clone()));
                        } else {
                            lost.push((other, entry.key().clone()));
                            entry.insert(position);
                        }
                    }
                }
            }
            if draft.domains.has_pods {
                // Whoever names all of them by a wildcard means it.
                let own = short_forms(draft.host.as_str(), draft.domains.shared_labels);
                let of_pods = std::iter::once(draft.host.as_str())
                    .chain(own)
                    .map(|name| domains::names_of_pods(&canonical(name)))
                    .filter(|name| names.contains_key(name.as_str()));
                lost_of_pods.extend(of_pods.map(|name| (position, name)));
            }
            for &address in &draft.domains.addresses {
                // A host may be an address as well.
                if names.contains_key(address.to_string().as_str()) {
                    lost_addresses.push((position, address));
                    continue;
                }
                match addresses.entry(address) {
                    Entry::Vacant(entry) => {
                        entry.insert(position);
                    }
                    Entry::Occupied(mut entry) => {
                        let other: usize = *entry.get();
                        if other == position || drafts[other].owner.age() <= draft.owner.age() {
                            lost_addresses.push((position, address));
                        } else {
                            lost_addresses.push((other, address));
                            entry.insert(position);
                        }
                    }
                }
            }
        }
        for (position, name) in lost {
            self.warnings.push(duplicate(drafts[position].owner, &name));
            drafts[position].domains.taken.push(name.as_ref().into());
        }
        for (position, name) in lost_of_pods {
            drafts[position].domains.taken.push(name.into());
        }
        for (position, address) in lost_addresses {
            self.warnings
                .push(duplicate(drafts[position].owner, &address.to_string()));
            drafts[position]
                .domains
                .addresses
                .retain(|known| *known != address);
        }
    }
}

fn duplicate(owner: Owner<'_>, name: &str) -> Warning {
    let reason = format!("domain {name} belongs to another host already, it is left out here");
    Warning {
        object: owner.object(),
        kind: WarningKind::DuplicateDomain,
        reason,
    }
}

// === impl Owner ===

impl Owner<'_> {
    fn object(self) -> ConfigKey {
        match self {
            Self::Service(service) => service::object(service),
            Self::VirtualService(object) => object.key.clone(),
        }
    }

    fn age(&self) -> (Timestamp, &Str, &Str) {
        match self {
            Self::Service(service) => (service.created, &service.id.namespace, &service.id.name),
            Self::VirtualService(object) => (object.created, &object.key.namespace, &object.key.name),
        }
    }
}
