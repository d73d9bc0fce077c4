//! Endpoints (P10).

mod build;
#[cfg(test)]
mod tests;

use mesh_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_config::Str;
use pilot_model::{DestinationRule, EndpointIndex, HostEndpoints, Resolution, ScopedView, Versioned};

pub(crate) use self::build::{Names, address, belongs, load_assignment};
use crate::{Built, Generate, destination, name};

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
}

// === impl Endpoints ===

impl Generate for Endpoints {
    type Key = EndpointKey;
    type Message = ClusterLoadAssignment;

    fn name(key: &EndpointKey) -> &str {
        &key.cluster
    }

    fn build(key: &EndpointKey) -> Built<ClusterLoadAssignment> {
        build::endpoints(key).into()
    }
}

/// The key of the load assignment of an EDS cluster. A cluster that the view does not know gets no endpoints.
pub fn key(view: &ScopedView, endpoints: &EndpointIndex, cluster: &Str) -> EndpointKey {
    EndpointKey {
        cluster: cluster.clone(),
        selection: selection(view, endpoints, cluster),
    }
}

/// The host whose endpoints a load assignment of this name holds; `None` for names that no service has.
pub fn host(cluster: &str) -> Option<&str> {
    name::parse_outbound(cluster).map(|(_, _, host)| host)
}

fn selection(view: &ScopedView, endpoints: &EndpointIndex, cluster: &str) -> Option<Selection> {
    let (port, subset, host) = name::parse_outbound(cluster)?;
    let service = view.service(host)?;
    if service.resolution != Resolution::ClientSide {
        return None;
    }
    let subset = if subset.is_empty() {
        None
    } else {
        let rules = view.rules(service)?;
        let index = destination::find_subset(rules, subset)?;
        Some((rules.get(index.rule)?.clone(), index.subset))
    };
    Some(Selection {
        endpoints: endpoints.get(host)?.clone(),
        port: service.port(port)?.name.clone(),
        subset,
    })
}
