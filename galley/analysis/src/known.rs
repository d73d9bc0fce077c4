//! The index of all that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_config::{Config, ConfigKey, Host, Kind, Labels, Str};
use prost::Name;

use crate::facts::{Fact, Policy, Service};
use crate::warnings::Warnings;
use crate::{destination_rule, gateway, mixer, security, service, service_entry, sidecar, virtual_service};

/// What is known of the objects of a mesh. One owner changes it; looking at an object costs a few look-ups for each name
/// that it mentions.
///
/// Memory: of each object what others are checked against (hosts, ports, labels, names), not the object.
#[derive(Debug)]
pub struct Known {
    /// Domain of the cluster, such as `cluster.local`.
    pub(crate) domain: Str,
    facts: BTreeMap<ConfigKey, Fact>,
    by_host: BTreeMap<(Kind, Host), BTreeSet<ConfigKey>>,
    synced: BTreeSet<Kind>,
    /// The labels of pods, once for all pods that have them.
    labels: BTreeSet<Arc<Labels>>,
}

// === impl Known ===

impl Known {
    /// Knows nothing yet. `domain` is that of the cluster's services, such as `cluster.local`.
    #[must_use]
    pub fn new(domain: impl Into<Str>) -> Self {
        Self {
            domain: domain.into(),
            facts: BTreeMap::new(),
            by_host: BTreeMap::new(),
            synced: BTreeSet::new(),
            labels: BTreeSet::new(),
        }
    }

    /// An object is new or has changed. Of Pods and Namespaces only the metadata is read.
    pub fn apply(&mut self, config: &Config) {
        let key = &config.meta.key;
        self.remove(key);
        let Some(mut fact) = Fact::of(config, &self.domain) else {
            return;
        };
        if let Fact::Pod(labels) = &mut fact {
            match self.labels.get(labels) {
                Some(shared) => *labels = Arc::clone(shared),
                None => {
                    self.labels.insert(Arc::clone(labels));
                }
            }
        }
        for host in fact.hosts() {
            let keys = self.by_host.entry((key.kind, host.clone())).or_default();
            keys.insert(key.clone());
        }
        self.facts.insert(key.clone(), fact);
    }

