//! Endpoints (P10).

use mesh_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_config::Str;
use pilot_model::{EndpointIndex, ScopedView};

use crate::{Built, Generate};

/// Makes load assignments.
#[derive(Debug)]
pub struct Endpoints;

/// Everything that one load assignment depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    cluster: Str,
}

// === impl Endpoints ===

impl Generate for Endpoints {
    type Key = EndpointKey;
    type Message = ClusterLoadAssignment;

    fn name(key: &EndpointKey) -> &str {
        &key.cluster
    }

    fn build(key: &EndpointKey) -> Built<ClusterLoadAssignment> {
        ClusterLoadAssignment { cluster_name: key.cluster.to_string(), ..ClusterLoadAssignment::default() }.into()
    }
}

/// The key of the load assignment of an EDS cluster. A cluster that the view does not know gets no endpoints.
pub fn key(_view: &ScopedView, _endpoints: &EndpointIndex, cluster: &Str) -> EndpointKey {
    EndpointKey { cluster: cluster.clone() }
}
