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
use crate::egress::{self, Ports, Reach};
use crate::name::PASSTHROUGH_CLUSTER;
use crate::{Features, name, service};

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
    let (mut all, pods) = match ports {
        Ports::One(number) => (port(number, false), pods_by_address(view, number)),
        Ports::All { unnamed } => (all_ports(view, unnamed, port), None),
    };
    warnings.append(&mut all.warnings);
    let rest = if all.takes_all {
        None
    } else if features.fallthrough_route {
        Some(fallthrough(view.mesh()))
    } else {
        pods
    };
    if let Some(fallthrough) = rest {
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

/// What becomes of requests to the addresses of pods, on a port on which headless services speak HTTP: their clients know
/// pods by nothing else. Whom an address belongs to is not asked, so it must not matter where traffic goes.
fn pods_by_address(view: &ScopedView, port: u16) -> Option<VirtualHostKey> {
    if policy(view.mesh()) == Mode::RegistryOnly {
        return None;
    }
    let mut headless = view
        .http_services(port)
        .filter(|service| service::is_headless(view, service));
    let first = headless.next()?;
    let is_only = headless.all(|other| other.id.host == first.id.host);
    let cluster = if is_only {
        name::outbound_cluster(port, "", &first.id.host)
    } else {
        PASSTHROUGH_CLUSTER.into()
    };
    Some(VirtualHostKey::new(VirtualHostInput {
        name: "pods".into(),
        domains: Domains::Any,
        require_tls: false,
        routes: Routes::Addresses(cluster),
    }))
}

/// What becomes of requests to unknown hosts on a known port (`R-OB-2`).
fn fallthrough(mesh: &MeshConfig) -> VirtualHostKey {
    let (name, routes) = match policy(mesh) {
        Mode::AllowAny => ("allow_any", Routes::Cluster(PASSTHROUGH_CLUSTER.into())),
        Mode::RegistryOnly => ("block_all", Routes::Blocked),
    };
    VirtualHostKey::new(VirtualHostInput {
        name: name.into(),
        domains: Domains::Any,
        require_tls: false,
        routes,
    })
}

fn policy(mesh: &MeshConfig) -> Mode {
    mesh.outbound_traffic_policy
        .as_ref()
        .map_or(Mode::AllowAny, |policy| policy.mode())
}
