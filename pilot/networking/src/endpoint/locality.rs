//! Load balancing by locality: fixed shares, or the nearest first (P10.6).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use mesh_api::istio::mesh::v1alpha1::LocalityLoadBalancerSetting;
use mesh_api::istio::mesh::v1alpha1::locality_load_balancer_setting::{Distribute, Failover};
use pilot_model::Locality;

use super::group::Group;

/// Shares by locality, or priorities where endpoints that fail are left out: else the nearest would get everything and
/// never lose it.
pub(super) fn apply(
    groups: &mut Vec<Group<'_>>,
    setting: Option<&LocalityLoadBalancerSetting>,
    proxy: &Locality,
    has_outlier_detection: bool,
) {
    let (distribute, failover) = setting.map_or((&[][..], &[][..]), |setting| {
        (setting.distribute.as_slice(), setting.failover.as_slice())
    });
    if !distribute.is_empty() {
        if let Some(shares) = distribute.iter().find(|shares| matches(&shares.from, proxy)) {
            share(groups, shares);
        }
    } else if has_outlier_detection {
        prioritize(groups, failover, proxy);
    }
}

/// Gives each pattern its percentage, split over the groups that it matches in proportion to their weights. A group
/// belongs to the most specific pattern that matches it; one that none matches loses its endpoints.
fn share(groups: &mut Vec<Group<'_>>, shares: &Distribute) {
    let mut patterns: Vec<(&str, u64)> = shares
        .to
        .iter()
        .map(|(pattern, percent)| (pattern.as_str(), u64::from(*percent)))
        .collect();
    patterns.sort_by_key(|(pattern, _)| (Reverse(specificity(pattern)), *pattern));

    let mut chosen: Vec<Option<usize>> = Vec::new();
    for group in groups.iter() {
        chosen.push(
            patterns
                .iter()
                .position(|(pattern, _)| matches(pattern, group.locality)),
        );
    }
    let mut totals = vec![0_u64; patterns.len()];
    for (group, pattern) in groups.iter().zip(&chosen) {
        if let Some(pattern) = pattern {
            totals[*pattern] += u64::from(group.weight);
        }
    }
    let mut chosen = chosen.into_iter();
    groups.retain_mut(|group| {
        let Some(pattern) = chosen.next().flatten() else {
            return false;
        };
        let share = (u64::from(group.weight) * patterns[pattern].1).div_ceil(totals[pattern].max(1));
        group.weight = u32::try_from(share).unwrap_or(u32::MAX);
        share > 0
    });
}

/// The nearest first: the same place, the same zone, the same region, where the region fails over to, elsewhere.
/// Priorities have no gaps: Envoy refuses those.
fn prioritize(groups: &mut [Group<'_>], failover: &[Failover], proxy: &Locality) {
    let target = failover.iter().find(|failover| *failover.from == *proxy.region);
    for group in groups.iter_mut() {
        let place = group.locality;
        let same_region = place.region == proxy.region;
        let same_zone = same_region && place.zone == proxy.zone;
        group.priority = if same_zone && place.sub_zone == proxy.sub_zone {
            0
        } else if same_zone {
            1
        } else if same_region {
            2
        } else if target.is_none_or(|target| *target.to == *place.region) {
            3
        } else {
            4
        };
    }
    let used: BTreeSet<u32> = groups.iter().map(|group| group.priority).collect();
    for group in groups.iter_mut() {
        let rank = used
            .iter()
            .take_while(|priority| **priority < group.priority)
            .count();
        group.priority = u32::try_from(rank).unwrap_or_default();
    }
}

/// Whether a place is in `region/zone/subzone`, of which the end may be `*` or absent.
fn matches(pattern: &str, place: &Locality) -> bool {
    let mut parts = pattern.splitn(3, '/');
    let mut is_part = |value: &str, required: bool| match parts.next() {
        Some("*") => true,
        None | Some("") => !required,
        Some(part) => part == value,
    };
    is_part(&place.region, true) && is_part(&place.zone, false) && is_part(&place.sub_zone, false)
}

/// How many parts of a place a pattern names.
fn specificity(pattern: &str) -> usize {
    pattern
        .split('/')
        .filter(|part| !part.is_empty() && *part != "*")
        .count()
}
