//! Whether one condition of a route holds wherever another does.

use std::collections::BTreeSet;

use mesh_api::istio::networking::v1alpha3::string_match::MatchType;
use mesh_api::istio::networking::v1alpha3::{
    HttpMatchRequest, L4MatchAttributes, StringMatch, TlsMatchAttributes,
};
use mesh_config::{Host, Labels, Str};

use crate::references;

/// Where a condition counts.
pub(crate) struct Place<'a> {
    /// The gateways of the whole object.
    pub(crate) gateways: &'a BTreeSet<Str>,
    /// Namespace of the object.
    pub(crate) namespace: &'a str,
}

/// A condition of a route.
pub(crate) trait Condition {
    /// Whether it holds for everything that `other` holds for. Never `true` by mistake.
    fn is_superset_of(&self, other: &Self, place: &Place<'_>) -> bool;

    /// Whether it holds for everything.
    fn is_everything(&self, place: &Place<'_>) -> bool;
}

/// The first route before each that takes all that it would: pairs of the later and the earlier one.
///
/// A route without conditions takes everything.
pub(crate) fn shadowed<C: Condition>(routes: &[&[C]], place: &Place<'_>) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (later, conditions) in routes.iter().enumerate() {
        let earlier = routes[..later].iter().position(|before| {
            let takes_all = before.is_empty() || before.iter().any(|it| it.is_everything(place));
            takes_all
                || !conditions.is_empty()
                    && conditions
                        .iter()
                        .all(|it| before.iter().any(|other| other.is_superset_of(it, place)))
        });
        found.extend(earlier.map(|earlier| (later, earlier)));
    }
    found
}

// === impl Condition ===

impl Condition for HttpMatchRequest {
    fn is_superset_of(&self, other: &Self, place: &Place<'_>) -> bool {
        let patterns = [
            (&self.scheme, &other.scheme),
            (&self.method, &other.method),
            (&self.authority, &other.authority),
        ];
        (takes_every_path(self.uri.as_ref()) || covers(self.uri.as_ref(), other.uri.as_ref()))
            && patterns
                .into_iter()
                .all(|(ours, theirs)| covers(ours.as_ref(), theirs.as_ref()))
            && self
                .headers
                .iter()
                .all(|(name, pattern)| covers(Some(pattern), other.headers.get(name)))
            && origin_covers(
                (self.port, &self.source_labels, &self.gateways),
                (other.port, &other.source_labels, &other.gateways),
                place,
            )
    }

    fn is_everything(&self, place: &Place<'_>) -> bool {
        self.is_superset_of(&Self::default(), place)
    }
}

impl Condition for TlsMatchAttributes {
    fn is_superset_of(&self, other: &Self, place: &Place<'_>) -> bool {
        let covered = |name: &String| {
            let name = Host::from(name.as_str());
            self.sni_hosts
                .iter()
                .any(|host| name.is_subset_of(&Host::from(host.as_str())))
        };
        other.sni_hosts.iter().all(covered)
            && subnets_cover(&self.destination_subnets, &other.destination_subnets)
            && (self.source_subnet.is_empty() || self.source_subnet == other.source_subnet)
            && origin_covers(
                (self.port, &self.source_labels, &self.gateways),
                (other.port, &other.source_labels, &other.gateways),
                place,
            )
    }

    /// A server name is always asked for.
    fn is_everything(&self, _: &Place<'_>) -> bool {
        false
    }
}

impl Condition for L4MatchAttributes {
    fn is_superset_of(&self, other: &Self, place: &Place<'_>) -> bool {
        subnets_cover(&self.destination_subnets, &other.destination_subnets)
            && (self.source_subnet.is_empty() || self.source_subnet == other.source_subnet)
            && origin_covers(
                (self.port, &self.source_labels, &self.gateways),
                (other.port, &other.source_labels, &other.gateways),
                place,
            )
    }

    fn is_everything(&self, place: &Place<'_>) -> bool {
        self.is_superset_of(&Self::default(), place)
    }
}

type Origin<'a> = (u32, &'a std::collections::BTreeMap<String, String>, &'a [String]);

fn origin_covers(ours: Origin<'_>, theirs: Origin<'_>, place: &Place<'_>) -> bool {
    let (port, labels, gateways) = ours;
    let (other_port, other_labels, other_gateways) = theirs;
    let named = |names: &[String]| match names {
        [] => place.gateways.clone(),
        names => references::gateways(names, place.namespace),
    };
    (port == 0 || port == other_port)
        && Labels::from(labels).is_subset_of(&Labels::from(other_labels))
        && (gateways.is_empty() || named(other_gateways).is_subset(&named(gateways)))
}

fn subnets_cover(ours: &[String], theirs: &[String]) -> bool {
    ours.is_empty() || !theirs.is_empty() && theirs.iter().all(|subnet| ours.contains(subnet))
}

/// Every path begins with a slash.
fn takes_every_path(uri: Option<&StringMatch>) -> bool {
    let pattern = uri.and_then(|uri| uri.match_type.as_ref());
    matches!(pattern, Some(MatchType::Prefix(prefix)) if prefix == "/")
}

/// Whether every text that the second pattern takes is taken by the first. No pattern takes every text.
fn covers(ours: Option<&StringMatch>, theirs: Option<&StringMatch>) -> bool {
    let Some(ours) = ours else { return true };
    let Some(theirs) = theirs else { return false };
    match (&ours.match_type, &theirs.match_type) {
        (Some(MatchType::Prefix(prefix)), Some(MatchType::Exact(text) | MatchType::Prefix(text))) => {
            text.starts_with(prefix.as_str())
        }
        (ours, theirs) => ours == theirs,
    }
}
