//! DestinationRules and how one is found for a host (P15.1, `R-DR-10`).

use std::collections::BTreeMap;

use mesh_api::istio::networking::v1alpha3::tls_settings::TlSmode;
use mesh_api::istio::networking::v1alpha3::traffic_policy::PortTrafficPolicy;
use mesh_api::istio::networking::v1alpha3::{self, TlsSettings, TrafficPolicy};
use mesh_config::{ConfigKey, Host, Meta, Str, Timestamp, most_specific_first};

use super::hold::HeldSubset;
use crate::{Rev, Versioned, Visibility};

/// A DestinationRule with its host resolved by its own namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationRule {
    /// Names the object.
    pub key: ConfigKey,
    /// When it was created.
    pub created: Timestamp,
    /// The host that it is about.
    pub host: Host,
    /// Who may see it.
    pub export_to: Visibility,
    /// Its content, as written.
    pub spec: v1alpha3::DestinationRule,
    /// Whether a proxy rejected it. Of `spec` only TLS and the labels of subsets are left then, and what it asks to be
    /// called under TLS must not be called at all.
    pub is_rejected: bool,
}

/// The rules of one namespace for one host, oldest first, never empty.
///
/// Subsets are the union; the first rule with a top-level policy gives it (`R-DR-11`, `A-18`).
pub type RuleChain = std::sync::Arc<[Versioned<DestinationRule>]>;

/// All DestinationRules, by namespace.
#[derive(Debug, Default)]
pub struct DestinationRuleTable {
    rev: Rev,
    /// What clients in the namespace itself see.
    own: BTreeMap<Str, NamespaceRules>,
    /// What everybody else sees.
    exported: BTreeMap<Str, NamespaceRules>,
    /// Whether any rule asks who answers.
    check_identities: bool,
    /// Subsets that stay although no rule declares them any more.
    held: Held,
}

/// The chains of hosts with held subsets, the subsets included. They come before all other chains for the host.
#[derive(Debug, Default)]
struct Held {
    subsets: Vec<HeldSubset>,
    /// For clients, by their namespace.
    own: BTreeMap<Str, BTreeMap<Host, RuleChain>>,
    /// For everybody else, by the namespace of the service.
    exported: BTreeMap<Str, BTreeMap<Host, RuleChain>>,
}

/// The rules of one namespace.
#[derive(Debug, Default)]
struct NamespaceRules {
    exact: BTreeMap<Host, RuleChain>,
    /// Most specific first.
    wildcard: Vec<(Host, RuleChain)>,
}

// === impl DestinationRule ===

impl DestinationRule {
    pub(super) fn new(
        meta: &Meta,
        spec: v1alpha3::DestinationRule,
        domain: &str,
        default: Visibility,
    ) -> Self {
        Self {
            key: meta.key.clone(),
            created: meta.created,
            host: Host::resolve(&spec.host, &meta.key.namespace, domain),
            export_to: Visibility::from_export_to(&spec.export_to, default),
            spec,
            is_rejected: false,
        }
    }

    /// What is left of the rule for a proxy that rejected it; `None` when nothing is.
    ///
    /// A rule that asks for TLS cannot just be left out: its callers would fall back to plain text.
    pub(super) fn rejected(&self) -> Option<Self> {
        let spec = v1alpha3::DestinationRule {
            traffic_policy: self.spec.traffic_policy.as_ref().map(only_tls),
            subsets: self
                .spec
                .subsets
                .iter()
                .map(|subset| v1alpha3::Subset {
                    traffic_policy: subset.traffic_policy.as_ref().map(only_tls),
                    ..subset.clone()
                })
                .collect(),
            ..self.spec.clone()
        };
        self.has_tls(|tls| tls.mode() != TlSmode::Disable).then(|| Self {
            spec,
            is_rejected: true,
            ..self.clone()
        })
    }

    /// Whether it declares a subset.
    pub(super) fn declares(&self, subset: &str) -> bool {
        self.spec.subsets.iter().any(|known| known.name == subset)
    }

    /// Whether callers check who answers (`ISTIO_MUTUAL`), at any port or in any subset.
    fn checks_identities(&self) -> bool {
        self.has_tls(|tls| tls.mode() == TlSmode::IstioMutual)
    }

