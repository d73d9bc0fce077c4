//! Endpoints (P10).

mod build;
mod group;
mod locality;
mod network;
#[cfg(test)]
mod tests;

use mesh_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::Str;
use pilot_model::{
    DestinationRule, EndpointIndex, HostEndpoints, Locality, NetworkTable, ScopedView, Versioned,
};

pub(crate) use self::build::{address, belongs, resolved};
use crate::{Built, Generate, Origin, Vantage, destination, name};

/// Makes load assignments.
#[derive(Debug)]
pub struct Endpoints;

/// Everything that one load assignment depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    cluster: Str,
    /// What the cluster selects; `None` when there is no such cluster.
    selection: Option<Selection>,
}

/// The endpoints of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Selection {
    /// Those of the host.
    endpoints: Versioned<HostEndpoints>,
    /// The service port, by name: a target port can serve several (P10.2).
    port: Str,
    /// The rule that declares the subset, and the position of the subset in it.
    subset: Option<(Versioned<DestinationRule>, usize)>,
    /// The networks of the mesh and that of the proxy, when there are any.
    network: Option<(Versioned<NetworkTable>, Str)>,
    /// How load is balanced by locality, when it is.
    balance: Option<Balance>,
}

/// How load is balanced by locality.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Balance {
    /// The settings.
    mesh: Versioned<MeshConfig>,
    /// Where the proxy runs.
    locality: Locality,
    has_outlier_detection: bool,
}

// === impl Endpoints ===

impl Generate for Endpoints {
    type Key = EndpointKey;
    type Message = ClusterLoadAssignment;

    fn name(key: &EndpointKey) -> &str {
        &key.cluster
    }

    fn build(key: &EndpointKey) -> Built<ClusterLoadAssignment> {
        build::served(key).into()
    }

    fn origins(key: &EndpointKey) -> Vec<Origin> {
        let rule = key
            .selection
            .iter()
            .filter_map(|selection| selection.subset.as_ref());
        let rule = rule.map(|(rule, _)| Origin::Object(rule.key.clone()));
        Origin::of_cluster(&key.cluster).into_iter().chain(rule).collect()
    }
}

/// The key of the load assignment of an EDS cluster. A cluster that the view does not know gets no endpoints.
pub fn key(view: &ScopedView, endpoints: &EndpointIndex, cluster: &Str, vantage: &Vantage) -> EndpointKey {
    EndpointKey {
        cluster: cluster.clone(),
        selection: selection(view, endpoints, cluster, vantage),
    }
}

/// The host whose endpoints a load assignment of this name holds; `None` for names that no service has.
pub fn host(cluster: &str) -> Option<&str> {
    name::parse_outbound(cluster).map(|(_, _, host)| host)
}

fn selection(
    view: &ScopedView,
    endpoints: &EndpointIndex,
    cluster: &str,
    vantage: &Vantage,
) -> Option<Selection> {
    let (port, subset, host) = name::parse_outbound(cluster)?;
    let service = view.service(host)?;
    if !vantage.balances(service) {
        return None;
    }
    let rules = view.rules(service);
    let index = if subset.is_empty() {
        None
    } else {
        Some(destination::find_subset(rules?, subset)?)
    };
    let subset = match (rules, index) {
        (Some(rules), Some(index)) => Some((rules.get(index.rule)?.clone(), index.subset)),
        _ => None,
    };
    Some(Selection {
        endpoints: endpoints.get(host)?.clone(),
        port: service.port(port)?.name.clone(),
        subset,
        network: vantage.network.clone(),
        balance: vantage
            .served_locality()
            .and_then(|locality| balance(view, locality, rules.map_or(&[], |rules| rules), index, port)),
    })
}

/// `None` where the settings make no difference to the endpoints.
fn balance(
    view: &ScopedView,
    locality: &Locality,
    rules: &[Versioned<DestinationRule>],
    subset: Option<destination::SubsetIndex>,
    port: u16,
) -> Option<Balance> {
    let subset = subset.and_then(|index| index.get(rules));
    let has_outlier_detection = destination::policy(rules, subset, port)
        .outlier_detection
        .is_some();
    let setting = view.mesh().locality_lb_setting.as_ref();
    let distributes = setting.is_some_and(|setting| !setting.distribute.is_empty());
    (has_outlier_detection || distributes).then(|| Balance {
        mesh: view.mesh().clone(),
        locality: locality.clone(),
        has_outlier_detection,
    })
}
