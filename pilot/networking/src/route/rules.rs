//! Which rules of a VirtualService hold for a proxy, and where they lead (P13.3).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use mesh_api::istio::networking::v1alpha3::port_selector::Port;
use mesh_api::istio::networking::v1alpha3::{Destination, HttpMatchRequest, HttpRoute};
use mesh_config::{Host, Labels, Protocol, Str};
use pilot_model::{MESH_GATEWAY, Rev, ScopedView, Versioned, VirtualService, Warning, WarningKind};

use super::hash_policy::HashPolicy;
use super::key::{Action, Rule, RuleSet, Shared, Target};
use super::{matching, value};
use crate::destination;
use crate::name::BLACK_HOLE_CLUSTER;

/// Where requests arrive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// [`MESH_GATEWAY`], or the resolved name of a Gateway.
    pub(super) gateway: &'a str,
    pub(super) port: u16,
    /// The `sourceLabels` in use that the callers satisfy, sorted.
    pub(super) source_selectors: &'a [Labels],
}

/// What a VirtualService says at a place.
#[derive(Debug)]
pub(super) struct Selected {
    /// Its rules; `None` when it has none for the place.
    ///
    /// A condition that Envoy would not take never holds: when nothing else is left, no request is routed.
    pub(super) rules: Option<Shared<RuleSet>>,
    /// What is wrong with it.
    pub(super) warnings: Vec<Warning>,
    /// The hosts that it leads to.
    destinations: Vec<Host>,
    /// Whether it says something else to other callers.
    depends_on_caller: bool,
}

/// What VirtualServices say to sidecars of namespaces that see the same services under the same rules as everybody.
///
/// Resolving destinations is most of the work of a plan, and hardly anything changes from one publication to the next.
#[derive(Debug, Default)]
pub(super) struct CommonRules {
    by_object: RwLock<HashMap<(Rev, u16), Arc<Selected>>>,
}

/// What a VirtualService says to sidecars. `common` comes from [`ScopedView::derived`].
pub(super) fn select_for_mesh(
    view: &ScopedView,
    common: &CommonRules,
    object: &Versioned<VirtualService>,
    port: u16,
    source_selectors: &[Labels],
) -> Arc<Selected> {
    let key = (object.rev(), port);
    if let Some(selected) = common.read().get(&key)
        && selected.is_common_to(view)
    {
        return Arc::clone(selected);
    }
    let place = Place {
        gateway: MESH_GATEWAY,
        port,
        source_selectors,
    };
    let selected = Arc::new(select(view, object, place));
    if selected.is_common_to(view) && !selected.depends_on_caller {
        common.insert(key, &selected, view.virtual_service_count());
    }
    selected
}

/// What a VirtualService says at a place.
pub(super) fn select(view: &ScopedView, object: &Versioned<VirtualService>, place: Place<'_>) -> Selected {
    let mut selection = Selection {
        view,
        object,
        place,
        has_faults: false,
        selected: Selected {
            rules: None,
            warnings: Vec::new(),
            destinations: Vec::new(),
            depends_on_caller: false,
        },
    };
    let mut rules = Vec::with_capacity(object.spec.http.len());
    for (position, route) in object.spec.http.iter().enumerate() {
        let Some((matches, catches_all)) = selection.matches(position, route) else {
            continue;
        };
        let action = selection.action(position, route);
        rules.push(Rule {
            position,
            matches,
            catches_all,
            action,
        });
        if catches_all {
            // Nothing after it can be reached (`R-VS-7`).
            break;
        }
    }
    let mut selected = selection.selected;
    if !rules.is_empty() || selection.has_faults {
        selected.rules = Some(Shared::new(RuleSet {
            object: object.clone(),
            port: place.port,
            rules,
        }));
    }
    selected
}

struct Selection<'a> {
    view: &'a ScopedView,
    object: &'a Versioned<VirtualService>,
    place: Place<'a>,
    /// Whether conditions were left out that could have held.
    has_faults: bool,
    selected: Selected,
}

