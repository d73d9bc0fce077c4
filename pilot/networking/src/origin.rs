//! Why a resource exists: what it was made from, for people who ask and for finding out what a proxy cannot stand.

use mesh_config::{ConfigKey, Host};
use pilot_model::{DestinationRule, Versioned};

use crate::l4::Route;
use crate::name::OutboundCluster;

/// Something because of which a resource is as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// An object.
    Object(ConfigKey),
    /// The service that has this host, whichever object defines it.
    Host(Host),
}

// === impl Origin ===

impl Origin {
    /// The service that a cluster leads to; `None` for clusters that belong to no service.
    pub(crate) fn of_cluster(name: &str) -> Option<Self> {
        OutboundCluster::parse(name).map(|cluster| Self::Host(cluster.host))
    }

    /// What sends connections this way: a VirtualService, else the service.
    pub(crate) fn of_route(route: &Route) -> Vec<Self> {
        match &route.rule {
            Some(rule) => vec![Self::Object(rule.clone())],
            None => {
                let clusters = route.clusters.iter();
                clusters
                    .filter_map(|cluster| Self::of_cluster(&cluster.name))
                    .collect()
            }
        }
    }

    /// The rules of a service.
    pub(crate) fn of_rules(rules: &[Versioned<DestinationRule>]) -> impl Iterator<Item = Self> {
        rules.iter().map(|rule| Self::Object(rule.key.clone()))
    }
}
