//! Which rules of a VirtualService hold for a proxy, and where they lead (P13.3).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use mesh_api::istio::networking::v1alpha3::{HttpMatchRequest, HttpRoute};
use mesh_config::{Host, Labels};
use pilot_model::{MESH_GATEWAY, Rev, ScopedView, Versioned, VirtualService, Warning, WarningKind};

use super::hash_policy::HashPolicy;
use super::key::{Action, Rule, RuleSet, Shared, Target};
use super::{matching, value};
use crate::target::{Place, Resolver, Share};

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
        object,
        place,
        has_faults: false,
        depends_on_caller: false,
        resolver: Resolver::new(view, object, place.port, "requests get 503"),
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
    Selected {
        rules: (!rules.is_empty() || selection.has_faults).then(|| {
            Shared::new(RuleSet {
                object: object.clone(),
                port: place.port,
                rules,
            })
        }),
        warnings: selection.resolver.warnings,
        destinations: selection.resolver.hosts,
        depends_on_caller: selection.depends_on_caller,
    }
}

struct Selection<'a> {
    object: &'a Versioned<VirtualService>,
    place: Place<'a>,
    /// Whether conditions were left out that could have held.
    has_faults: bool,
    /// Whether other callers may be told something else.
    depends_on_caller: bool,
    resolver: Resolver<'a>,
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
        self.depends_on_caller |= labels;
        let mut matches = Vec::with_capacity(route.r#match.len());
        for (index, condition) in route.r#match.iter().enumerate() {
            if !self.can_hold(condition) {
                continue;
            }
            if let Err(reason) = matching::check(condition) {
                // Without the faulty part the condition would hold for more requests than asked for.
                let field = format!("http[{position}].match[{index}].{reason}, this match is left out");
                self.resolver.warn(WarningKind::Unsupported, field);
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
                && self.place.satisfies(&Labels::from(&condition.source_labels)))
    }

    fn action(&mut self, position: usize, route: &HttpRoute) -> Action {
        if let Some(redirect) = &route.redirect {
            if value::is_header_value(&redirect.uri) && value::is_header_value(&redirect.authority) {
                return Action::Redirect;
            }
            let reason = format!("http[{position}].redirect: not fit for a header, requests get 503");
            self.resolver.warn(WarningKind::Unsupported, reason);
            return Action::Forward {
                targets: vec![target(&Share::black_hole())],
                mirror: None,
                hash_policies: Vec::new(),
            };
        }

        let shares = self.resolver.shares(
            &format!("http[{position}]"),
            route
                .route
                .iter()
                .map(|share| (share.destination.as_ref(), share.weight)),
        );
        let mut hash_policies = Vec::new();
        for share in &shares {
            let subset = share
                .position
                .and_then(|position| route.route.get(position)?.destination.as_ref())
                .map_or("", |destination| &destination.subset);
            let hash_policy = share
                .target
                .port
                .zip(share.target.rules)
                .and_then(|(port, rules)| HashPolicy::of(rules, subset, port));
            if let Some(hash_policy) = hash_policy
                && !hash_policies
                    .iter()
                    .any(|known: &HashPolicy| known.hashed == hash_policy.hashed)
            {
                hash_policies.push(hash_policy);
            }
        }
        let mirror = route.mirror.as_ref().map(|mirror| {
            let field = || format!("http[{position}].mirror");
            self.resolver.target(mirror, "copies are lost", field).cluster
        });
        Action::Forward {
            targets: shares.iter().map(target).collect(),
            mirror,
            hash_policies,
        }
    }
}

fn target(share: &Share<'_>) -> Target {
    Target {
        position: share.position,
        cluster: share.target.cluster.clone(),
        weight: share.weight,
    }
}
