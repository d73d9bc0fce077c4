//! Load assignments from their keys.

use std::collections::BTreeMap;

use mesh_api::envoy::config::core::v3::{Address, Locality as EnvoyLocality};
use mesh_api::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as EnvoyEndpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use mesh_api::istio::networking::v1alpha3::Subset;
use pilot_model::{Endpoint, EndpointAddress, Locality};

use super::EndpointKey;
use crate::envoy;

/// The largest weight that is sent; 1.1's Envoy accepted no larger one.
const MAX_WEIGHT: u64 = 128;

/// What a load assignment may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Addresses and sockets: Envoy rejects a host name that comes over EDS.
    Literal,
    /// Host names and addresses, in a cluster that resolves them.
    Resolved,
}

/// Whether an endpoint belongs to a subset.
pub(crate) fn belongs(endpoint: &Endpoint, subset: &Subset) -> bool {
    subset
        .labels
        .iter()
        .all(|(key, value)| endpoint.labels.get(key) == Some(value))
}

pub(super) fn endpoints(key: &EndpointKey) -> ClusterLoadAssignment {
    let Some(selection) = &key.selection else {
        return load_assignment(&key.cluster, std::iter::empty(), Names::Literal);
    };
    let subset = selection
        .subset
        .as_ref()
        .and_then(|(rule, index)| rule.spec.subsets.get(*index));
    let members = selection.endpoints.iter().filter(|endpoint| {
        endpoint.service_port == selection.port && subset.is_none_or(|subset| belongs(endpoint, subset))
    });
    load_assignment(&key.cluster, members, Names::Literal)
}

/// A load assignment: localities in order of their names, in each the endpoints in order of their addresses (P10.3).
///
/// Two registries may know the same address; it gets its share once.
pub(crate) fn load_assignment<'a>(
    cluster: &str,
    endpoints: impl Iterator<Item = &'a Endpoint>,
    names: Names,
) -> ClusterLoadAssignment {
    let mut localities: BTreeMap<&Locality, BTreeMap<&EndpointAddress, &Endpoint>> = BTreeMap::new();
    for endpoint in endpoints.filter(|endpoint| names.allow(&endpoint.address)) {
        localities
            .entry(&endpoint.locality)
            .or_default()
            .entry(&endpoint.address)
            .or_insert(endpoint);
    }

    let sums: Vec<u64> = localities
        .values()
        .map(|members| members.values().map(|endpoint| weight(endpoint)).sum())
        .collect();
    let sums = rescaled(&sums);
    let endpoints = localities
        .into_iter()
        .zip(sums)
        .map(|((locality, members), sum)| {
            let weights: Vec<u64> = members.values().map(|endpoint| weight(endpoint)).collect();
            LocalityLbEndpoints {
                locality: (!locality.is_empty()).then(|| envoy_locality(locality)),
                lb_endpoints: members
                    .values()
                    .zip(rescaled(&weights))
                    .map(|(endpoint, weight)| lb_endpoint(endpoint, weight))
                    .collect(),
                load_balancing_weight: Some(sum),
                ..LocalityLbEndpoints::default()
            }
        })
        .collect();
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints,
        ..ClusterLoadAssignment::default()
    }
}

fn lb_endpoint(endpoint: &Endpoint, weight: u32) -> LbEndpoint {
    let facts = [("network", &endpoint.network), ("uid", &endpoint.uid)];
    let facts: Vec<_> = facts.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(EnvoyEndpoint {
            address: Some(address(&endpoint.address)),
            ..EnvoyEndpoint::default()
        })),
        load_balancing_weight: Some(weight),
        metadata: (!facts.is_empty())
            .then(|| envoy::istio_metadata(facts.into_iter().map(|(key, value)| (key, value.to_string())))),
        ..LbEndpoint::default()
    }
}

/// The address of an endpoint.
pub(crate) fn address(address: &EndpointAddress) -> Address {
    match address {
        EndpointAddress::Ip(address) => envoy::socket_address(address.ip().to_string(), address.port()),
        EndpointAddress::Dns(name, port) => envoy::socket_address(&**name, *port),
        EndpointAddress::Unix(path) => envoy::unix_socket(path),
    }
}

fn envoy_locality(locality: &Locality) -> EnvoyLocality {
    EnvoyLocality {
        region: locality.region.to_string(),
        zone: locality.zone.to_string(),
        sub_zone: locality.sub_zone.to_string(),
    }
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
    weights
        .iter()
        .map(|weight| u32::try_from(scale(*weight)).unwrap_or(u32::MAX))
        .collect()
}

// === impl Names ===

impl Names {
    fn allow(self, address: &EndpointAddress) -> bool {
        match address {
            EndpointAddress::Ip(_) => true,
            EndpointAddress::Dns(..) => self == Self::Resolved,
            EndpointAddress::Unix(_) => self == Self::Literal,
        }
    }
}