    fn has_tls(&self, wanted: impl Fn(&TlsSettings) -> bool + Copy) -> bool {
        let in_policy = |policy: &TrafficPolicy| {
            let ports = policy.port_level_settings.iter();
            policy
                .tls
                .iter()
                .chain(ports.filter_map(|port| port.tls.as_ref()))
                .any(wanted)
        };
        let subsets = self.spec.subsets.iter();
        self.spec
            .traffic_policy
            .iter()
            .chain(subsets.filter_map(|subset| subset.traffic_policy.as_ref()))
            .any(in_policy)
    }
}

/// The part of a policy that is about TLS. A port that does not mention it has its default (`R-DR-2`).
fn only_tls(policy: &TrafficPolicy) -> TrafficPolicy {
    TrafficPolicy {
        tls: policy.tls.clone(),
        port_level_settings: policy
            .port_level_settings
            .iter()
            .map(|settings| PortTrafficPolicy {
                port: settings.port.clone(),
                tls: settings.tls.clone(),
                ..PortTrafficPolicy::default()
            })
            .collect(),
        ..TrafficPolicy::default()
    }
}

// === impl DestinationRuleTable ===

impl DestinationRuleTable {
    pub(super) fn new<'a>(
        rev: Rev,
        objects: impl IntoIterator<Item = &'a Versioned<DestinationRule>>,
    ) -> Self {
        let mut all: Vec<_> = objects.into_iter().collect();
        all.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
        let (mut own, mut exported) = (Grouped::new(), Grouped::new());
        for &rule in &all {
            own.entry(rule.key.namespace.clone())
                .or_default()
                .entry(rule.host.clone())
                .or_default()
                .push(rule.clone());
            if rule.export_to == Visibility::Public {
                let namespace = exported.entry(rule.key.namespace.clone()).or_default();
                namespace.entry(rule.host.clone()).or_default().push(rule.clone());
            }
        }
        Self {
            rev,
            check_identities: all.iter().any(|rule| rule.checks_identities()),
            own: namespaces(own),
            exported: namespaces(exported),
            held: Held::default(),
        }
    }

    /// The same table with subsets that stay behind what is declared now.
    #[must_use]
    pub(super) fn with_held(self, rev: Rev, root: &str, subsets: Vec<HeldSubset>) -> Self {
        if subsets.is_empty() {
            return self;
        }
        let mut held = Held::default();
        for subset in &subsets {
            let (host, namespace) = (&subset.rule.host, &subset.rule.key.namespace);
            let of_client = self.declared(Some(namespace), &subset.service, host, root);
            append(held.own.entry(namespace.clone()).or_default(), of_client, subset);
            if subset.is_exported(root) {
                let of_others = self.declared(None, &subset.service, host, root);
                append(
                    held.exported.entry(subset.service.clone()).or_default(),
                    of_others,
                    subset,
                );
            }
        }
        Self {
            rev,
            check_identities: self.check_identities
                || subsets.iter().any(|subset| subset.rule.checks_identities()),
            held: Held { subsets, ..held },
            ..self
        }
    }

    /// Changes when any rule does.
    pub fn rev(&self) -> Rev {
        self.rev
    }

    /// Whether any rule makes callers check who answers (`ISTIO_MUTUAL`).
    pub fn check_identities(&self) -> bool {
        self.check_identities
    }

    /// All rules.
    pub fn iter(&self) -> impl Iterator<Item = &Versioned<DestinationRule>> {
        let chains = self.own.values().flat_map(|rules| {
            let wildcard = rules.wildcard.iter().map(|(_, chain)| chain);
            rules.exact.values().chain(wildcard)
        });
        chains.flat_map(|chain| chain.iter())
    }

    /// The rules that a client in `client` follows when it calls `host`, a service of namespace `service`.
    ///
    /// First the client's own namespace, unless that is the root namespace; then what the service's namespace exports;
    /// then what the root namespace exports. In each the most specific host wins; hits are not merged.
    pub fn lookup(&self, client: &str, service: &str, host: &Host, root: &str) -> Option<&RuleChain> {
        let is_root = client == root;
        let held = (!is_root).then(|| self.held.own.get(client)?.get(host)).flatten();
        held.or_else(|| self.own(client).filter(|_| !is_root)?.lookup(host))
            .or_else(|| self.lookup_exported(service, host, root))
    }

    /// As [`Self::lookup`], for a client whose namespace has no rules.
    pub(crate) fn lookup_exported(&self, service: &str, host: &Host, root: &str) -> Option<&RuleChain> {
        let held = self.held.exported.get(service).and_then(|hosts| hosts.get(host));
        held.or_else(|| self.declared(None, service, host, root))
    }

    /// As [`Self::lookup`], without subsets that are only held; without a client, as for one whose namespace has no
    /// rules.
    pub(super) fn declared(
        &self,
        client: Option<&str>,
        service: &str,
        host: &Host,
        root: &str,
    ) -> Option<&RuleChain> {
        let own = client.filter(|client| *client != root);
        own.and_then(|client| self.own(client)?.lookup(host)).or_else(|| {
            [service, root]
                .into_iter()
                .find_map(|namespace| self.exported.get(namespace).and_then(|rules| rules.lookup(host)))
        })
    }

    /// The rules of one namespace for a host.
    pub(super) fn declared_in(&self, namespace: &str, host: &Host) -> Option<&RuleChain> {
        self.own(namespace)?.lookup(host)
    }

    /// Whether any rule that is about a host declares a subset, whoever sees it.
    pub(super) fn is_declared(&self, host: &Host, subset: &str) -> bool {
        let mut chains = self.own.values().flat_map(|rules| rules.covering(host));
        chains.any(|chain| chain.iter().any(|rule| rule.declares(subset)))
    }

    /// The subsets that are held.
    pub(super) fn held(&self) -> &[HeldSubset] {
        &self.held.subsets
    }

    /// Hosts for which clients in a namespace have rules of their own, exactly or by wildcard.
    pub(crate) fn own_hosts(&self, namespace: &str) -> impl Iterator<Item = &Host> {
        let declared = self.own(namespace).into_iter().flat_map(NamespaceRules::hosts);
        let held = self.held.own.get(namespace).into_iter().flat_map(BTreeMap::keys);
        declared.chain(held)
    }

    fn own(&self, namespace: &str) -> Option<&NamespaceRules> {
        self.own.get(namespace)
    }
}

