//! Which virtual hosts a sidecar gets (P13.2).

mod common;
mod planner;

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_api::istio::mesh::v1alpha1::mesh_config::outbound_traffic_policy::Mode;
use mesh_config::Labels;
use pilot_model::{ScopedView, Warning};

use self::planner::Planner;
use super::domains::Domains;
use super::key::{Routes, VirtualHostInput, VirtualHostKey};
use crate::Features;
use crate::egress::{self, Ports, Reach};
use crate::name::PASSTHROUGH_CLUSTER;

/// The plan of one port.
#[derive(Clone, Debug)]
struct PortPlan {
    /// Sorted by name.
    virtual_hosts: Vec<VirtualHostKey>,
    /// Whether one of them takes every name.
    takes_all: bool,
    warnings: Vec<Warning>,
}

/// The virtual hosts of one route configuration, sorted by name: of all HTTP services that its listener imports, on the
/// port that is its name or on all.
pub(super) fn plan(
    view: &ScopedView,
    domain: &str,
    source_selectors: &[Labels],
    features: Features,
    name: &str,
    warnings: &mut Vec<Warning>,
) -> Vec<VirtualHostKey> {
    let Some(Reach { view, ports }) = egress::reach(view, name) else {
        return Vec::new();
    };
    let port = |port, port_only| {
        common::plan(view, domain, source_selectors, port, port_only)
            .unwrap_or_else(|| Planner::new(view, domain, source_selectors, port, port_only).plan())
    };
    let mut all = match ports {
        Ports::One(number) => port(number, false),
        Ports::All { unnamed } => all_ports(view, unnamed, port),
    };
    warnings.append(&mut all.warnings);
    if features.fallthrough_route && !all.takes_all {
        let fallthrough = fallthrough(view.mesh());
        let position = all
            .virtual_hosts
            .partition_point(|key| VirtualHostKey::by_name(key, &fallthrough).is_lt());
        all.virtual_hosts.insert(position, fallthrough);
    }
    all.virtual_hosts
}

/// `unnamed` is the port that callers need not write.
fn all_ports(view: &ScopedView, unnamed: u16, port: impl Fn(u16, bool) -> PortPlan) -> PortPlan {
    let mut numbers: Vec<u16> = view
        .http_ports()
        .chain(view.serviceless_hosts().keys().copied())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut all = PortPlan {
        virtual_hosts: Vec::new(),
        takes_all: false,
        warnings: Vec::new(),
    };
    for number in numbers {
        let mut plan = port(number, number != unnamed);
        all.virtual_hosts.append(&mut plan.virtual_hosts);
        all.warnings.append(&mut plan.warnings);
        all.takes_all |= plan.takes_all;
    }
    all.virtual_hosts.sort_by(VirtualHostKey::by_name);
    all
}

/// What becomes of requests to unknown hosts on a known port (`R-OB-2`).
fn fallthrough(mesh: &MeshConfig) -> VirtualHostKey {
    let mode = mesh
        .outbound_traffic_policy
        .as_ref()
        .map_or(Mode::AllowAny, |policy| policy.mode());
    let (name, routes) = match mode {
        Mode::AllowAny => ("allow_any", Routes::Cluster(PASSTHROUGH_CLUSTER.into())),
        Mode::RegistryOnly => ("block_all", Routes::Status(502)),
    };
    VirtualHostKey::new(VirtualHostInput {
        name: name.into(),
        domains: Domains::Any,
        require_tls: false,
        routes,
    })
}
