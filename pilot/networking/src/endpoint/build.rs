//! Load assignments from their keys.

use mesh_api::envoy::config::core::v3::{Address, Locality as EnvoyLocality};
use mesh_api::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as EnvoyEndpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use mesh_api::istio::mesh::v1alpha1::LocalityLoadBalancerSetting;
use mesh_api::istio::networking::v1alpha3::Subset;
use pilot_model::{Endpoint, EndpointAddress, Locality};

use super::group::{Group, Member, group};
use super::{EndpointKey, Selection, locality, network};
use crate::envoy;

/// Whether an endpoint belongs to a subset.
pub(crate) fn belongs(endpoint: &Endpoint, subset: &Subset) -> bool {
    subset
        .labels
        .iter()
        .all(|(key, value)| endpoint.labels.get(key) == Some(value))
}

/// The load assignment of an EDS cluster.
pub(super) fn served(key: &EndpointKey) -> ClusterLoadAssignment {
    let mut groups = key.selection.as_ref().map_or_else(Vec::new, selected);
    if let Some(selection) = &key.selection {
        if let Some((networks, own)) = &selection.network {
            network::split_horizon(&mut groups, networks, own);
        }
        if let Some(balance) = &selection.balance {
            locality::apply(
                &mut groups,
                balance.mesh.locality_lb_setting.as_ref(),
                &balance.locality,
                balance.has_outlier_detection,
            );
        }
    }
    load_assignment(&key.cluster, groups)
}

/// The load assignment of a cluster that resolves names. `balance` is the setting for load balancing by locality,
/// where the proxy runs, and whether endpoints that fail are left out.
pub(crate) fn resolved<'a>(
    cluster: &str,
    endpoints: impl Iterator<Item = &'a Endpoint>,
    balance: Option<(&LocalityLoadBalancerSetting, &Locality, bool)>,
) -> ClusterLoadAssignment {
    // A socket has no name to resolve.
    let endpoints = endpoints.filter(|endpoint| match &endpoint.address {
        EndpointAddress::Ip(_) => true,
        EndpointAddress::Dns(name, _) => !name.is_empty(),
        EndpointAddress::Unix(_) => false,
    });
    let mut groups = group(endpoints.map(|endpoint| (endpoint, &*endpoint.network)));
    if let Some((setting, place, has_outlier_detection)) = balance {
        locality::apply(&mut groups, Some(setting), place, has_outlier_detection);
    }
    load_assignment(cluster, groups)
}

/// The endpoints that a cluster selects, with the networks that they are in.
fn selected(selection: &Selection) -> Vec<Group<'_>> {
    let subset = selection
        .subset
        .as_ref()
        .and_then(|(rule, index)| rule.spec.subsets.get(*index));
    let is_member = |endpoint: &Endpoint| {
        // Envoy rejects a host name that comes over EDS.
        endpoint.service_port == selection.port
            && !matches!(endpoint.address, EndpointAddress::Dns(..))
            && subset.is_none_or(|subset| belongs(endpoint, subset))
    };
    let network = |registry: &str, endpoint: &Endpoint| match &selection.network {
        Some((networks, _)) if endpoint.network.is_empty() => networks
            .of_endpoint(registry, endpoint.address.ip())
            .map(|name| &**name),
        _ => None,
    };
    let endpoints = selection.endpoints.shards().iter().flat_map(|(registry, shard)| {
        shard
            .iter()
            .filter(|endpoint| is_member(endpoint))
            .map(move |endpoint| (endpoint, network(registry, endpoint).unwrap_or(&endpoint.network)))
    });
    group(endpoints)
}

fn load_assignment(cluster: &str, groups: Vec<Group<'_>>) -> ClusterLoadAssignment {
    let endpoints = groups.into_iter().map(|group| LocalityLbEndpoints {
        locality: (!group.locality.is_empty()).then(|| envoy_locality(group.locality)),
        lb_endpoints: group.members.iter().map(lb_endpoint).collect(),
        load_balancing_weight: Some(group.weight),
        priority: group.priority,
        ..LocalityLbEndpoints::default()
    });
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: endpoints.collect(),
        ..ClusterLoadAssignment::default()
    }
}

fn lb_endpoint(member: &Member<'_>) -> LbEndpoint {
    let facts = [("network", member.network), ("uid", member.uid)];
    let facts: Vec<_> = facts.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(EnvoyEndpoint {
            address: Some(address(&member.address)),
            ..EnvoyEndpoint::default()
        })),
        load_balancing_weight: Some(member.weight),
        metadata: (!facts.is_empty())
            .then(|| envoy::istio_metadata(facts.into_iter().map(|(key, value)| (key, envoy::text(value))))),
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
