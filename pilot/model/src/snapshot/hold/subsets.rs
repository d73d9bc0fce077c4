//! Subsets that left while a VirtualService in force leads to them.

use mesh_api::istio::networking::v1alpha3::traffic_policy::PortTrafficPolicy;
use mesh_api::istio::networking::v1alpha3::{self, PortSelector, Subset, TrafficPolicy};
use mesh_config::{ConfigKey, Host, Str};

use super::{Declared, Holds};
use crate::snapshot::builder::advance;
use crate::snapshot::{DestinationRule, DestinationRuleTable};
use crate::{ChangeSet, Rev, Versioned, Visibility};

/// Names a held subset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SubsetId {
    /// The rule that declared it.
    pub(super) rule: ConfigKey,
    /// The host that routes name; the rule may be about a wildcard over it.
    pub(super) host: Host,
    /// Its name.
    pub(super) subset: Str,
}

/// A subset that stays.
#[derive(Clone, Debug)]
pub(in crate::snapshot) struct HeldSubset {
    /// What is left of the rule that declared it: the subset under its whole former policy.
    pub(in crate::snapshot) rule: Versioned<DestinationRule>,
    /// Namespace of the service.
    pub(in crate::snapshot) service: Str,
}

// === impl Holds ===

impl Holds {
    pub(super) fn settle_subsets(
        &mut self,
        declared: &Declared<'_>,
        in_force: Option<&DestinationRuleTable>,
        changes: &mut ChangeSet,
        rev: &mut Rev,
    ) -> bool {
        let before = self.subsets.len();
        let named = &self.named;
        self.subsets.retain(|id, held| {
            let stays = named.contains(&id.host, &id.subset) && held.is_needed(declared);
            if !stays {
                changes.configs.insert(id.rule.clone());
            }
            stays
        });
        let mut changed = self.subsets.len() != before;

        let former = std::mem::take(&mut self.former_rules);
        let Some(in_force) = in_force else {
            return changed;
        };
        for (key, rule) in former.into_iter().filter_map(|(key, rule)| Some((key, rule?))) {
            for host in self.named.hosts_under(&rule.host) {
                let Some(service) = declared.services.by_host(host.as_str()).next() else {
                    continue;
                };
                let service = &service.id.namespace;
                let subsets = rule.spec.subsets.iter();
                for subset in subsets.filter(|subset| self.named.contains(host, &subset.name)) {
                    let id = SubsetId {
                        rule: key.clone(),
                        host: host.clone(),
                        subset: subset.name.as_str().into(),
                    };
                    if self.subsets.contains_key(&id) || !was_in_force(in_force, &id, service, declared.root)
                    {
                        continue;
                    }
                    let rule = remainder(&rule, &id.host, subset, in_force);
                    let held = HeldSubset {
                        rule: Versioned::new(advance(rev), rule),
                        service: service.clone(),
                    };
                    if held.is_needed(declared) {
                        self.subsets.insert(id, held);
                        changes.configs.insert(key.clone());
                        changed = true;
                    }
                }
            }
        }
        if changed {
            advance(rev);
        }
        changed
    }
}

/// Whether calls followed the rule for a subset, from its own namespace or from elsewhere.
fn was_in_force(in_force: &DestinationRuleTable, id: &SubsetId, service: &str, root: &str) -> bool {
    let own = in_force.lookup(&id.rule.namespace, service, &id.host, root);
    let exported = in_force.lookup_exported(service, &id.host, root);
    [own, exported].into_iter().flatten().any(|chain| {
        let declares = |rule: &&Versioned<DestinationRule>| rule.declares(&id.subset);
        chain
            .iter()
            .find(declares)
            .is_some_and(|rule| rule.key == id.rule)
    })
}

