//! The endpoints of one locality on their way into a load assignment (P10.1, P10.3).

use std::collections::BTreeMap;

use pilot_model::{Endpoint, EndpointAddress, Locality};

/// The largest weight that is sent; 1.1's Envoy accepted no larger one.
const MAX_WEIGHT: u64 = 128;
/// What weights are scaled to where they are exact and only their sum must fit into what Envoy counts with.
const MAX_EXACT_SUM: u64 = 1 << 30;

/// The endpoints of one locality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group<'a> {
    pub(super) locality: &'a Locality,
    /// Sorted by address.
    pub(super) members: Vec<Member<'a>>,
    /// Its share of the load relative to the other groups of its priority.
    pub(super) weight: u32,
    /// 0 is used first.
    pub(super) priority: u32,
}

/// Where requests are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub(super) address: EndpointAddress,
    pub(super) weight: u32,
    /// Share of the load as it is written.
    pub(super) exact_weight: u64,
    /// The network that it is reachable in; empty is the local one.
    pub(super) network: &'a str,
    /// Workload id; empty when unknown.
    pub(super) uid: &'a str,
}

/// Groups endpoints, each with the network that it is in: localities in order of their names, in each the endpoints in
/// order of their addresses.
///
/// Two registries may know the same address; it gets its share once. Where a weight is too large, all of that level are
/// scaled (P10.3).
pub(super) fn group<'a>(endpoints: impl Iterator<Item = (&'a Endpoint, &'a str)>) -> Vec<Group<'a>> {
    let mut localities: BTreeMap<&Locality, BTreeMap<&EndpointAddress, (&Endpoint, &str)>> = BTreeMap::new();
    for (endpoint, network) in endpoints {
        localities
            .entry(&endpoint.locality)
            .or_default()
            .entry(&endpoint.address)
            .or_insert((endpoint, network));
    }
    let sums: Vec<u64> = localities
        .values()
        .map(|members| members.values().map(|(endpoint, _)| weight(endpoint)).sum())
        .collect();
    localities
        .into_iter()
        .zip(rescaled(&sums))
        .map(|((locality, members), sum)| {
            let weights: Vec<u64> = members.values().map(|(endpoint, _)| weight(endpoint)).collect();
            let members = members.into_values().zip(rescaled(&weights));
            Group {
                locality,
                members: members
                    .map(|((endpoint, network), scaled)| Member {
                        address: endpoint.address.clone(),
                        weight: scaled,
                        exact_weight: weight(endpoint),
                        network,
                        uid: &endpoint.uid,
                    })
                    .collect(),
                weight: sum,
                priority: 0,
            }
        })
        .collect()
}

/// Weights as they are, or scaled so that Envoy can add them up; none becomes 0.
pub(super) fn bounded(weights: &[u64]) -> Vec<u32> {
    let total = weights
        .iter()
        .fold(0_u64, |sum, weight| sum.saturating_add(*weight));
    if total <= MAX_EXACT_SUM {
        return weights.iter().map(|weight| saturated(*weight)).collect();
    }
    let scale = |weight: u64| u128::from(weight) * u128::from(MAX_EXACT_SUM) / u128::from(total);
    weights
        .iter()
        .map(|weight| u32::try_from(scale(*weight)).unwrap_or(u32::MAX).max(1))
        .collect()
}

fn weight(endpoint: &Endpoint) -> u64 {
    endpoint.weight.max(1).into()
}

/// Weights as they are, or all of them as shares of 128, rounded up, when one is larger than that.
fn rescaled(weights: &[u64]) -> Vec<u32> {
    let total: u64 = weights.iter().sum();
    let too_large = weights.iter().any(|weight| *weight > MAX_WEIGHT);
    let scale = |weight: u64| {
        if too_large {
            (weight * MAX_WEIGHT).div_ceil(total)
        } else {
            weight
        }
    };
    weights.iter().map(|weight| saturated(scale(*weight))).collect()
}

fn saturated(weight: u64) -> u32 {
    u32::try_from(weight).unwrap_or(u32::MAX)
}