    /// An object is gone.
    pub fn remove(&mut self, key: &ConfigKey) {
        let Some(fact) = self.facts.remove(key) else {
            return;
        };
        // Held by this pod and by the set of all.
        if let Fact::Pod(labels) = &fact
            && Arc::strong_count(labels) <= 2
        {
            self.labels.remove(labels);
        }
        for host in fact.hosts() {
            let place = (key.kind, host.clone());
            if let Some(keys) = self.by_host.get_mut(&place) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_host.remove(&place);
                }
            }
        }
    }

    /// All objects of a kind are known, so that one which is not here does not exist.
    pub fn synced(&mut self, kind: Kind) {
        self.synced.insert(kind);
    }

    /// Objects of a kind may be missing, as those that may not be read: what is not here may exist all the same.
    pub fn incomplete(&mut self, kind: Kind) {
        self.synced.remove(&kind);
    }

    /// How many objects are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.by_host.is_empty() && self.labels.is_empty()
    }

    /// What is surely a mistake in an object that is about to be admitted: short lines, the most telling first, each
    /// with its field. At most [`crate::MAX_WARNINGS`].
    #[must_use]
    pub fn warnings(&self, config: &Config) -> Vec<String> {
        let mut warnings = Warnings::default();
        let out = &mut warnings;
        match config.meta.key.kind {
            Kind::VirtualService => decoded(config, |spec| virtual_service::check(self, config, spec, out)),
            Kind::DestinationRule => decoded(config, |spec| destination_rule::check(self, config, spec, out)),
            Kind::Gateway => decoded(config, |spec| gateway::check(self, config, spec, out)),
            Kind::ServiceEntry => decoded(config, |spec| service_entry::check(self, config, spec, out)),
            Kind::Sidecar => decoded(config, |spec| sidecar::check(self, config, spec, out)),
            Kind::Policy | Kind::MeshPolicy => {
                decoded(config, |spec| security::check_policy(self, config, spec, out));
            }
            Kind::ServiceRoleBinding => {
                decoded(config, |spec| security::check_binding(self, config, spec, out));
            }
            Kind::Rule => decoded(config, |spec| mixer::check(self, config, spec, out)),
            Kind::Service => decoded(config, |spec| service::check(self, config, spec, out)),
            _ => {}
        }
        warnings.into_lines()
    }

    /// Whether all objects of these kinds are known.
    pub(crate) fn knows_all(&self, kinds: &[Kind]) -> bool {
        kinds.iter().all(|kind| self.synced.contains(kind))
    }

    pub(crate) fn get(&self, key: &ConfigKey) -> Option<&Fact> {
        self.facts.get(key)
    }

    /// The objects of a kind.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ConfigKey, &Fact)> {
        let first = ConfigKey::new(kind, "", "");
        self.facts
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind)
    }

    /// The objects of a kind in a namespace.
    pub(crate) fn in_namespace<'a>(
        &'a self,
        kind: Kind,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a ConfigKey, &'a Fact)> + use<'a> {
        let first = ConfigKey::new(kind, namespace, "");
        let namespace = first.namespace.clone();
        self.facts
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
    }

    /// The objects of a kind with exactly this host, but for one.
    pub(crate) fn with_host<'a>(
        &'a self,
        kind: Kind,
        host: &Host,
        but: &'a ConfigKey,
    ) -> impl Iterator<Item = (&'a ConfigKey, &'a Fact)> {
        let keys = self.by_host.get(&(kind, host.clone())).into_iter().flatten();
        keys.filter(move |key| *key != but)
            .filter_map(|key| self.facts.get_key_value(key))
    }

    /// The objects of a kind whose host is this one, or a wildcard that covers it.
    pub(crate) fn covering(&self, kind: Kind, host: &Host) -> impl Iterator<Item = (&ConfigKey, &Fact)> {
        let name = host.as_str();
        let suffix = name.strip_prefix('*').unwrap_or(name);
        let from = usize::from(!host.is_wildcard());
        let wildcards = (from..=suffix.len())
            .filter(|&start| suffix.is_char_boundary(start))
            .map(|start| Host::new(format!("*{}", &suffix[start..])));
        let own = (!host.is_wildcard()).then(|| host.clone());
        let mut keys = BTreeSet::new();
        for host in own.into_iter().chain(wildcards) {
            keys.extend(self.by_host.get(&(kind, host)).into_iter().flatten());
        }
        keys.into_iter().filter_map(|key| self.facts.get_key_value(key))
    }

    /// The objects of a kind with a host that this one covers, or that covers it.
    pub(crate) fn overlapping<'a>(
        &'a self,
        kind: Kind,
        host: &'a Host,
    ) -> impl Iterator<Item = (&'a ConfigKey, &'a Fact)> {
        let below = host.is_wildcard().then(|| {
            let all = self.by_host.range((kind, Host::from(""))..);
            let all = all.take_while(move |((other, _), _)| *other == kind);
            all.filter(move |((_, own), _)| own.is_subset_of(host))
                .flat_map(|(_, keys)| keys)
                .filter_map(|key| self.facts.get_key_value(key))
        });
        self.covering(kind, host).chain(below.into_iter().flatten())
    }

    /// What can be called by a host, each with its object.
    pub(crate) fn services<'a>(
        &'a self,
        host: &'a Host,
    ) -> impl Iterator<Item = (&'a ConfigKey, &'a Service)> {
        let kinds = [Kind::Service, Kind::ServiceEntry].into_iter();
        kinds
            .flat_map(move |kind| self.overlapping(kind, host))
            .filter_map(|(key, fact)| match fact {
                Fact::Service(service) | Fact::Entry(service) => Some((key, service)),
                _ => None,
            })
    }

    /// Whether what is missing among the services does not exist.
    pub(crate) fn knows_services(&self) -> bool {
        self.knows_all(&[Kind::Service, Kind::ServiceEntry])
    }

    /// The labels of pods, of one namespace or of all.
    pub(crate) fn pods<'a>(&'a self, namespace: Option<&'a str>) -> impl Iterator<Item = &'a Labels> {
        let first = ConfigKey::new(Kind::Pod, namespace.unwrap_or_default(), "");
        self.facts
            .range(first..)
            .take_while(move |(key, _)| {
                key.kind == Kind::Pod && namespace.is_none_or(|namespace| &*key.namespace == namespace)
            })
            .filter_map(|(_, fact)| match fact {
                Fact::Pod(labels) => Some(&**labels),
                _ => None,
            })
    }

    /// Namespace and name of the Kubernetes service that a full name is of.
    pub(crate) fn kubernetes_name<'h>(&self, host: &'h Host) -> Option<(&'h str, &'h str)> {
        let suffix = format!(".svc.{}", self.domain);
        let (name, namespace) = host.as_str().strip_suffix(suffix.as_str())?.split_once('.')?;
        let is_one = !name.contains('*') && !namespace.contains('.');
        is_one.then_some((namespace, name))
    }

    /// The policy that decides about a service of Kubernetes: its own, that of its namespace, that of the mesh. Nothing
    /// where there is none, or where it is one for some ports only.
    pub(crate) fn policy(&self, namespace: &str, name: &str) -> Option<(&ConfigKey, &Policy)> {
        let own = self
            .in_namespace(Kind::Policy, namespace)
            .filter_map(|(key, fact)| match fact {
                Fact::Policy(policy) => Some((key, policy)),
                _ => None,
            });
        let mut of_namespace = None;
        for (key, policy) in own {
            match policy.targets.get(name) {
                Some(false) => return Some((key, policy)),
                Some(true) => return None,
                None if policy.targets.is_empty() => of_namespace = Some((key, policy)),
                None => {}
            }
        }
        of_namespace.or_else(|| {
            let key = ConfigKey::new(Kind::MeshPolicy, "", "default");
            match self.facts.get_key_value(&key)? {
                (key, Fact::Policy(policy)) => Some((key, policy)),
                _ => None,
            }
        })
    }
}

fn decoded<M: Name + Default>(config: &Config, look: impl FnOnce(&M)) {
    if let Ok(message) = config.decode() {
        look(&message);
    }
}