/// What is left of a rule of which only one subset, for one host, stays.
fn remainder(
    rule: &DestinationRule,
    host: &Host,
    subset: &Subset,
    in_force: &DestinationRuleTable,
) -> DestinationRule {
    // Of the rules of a namespace for one host, the first with a policy gives it.
    let chain = in_force.declared_in(&rule.key.namespace, host);
    let first = chain.and_then(|chain| chain.iter().find(|rule| rule.spec.traffic_policy.is_some()));
    let general = rule.spec.traffic_policy.as_ref();
    let general = general.filter(|_| first.is_some_and(|first| first.key == rule.key));
    DestinationRule {
        host: host.clone(),
        spec: v1alpha3::DestinationRule {
            host: host.as_str().to_owned(),
            traffic_policy: None,
            subsets: vec![Subset {
                traffic_policy: merged(subset.traffic_policy.as_ref(), general),
                ..subset.clone()
            }],
            export_to: rule.spec.export_to.clone(),
        },
        ..rule.clone()
    }
}

/// The policy of a subset together with what it inherits of the policy of the service.
fn merged(own: Option<&TrafficPolicy>, general: Option<&TrafficPolicy>) -> Option<TrafficPolicy> {
    let (Some(own), Some(general)) = (own, general) else {
        return own.or(general).cloned();
    };
    let merged = |port: Option<&PortSelector>| {
        let (own, general) = (settings(own, port), settings(general, port));
        PortTrafficPolicy {
            port: port.cloned(),
            load_balancer: own.load_balancer.or(general.load_balancer),
            connection_pool: own.connection_pool.or(general.connection_pool),
            outlier_detection: own.outlier_detection.or(general.outlier_detection),
            tls: own.tls.or(general.tls),
        }
    };
    let mut ports: Vec<&PortSelector> = Vec::new();
    for settings in own.port_level_settings.iter().chain(&general.port_level_settings) {
        let port = settings.port.as_ref();
        ports.extend(port.filter(|port| !ports.contains(port)));
    }
    let whole = merged(None);
    Some(TrafficPolicy {
        load_balancer: whole.load_balancer,
        connection_pool: whole.connection_pool,
        outlier_detection: whole.outlier_detection,
        tls: whole.tls,
        port_level_settings: ports.into_iter().map(|port| merged(Some(port))).collect(),
    })
}

/// What a policy says about a port, which is what it says about all of them unless it mentions that one.
fn settings(policy: &TrafficPolicy, port: Option<&PortSelector>) -> PortTrafficPolicy {
    let mut mentioned = policy.port_level_settings.iter();
    let own = mentioned.find(|settings| port.is_some() && settings.port.as_ref() == port);
    own.cloned().unwrap_or_else(|| PortTrafficPolicy {
        port: port.cloned(),
        load_balancer: policy.load_balancer.clone(),
        connection_pool: policy.connection_pool,
        outlier_detection: policy.outlier_detection,
        tls: policy.tls.clone(),
    })
}

// === impl HeldSubset ===

impl HeldSubset {
    /// Its name.
    pub(in crate::snapshot) fn name(&self) -> &str {
        let subset = self.rule.spec.subsets.first();
        subset.map(|subset| subset.name.as_str()).unwrap_or_default()
    }

    /// Whether callers outside of the rule's namespace follow it.
    pub(in crate::snapshot) fn is_exported(&self, root: &str) -> bool {
        let namespace = &self.rule.key.namespace;
        self.rule.export_to == Visibility::Public && (*namespace == self.service || **namespace == *root)
    }

    /// Whether the subset is declared nowhere that those look who looked at its rule, while its service exists.
    fn is_needed(&self, declared: &Declared<'_>) -> bool {
        let host = &self.rule.host;
        let mut services = declared.services.by_host(host.as_str());
        if !services.any(|service| service.id.namespace == self.service) {
            return false;
        }
        let lacks = |client: Option<&str>| {
            let chain = declared
                .rules
                .declared(client, &self.service, host, declared.root);
            !chain.is_some_and(|chain| chain.iter().any(|rule| rule.declares(self.name())))
        };
        lacks(Some(&*self.rule.key.namespace)) || (self.is_exported(declared.root) && lacks(None))
    }
}
