//! TLS and TCP rules of VirtualServices: which of them hold at a place, and where they lead (§5.13 to §5.15).
//!
//! Sidecars and gateways turn the same rules into filter chains. [`tls_rules`] and [`tcp_rules`] say which rules hold as
//! far as that is known before there is a connection; [`first_match`] turns their order into chains that Envoy, which
//! knows no order, cannot confuse.

mod first_match;
mod select;
mod server_name;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ipnet::IpNet;
use mesh_config::{ConfigKey, Str};

pub(crate) use self::first_match::first_match;
pub(crate) use self::select::{named_ports, tcp_rules, tls_rules};
pub(crate) use self::server_name::ServerName;

/// One match of one rule, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule<R = Arc<Route>> {
    /// The names that clients announce in their TLS handshake, any of them; empty when that does not matter.
    pub(crate) server_names: Vec<ServerName>,
    /// The addresses that they connect to, any of them; empty when that does not matter.
    pub(crate) ranges: Vec<IpNet>,
    pub(crate) route: R,
}

/// Where connections go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    /// The VirtualService that says so; `None` where a service is reached without any.
    pub(crate) rule: Option<ConfigKey>,
    /// Never empty.
    pub(crate) clusters: Vec<WeightedCluster>,
    /// Whether one of the clusters forwards to the address that was asked for.
    pub(crate) is_passthrough: bool,
}

/// A cluster and the part of the connections that it gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WeightedCluster {
    pub(crate) name: Str,
    /// At least 1.
    pub(crate) weight: u32,
}

// === impl Rule ===

impl<R> Rule<R> {
    /// Whether it holds for every connection.
    pub(crate) fn catches_all(&self) -> bool {
        self.server_names.is_empty() && self.ranges.is_empty()
    }
}

// === impl Route ===

impl Route {
    /// Everything to one cluster, without any rule.
    pub(crate) fn to_cluster(cluster: Str, is_passthrough: bool) -> Self {
        Self {
            rule: None,
            clusters: vec![WeightedCluster {
                name: cluster,
                weight: 1,
            }],
            is_passthrough,
        }
    }
}