// === impl Selected ===

impl Selected {
    /// Whether it is the same in a view as in that of a namespace that has nothing of its own.
    fn is_common_to(&self, view: &ScopedView) -> bool {
        let differing = view.differing_hosts();
        differing.is_empty() || !self.destinations.iter().any(|host| differing.contains(host))
    }
}

// === impl CommonRules ===

impl CommonRules {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<(Rev, u16), Arc<Selected>>> {
        self.by_object.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, key: (Rev, u16), selected: &Arc<Selected>, objects: usize) {
        let mut by_object = self.by_object.write().unwrap_or_else(PoisonError::into_inner);
        // Objects that changed or went leave their entries behind. Starting over now and then costs less than keeping
        // account of them.
        if by_object.len() > 4 * objects + 1000 {
            by_object.clear();
        }
        by_object.insert(key, Arc::clone(selected));
    }
}

// === impl Selection ===

impl Selection<'_> {
    /// The conditions of a rule that can hold, and whether the last of them always does.
    fn matches(&mut self, position: usize, route: &HttpRoute) -> Option<(Vec<Option<usize>>, bool)> {
        if route.r#match.is_empty() {
            return Some((vec![None], true));
        }
        let labels = route
            .r#match
            .iter()
            .any(|condition| !condition.source_labels.is_empty());
        self.selected.depends_on_caller |= labels;
        let mut matches = Vec::with_capacity(route.r#match.len());
        for (index, condition) in route.r#match.iter().enumerate() {
            if !self.can_hold(condition) {
                continue;
            }
            if let Err(reason) = matching::check(condition) {
                // Without the faulty part the condition would hold for more requests than asked for.
                let field = format!("http[{position}].match[{index}].{reason}, this match is left out");
                self.warn(WarningKind::Unsupported, field);
                self.has_faults = true;
                continue;
            }
            matches.push(Some(index));
            if matching::catches_all(condition) {
                return Some((matches, true));
            }
        }
        if matches.is_empty() {
            None
        } else {
            Some((matches, false))
        }
    }

    /// Whether a condition can hold at this place as far as that is known before there is a request.
    fn can_hold(&self, condition: &HttpMatchRequest) -> bool {
        if condition.port != 0 && condition.port != u32::from(self.place.port) {
            return false;
        }
        if !condition.gateways.is_empty() {
            // Labels do not count then (`R-VS-5`).
            return condition
                .gateways
                .iter()
                .any(|gateway| *self.object.gateway(gateway) == *self.place.gateway);
        }
        condition.source_labels.is_empty()
            || (self.place.gateway == MESH_GATEWAY
                && self
                    .place
                    .source_selectors
                    .binary_search(&Labels::from(&condition.source_labels))
                    .is_ok())
    }

    fn action(&mut self, position: usize, route: &HttpRoute) -> Action {
        if let Some(redirect) = &route.redirect {
            if value::is_header_value(&redirect.uri) && value::is_header_value(&redirect.authority) {
                return Action::Redirect;
            }
            let reason = format!("http[{position}].redirect: not fit for a header, requests get 503");
            self.warn(WarningKind::Unsupported, reason);
            return Action::Forward {
                targets: vec![black_hole()],
                mirror: None,
                hash_policies: Vec::new(),
            };
        }

        // A weight of 0 takes a destination out, unless it is the only one (`R-VS-12`).
        let is_only = route.route.len() == 1;
        let mut targets = Vec::with_capacity(route.route.len());
        let mut hash_policies = Vec::new();
        for (index, share) in route.route.iter().enumerate() {
            let weight = if is_only {
                100
            } else {
                share.weight.clamp(0, MAX_WEIGHT).unsigned_abs()
            };
            if weight == 0 {
                continue;
            }
            let Some(destination) = &share.destination else {
                let reason =
                    format!("http[{position}].route[{index}].destination: missing, requests get 503");
                self.warn(WarningKind::Unsupported, reason);
                targets.push(Target {
                    weight,
                    ..black_hole()
                });
                continue;
            };
            let field = || format!("http[{position}].route[{index}].destination");
            let (cluster, hash_policy) = self.cluster(destination, "requests get 503", field);
            if let Some(hash_policy) = hash_policy
                && !hash_policies.contains(&hash_policy)
            {
                hash_policies.push(hash_policy);
            }
            targets.push(Target {
                position: Some(index),
                cluster,
                weight,
            });
        }
        if targets.is_empty() {
            let reason = format!("http[{position}].route: no destination has a weight, requests get 503");
            self.warn(WarningKind::Unsupported, reason);
            targets.push(black_hole());
        }
        let mirror = route.mirror.as_ref().map(|mirror| {
            let (cluster, _) = self.cluster(mirror, "copies are lost", || format!("http[{position}].mirror"));
            cluster
        });
        Action::Forward {
            targets,
            mirror,
            hash_policies,
        }
    }

    /// The cluster of a destination, and the session affinity that its DestinationRule asks for.
    ///
    /// A destination that does not exist keeps its name, so that requests fail and the reason can be seen (`R-VS-14`).
    fn cluster(
        &mut self,
        destination: &Destination,
        consequence: &str,
        field: impl Fn() -> String,
    ) -> (Str, Option<HashPolicy>) {
        let host = self.object.destination(&destination.host, self.view.domain());
        self.selected.destinations.push(host.clone());
        let subset = &destination.subset;
        let mut services = self.view.services_of(host.as_str()).peekable();
        let service = services.peek().copied();
        // A service has no port that carries only datagrams as far as a proxy is concerned.
        let mut ports: Vec<u16> = services
            .flat_map(|service| &service.ports)
            .filter(|port| port.protocol != Protocol::Udp)
            .map(|port| port.number)
            .collect();
        ports.sort_unstable();
        ports.dedup();

        let port = match destination.port.as_ref().and_then(|port| port.port.as_ref()) {
            Some(Port::Number(number)) => *number,
            Some(Port::Name(name)) => {
                let reason = format!(
                    "{}.port.name: {name:?}, only numbers are supported, {consequence}",
                    field()
                );
                self.warn(WarningKind::UnknownPort, reason);
                return (BLACK_HOLE_CLUSTER.into(), None);
            }
            // The only port, else the one on which the request arrived (`R-VS-13`).
            None => match ports[..] {
                [only] => only.into(),
                _ => self.place.port.into(),
            },
        };

        let rules = service.and_then(|service| self.view.rules(service));
        if service.is_none() {
            let reason = format!(
                "{}.host: no visible service has the host {host}, {consequence}",
                field()
            );
            self.warn(WarningKind::UnknownHost, reason);
        } else if !ports.iter().any(|&known| u32::from(known) == port) {
            let reason = format!("{}.port: {host} has no port {port}, {consequence}", field());
            self.warn(WarningKind::UnknownPort, reason);
        } else if !subset.is_empty()
            && rules.is_none_or(|rules| destination::find_subset(rules, subset).is_none())
        {
            let reason = format!(
                "{}.subset: no DestinationRule of {host} has {subset:?}, {consequence}",
                field()
            );
            self.warn(WarningKind::UnknownSubset, reason);
        }
        let hash_policy = u16::try_from(port)
            .ok()
            .zip(rules)
            .and_then(|(port, rules)| HashPolicy::of(rules, subset, port));
        (format!("outbound|{port}|{subset}|{host}").into(), hash_policy)
    }

    fn warn(&mut self, kind: WarningKind, reason: String) {
        self.selected.warnings.push(Warning {
            object: self.object.key.clone(),
            kind,
            reason,
        });
    }
}

/// Keeps the sum of any number of weights that fit into a message within 32 bits.
const MAX_WEIGHT: i32 = 10_000;

fn black_hole() -> Target {
    Target {
        position: None,
        cluster: BLACK_HOLE_CLUSTER.into(),
        weight: 1,
    }
}
