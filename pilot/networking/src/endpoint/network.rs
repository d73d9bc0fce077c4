//! Endpoints in other networks are reached through the gateways of these (split horizon, P10.5).

use std::collections::BTreeMap;

use pilot_model::{EndpointAddress, NetworkTable};

use super::group::{Group, Member, bounded};

/// Puts gateways in the place of endpoints in other networks than `own`.
///
/// A gateway stands for the endpoints behind it, so it gets their share of the load, divided by the number of gateways
/// of its network. To divide without a remainder all weights grow by the same factor. What has no gateway is out of
/// reach and left out.
pub(super) fn split_horizon(groups: &mut Vec<Group<'_>>, networks: &NetworkTable, own: &str) {
    let factor = networks
        .gateway_counts()
        .filter(|count| *count > 0)
        .fold(1, |factor, count| least_common_multiple(factor, count as u64));
    for group in groups.iter_mut() {
        let mut members = Vec::new();
        let mut weights = Vec::new();
        let mut remote: BTreeMap<&str, u64> = BTreeMap::new();
        for member in group.members.drain(..) {
            if member.network == own {
                weights.push(member.exact_weight.saturating_mul(factor));
                members.push(member);
            } else {
                let share = remote.entry(member.network).or_default();
                *share = share.saturating_add(member.exact_weight);
            }
        }
        for (network, share) in remote {
            let gateways = networks.gateways(network);
            for gateway in gateways {
                weights.push(share.saturating_mul(factor) / gateways.len() as u64);
                members.push(Member {
                    address: EndpointAddress::Ip(*gateway),
                    weight: 1,
                    exact_weight: 1,
                    network,
                    uid: "",
                });
            }
        }
        for (member, weight) in members.iter_mut().zip(bounded(&weights)) {
            member.weight = weight;
        }
        group.members = members;
    }
    groups.retain(|group| !group.members.is_empty());
    let sums: Vec<u64> = groups
        .iter()
        .map(|group| group.members.iter().map(|member| u64::from(member.weight)).sum())
        .collect();
    for (group, sum) in groups.iter_mut().zip(bounded(&sums)) {
        group.weight = sum;
    }
}

/// Bounded: the number of gateways is what somebody writes.
fn least_common_multiple(a: u64, b: u64) -> u64 {
    const LARGEST: u64 = 1 << 20;

    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor).saturating_mul(b).min(LARGEST)
}
