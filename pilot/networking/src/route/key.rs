//! What virtual hosts and route configurations are made from.

use std::cmp::Ordering;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use mesh_config::{ConfigKey, Str};
use pilot_model::{Versioned, VirtualService};

use super::domains::Domains;
use super::hash_policy::HashPolicy;
use crate::gateway::DefaultEndpoint;

/// Everything that one virtual host depends on.
///
/// Shared and compared by a digest first: a route configuration names thousands of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VirtualHostKey(Shared<VirtualHostInput>);

/// Everything that one route configuration depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteKey {
    /// Name of the route configuration.
    pub name: Str,
    /// Whether the port in the Host header is left aside: clients reach a gateway under port numbers that it does not
    /// know, those of a load balancer or a node.
    pub ignore_port_in_host_matching: bool,
    /// The objects that it exists because of, beside those of its virtual hosts: Gateways, or the Sidecar that says what
    /// callers see.
    pub origins: Vec<ConfigKey>,
    /// Its virtual hosts, sorted by name; names and domains are unique.
    pub virtual_hosts: Arc<[VirtualHostKey]>,
}

/// The content of a [`VirtualHostKey`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct VirtualHostInput {
    pub(super) name: Str,
    pub(super) domains: Domains,
    /// Whether plain HTTP is redirected to HTTPS.
    pub(super) require_tls: bool,
    pub(super) routes: Routes,
}

/// Where the routes of a virtual host come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Routes {
    /// A service that no VirtualService is about: to its own cluster.
    Service {
        cluster: Str,
        /// The object that defines the service.
        service: Option<ConfigKey>,
        hash_policy: Option<HashPolicy>,
    },
    /// VirtualServices, in order. Routes that match everything go last (`R-VS-10`).
    Rules(Vec<Shared<RuleSet>>),
    /// VirtualServices, and what becomes of requests that they say nothing of.
    RulesOrDefault(Vec<Shared<RuleSet>>, DefaultEndpoint),
    /// Everything goes to one cluster, as it is.
    Cluster(Str),
    /// What is asked of an address instead of a name goes to one cluster, all else is answered 404.
    Addresses(Str),
    /// Everything is answered with a status.
    Status(u16),
    /// Everything is refused, because nobody declared where it goes.
    Blocked,
}

/// What one VirtualService contributes to a virtual host of one proxy and port.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RuleSet {
    pub(super) object: Versioned<VirtualService>,
    /// The port on which requests arrive.
    pub(super) port: u16,
    pub(super) rules: Vec<Rule>,
}

/// One element of `http` of a VirtualService.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Rule {
    /// Position in `http`.
    pub(super) position: usize,
    /// Positions in its `match` of the conditions that can hold; `None` when it has no conditions.
    pub(super) matches: Vec<Option<usize>>,
    /// Whether the last of `matches` holds for every request.
    pub(super) catches_all: bool,
    pub(super) action: Action,
}

/// What is done with requests that match.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// Answer as `redirect` says.
    Redirect,
    /// Forward.
    Forward {
        /// Never empty.
        targets: Vec<Target>,
        mirror: Option<Str>,
        hash_policies: Vec<HashPolicy>,
    },
}

/// A cluster that gets a share of the requests.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// Position in `route` of the rule; `None` when the rule has no usable destination.
    pub(super) position: Option<usize>,
    pub(super) cluster: Str,
    pub(super) weight: u32,
}

/// A shared value that is hashed once, when it is made. Comparing two that differ costs one comparison of numbers.
#[derive(Debug)]
pub(super) struct Shared<T>(Arc<Digested<T>>);

#[derive(Debug)]
struct Digested<T> {
    digest: u64,
    value: T,
}

// === impl Routes ===

impl Routes {
    /// The DestinationRules that say what of requests is hashed.
    pub(super) fn hash_rules(&self) -> impl Iterator<Item = &ConfigKey> {
        let (of_service, sets): (_, &[Shared<RuleSet>]) = match self {
            Self::Service { hash_policy, .. } => (hash_policy.as_ref(), &[]),
            Self::Rules(sets) | Self::RulesOrDefault(sets, _) => (None, sets),
            Self::Cluster(_) | Self::Addresses(_) | Self::Status(_) | Self::Blocked => (None, &[]),
        };
        let rules = sets.iter().flat_map(|set| &set.rules);
        let of_rules = rules.flat_map(|rule| rule.action.hash_policies());
        of_service.into_iter().chain(of_rules).map(|policy| &policy.rule)
    }
}

// === impl Action ===

impl Action {
    /// What of requests is hashed.
    pub(super) fn hash_policies(&self) -> &[HashPolicy] {
        match self {
            Self::Redirect => &[],
            Self::Forward { hash_policies, .. } => hash_policies,
        }
    }
}

// === impl VirtualHostKey ===

impl VirtualHostKey {
    pub(super) fn new(input: VirtualHostInput) -> Self {
        Self(Shared::new(input))
    }

    pub(super) fn input(&self) -> &VirtualHostInput {
        &self.0
    }

    pub(super) fn by_name(a: &Self, b: &Self) -> Ordering {
        a.input().name.cmp(&b.input().name)
    }
}

// === impl Shared ===

impl<T: Hash> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self(Arc::new(Digested {
            digest: hasher.finish(),
            value,
        }))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.digest == other.0.digest && self.0.value == other.0.value)
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.digest.hash(state);
    }
}