/// Adds a held subset behind the other rules for its host, unless those declare one of that name.
fn append(chains: &mut BTreeMap<Host, RuleChain>, declared: Option<&RuleChain>, subset: &HeldSubset) {
    let host = &subset.rule.host;
    let chain = chains.get(host).or(declared).map_or(&[][..], |chain| chain);
    if !chain.iter().any(|rule| rule.declares(subset.name())) {
        let chain = chain.iter().chain([&subset.rule]).cloned().collect();
        chains.insert(host.clone(), chain);
    }
}

// === impl NamespaceRules ===

impl NamespaceRules {
    fn lookup(&self, host: &Host) -> Option<&RuleChain> {
        self.exact.get(host).or_else(|| {
            self.wildcard
                .iter()
                .find(|(pattern, _)| host.is_subset_of(pattern))
                .map(|(_, chain)| chain)
        })
    }

    /// All chains that are about a host.
    fn covering(&self, host: &Host) -> impl Iterator<Item = &RuleChain> {
        let wildcard = self
            .wildcard
            .iter()
            .filter(|(pattern, _)| host.is_subset_of(pattern));
        self.exact
            .get(host)
            .into_iter()
            .chain(wildcard.map(|(_, chain)| chain))
    }

    /// Hosts that the rules name, exactly or by wildcard.
    fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.exact
            .keys()
            .chain(self.wildcard.iter().map(|(host, _)| host))
    }
}

type Grouped = BTreeMap<Str, BTreeMap<Host, Vec<Versioned<DestinationRule>>>>;

fn namespaces(grouped: Grouped) -> BTreeMap<Str, NamespaceRules> {
    grouped
        .into_iter()
        .map(|(namespace, hosts)| {
            let mut rules = NamespaceRules::default();
            for (host, chain) in hosts {
                if host.is_wildcard() {
                    rules.wildcard.push((host, chain.into()));
                } else {
                    rules.exact.insert(host, chain.into());
                }
            }
            rules.wildcard.sort_by(|(a, _), (b, _)| most_specific_first(a, b));
            (namespace, rules)
        })
        .collect()
}
