//! Where VirtualServices lead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use mesh_api::istio::networking::v1alpha3::Destination;
use mesh_api::istio::networking::v1alpha3::port_selector::Port;
use mesh_config::{ConfigKey, Host, Str};

use super::subsets::SubsetId;
use crate::snapshot::VirtualService;

/// A destination of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named<'a> {
    pub(super) host: Host,
    /// Empty when the route names none.
    pub(super) subset: &'a str,
    /// `None` when the route names none.
    pub(super) port: Option<u32>,
}

/// The subsets that VirtualServices in force lead to, each with those VirtualServices.
#[derive(Debug, Default)]
pub(super) struct NamedSubsets(BTreeMap<Host, BTreeMap<Str, BTreeSet<ConfigKey>>>);

/// How many VirtualServices a reason names.
const NAMED_IN_REASON: usize = 3;

/// The destinations of all routes that get calls. Nobody waits for the answer of a mirror, so those are not among them.
pub(super) fn destinations<'a>(object: &'a VirtualService, domain: &str) -> BTreeSet<Named<'a>> {
    let spec = &object.spec;
    let http = spec.http.iter().map(|route| {
        let shares = route.route.iter();
        Vec::from_iter(shares.map(|share| (share.destination.as_ref(), share.weight)))
    });
    let tls = spec.tls.iter().map(|route| &route.route);
    let l4 = tls.chain(spec.tcp.iter().map(|route| &route.route)).map(|route| {
        let shares = route.iter();
        Vec::from_iter(shares.map(|share| (share.destination.as_ref(), share.weight)))
    });
    http.chain(l4)
        .flat_map(|shares| {
            // A weight of 0 takes a destination out, unless it is the only one (`R-VS-12`).
            let is_only = shares.len() == 1;
            let shares = shares.into_iter();
            shares.filter_map(move |(destination, weight)| destination.filter(|_| is_only || weight > 0))
        })
        .map(|destination| Named::new(object, destination, domain))
        .collect()
}

// === impl Named ===

impl<'a> Named<'a> {
    fn new(object: &VirtualService, destination: &'a Destination, domain: &str) -> Self {
        let port = destination.port.as_ref().and_then(|port| port.port.as_ref());
        Self {
            host: object.destination(&destination.host, domain),
            subset: &destination.subset,
            port: match port {
                Some(Port::Number(number)) => Some(*number),
                // Names are not supported: such a destination has no cluster to wait for.
                Some(Port::Name(_)) | None => None,
            },
        }
    }
}

// === impl NamedSubsets ===

impl NamedSubsets {
    /// Takes over that another form of a VirtualService is in force.
    pub(super) fn replace(
        &mut self,
        key: &ConfigKey,
        old: Option<&VirtualService>,
        new: Option<&VirtualService>,
        domain: &str,
    ) {
        for named in subsets(old, domain) {
            let Some(of_host) = self.0.get_mut(&named.host) else {
                continue;
            };
            if let Some(objects) = of_host.get_mut(named.subset) {
                objects.remove(key);
                if objects.is_empty() {
                    of_host.remove(named.subset);
                }
            }
            if of_host.is_empty() {
                self.0.remove(&named.host);
            }
        }
        for named in subsets(new, domain) {
            let of_host = self.0.entry(named.host).or_default();
            let objects = of_host.entry(named.subset.into()).or_default();
            objects.insert(key.clone());
        }
    }

    /// Whether any VirtualService in force leads to a subset.
    pub(super) fn contains(&self, host: &Host, subset: &str) -> bool {
        self.0
            .get(host)
            .is_some_and(|of_host| of_host.contains_key(subset))
    }

    /// The hosts of which subsets are named and that a rule for `host` is about.
    pub(super) fn hosts_under<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Host> {
        let exact = self.0.get_key_value(host).map(|(host, _)| host);
        let all = host.is_wildcard().then(|| self.0.keys());
        let covered = all.into_iter().flatten().filter(move |named| *named != host);
        exact
            .into_iter()
            .chain(covered.filter(move |named| named.is_subset_of(host)))
    }

    /// Why a subset stays.
    pub(super) fn reason(&self, id: &SubsetId) -> String {
        let objects = self.0.get(&id.host).and_then(|of_host| of_host.get(&id.subset));
        let mut objects = objects.into_iter().flatten();
        let names: Vec<String> = objects
            .by_ref()
            .take(NAMED_IN_REASON)
            .map(ToString::to_string)
            .collect();
        let mut reason = format!(
            "subset {} of {} stays as it was: {}",
            id.subset,
            id.host,
            names.join(", ")
        );
        let more = objects.count();
        if more > 0 {
            // Writing to a string cannot fail.
            let _ = write!(reason, " and {more} more");
        }
        reason.push_str(if names.len() + more == 1 {
            " leads to it"
        } else {
            " lead to it"
        });
        reason
    }
}

fn subsets<'a>(object: Option<&'a VirtualService>, domain: &str) -> impl Iterator<Item = Named<'a>> {
    let named = object
        .into_iter()
        .flat_map(move |object| destinations(object, domain));
    named.filter(|named| !named.subset.is_empty())
}
