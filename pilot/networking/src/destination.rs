//! What DestinationRules say about one port of a service (`R-DR-1` to `R-DR-5`, `R-DR-11`).

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use mesh_api::istio::networking::v1alpha3::{
    ConnectionPoolSettings, LoadBalancerSettings, OutlierDetection, Subset, TlsSettings, TrafficPolicy,
    port_selector,
};
use pilot_model::{DestinationRule, Versioned, Warning, WarningKind};

/// The four components in force for one port. `None` means the default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Policy<'a> {
    pub(crate) load_balancer: Option<&'a LoadBalancerSettings>,
    pub(crate) connection_pool: Option<&'a ConnectionPoolSettings>,
    pub(crate) outlier_detection: Option<&'a OutlierDetection>,
    pub(crate) tls: Option<&'a TlsSettings>,
}

/// Where a subset stands in the rules for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SubsetIndex {
    pub(crate) rule: usize,
    pub(crate) subset: usize,
}

/// The policy in force for a port, in a subset when one is given.
///
/// Strongest first: port of the subset, subset, port of the service, service. A component that the port of the service
/// does not mention has its default, not the service's value (`R-DR-2`, `A-8`); one that the subset or its port does
/// not mention is inherited from the service (`R-DR-4`).
pub(crate) fn policy<'a>(
    rules: &'a [Versioned<DestinationRule>],
    subset: Option<&'a Subset>,
    port: u16,
) -> Policy<'a> {
    let service = rules.iter().find_map(|rule| rule.spec.traffic_policy.as_ref());
    let service = service.map(|policy| Policy::of_port(policy, port).unwrap_or_else(|| Policy::of(policy)));
    let subset = subset.and_then(|subset| subset.traffic_policy.as_ref());
    let subset = subset.map(|policy| Policy::of_port(policy, port).unwrap_or_else(|| Policy::of(policy)));
    subset.unwrap_or_default().or(service.unwrap_or_default())
}

/// The subsets of a host: the union over its rules; of two with the same name the older rule's (`R-DR-11`).
pub(crate) fn subsets(rules: &[Versioned<DestinationRule>]) -> impl Iterator<Item = (SubsetIndex, &Subset)> {
    let mut seen = BTreeSet::new();
    all_subsets(rules).filter(move |(_, subset)| seen.insert(subset.name.as_str()))
}

/// A subset by name.
pub(crate) fn find_subset(rules: &[Versioned<DestinationRule>], name: &str) -> Option<SubsetIndex> {
    all_subsets(rules)
        .find(|(_, subset)| subset.name == name)
        .map(|(index, _)| index)
}

/// One warning for each subset that [`subsets`] leaves out.
pub(crate) fn duplicate_subsets(rules: &[Versioned<DestinationRule>]) -> Vec<Warning> {
    let mut seen = BTreeSet::new();
    all_subsets(rules)
        .filter(|(_, subset)| !seen.insert(subset.name.as_str()))
        .filter_map(|(index, subset)| {
            let rule = rules.get(index.rule)?;
            Some(Warning {
                object: rule.key.clone(),
                kind: WarningKind::DuplicateSubset,
                reason: format!(
                    "subset {:?} of {} is declared before; this one is ignored",
                    subset.name, rule.host
                ),
            })
        })
        .collect()
}

fn all_subsets(rules: &[Versioned<DestinationRule>]) -> impl Iterator<Item = (SubsetIndex, &Subset)> {
    rules.iter().enumerate().flat_map(|(position, rule)| {
        let subsets = rule.spec.subsets.iter().enumerate();
        subsets.map(move |(subset, content)| {
            (
                SubsetIndex {
                    rule: position,
                    subset,
                },
                content,
            )
        })
    })
}

// === impl SubsetIndex ===

impl SubsetIndex {
    /// The subset. `None` when the index belongs to other rules.
    pub(crate) fn get(self, rules: &[Versioned<DestinationRule>]) -> Option<&Subset> {
        rules.get(self.rule)?.spec.subsets.get(self.subset)
    }
}

// === impl Policy ===

impl<'a> Policy<'a> {
    fn of(policy: &'a TrafficPolicy) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
        }
    }

    /// What the policy says about one port alone. Ports are selected by number only (P13.3).
    fn of_port(policy: &'a TrafficPolicy, port: u16) -> Option<Self> {
        let settings = policy.port_level_settings.iter().find(|settings| {
            let selector = settings.port.as_ref().and_then(|selector| selector.port.as_ref());
            matches!(selector, Some(port_selector::Port::Number(number)) if *number == u32::from(port))
        })?;
        Some(Self {
            load_balancer: settings.load_balancer.as_ref(),
            connection_pool: settings.connection_pool.as_ref(),
            outlier_detection: settings.outlier_detection.as_ref(),
            tls: settings.tls.as_ref(),
        })
    }

    /// Each component of `self`, or else of `fallback`.
    fn or(self, fallback: Self) -> Self {
        Self {
            load_balancer: self.load_balancer.or(fallback.load_balancer),
            connection_pool: self.connection_pool.or(fallback.connection_pool),
            outlier_detection: self.outlier_detection.or(fallback.outlier_detection),
            tls: self.tls.or(fallback.tls),
        }
    }
}
