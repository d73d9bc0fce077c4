//! The ports that probes ask (P4.2).

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::k8s::io::api::core::v1::{PodSpec, Probe};
use mesh_api::k8s::io::apimachinery::pkg::util::intstr::IntOrString;

/// The container of the proxy itself: its probes are none of the application's.
pub(super) const PROXY: &str = "istio-proxy";

/// The ports on which somebody outside asks the containers of a pod how they are.
///
/// `ports` are the container ports by name.
pub(super) fn management_ports(spec: &PodSpec, ports: &BTreeMap<String, u16>) -> BTreeSet<u16> {
    let sidecars = spec
        .init_containers
        .iter()
        .filter(|container| container.restart_policy() == "Always");
    let containers = spec.containers.iter().chain(sidecars);
    containers
        .filter(|container| container.name() != PROXY)
        .flat_map(|container| {
            [
                &container.liveness_probe,
                &container.readiness_probe,
                &container.startup_probe,
            ]
        })
        .flatten()
        .filter_map(|probe| port(probe, ports))
        .collect()
}

/// The port that a probe asks; `None` when it runs a command or asks somebody else.
fn port(probe: &Probe, ports: &BTreeMap<String, u16>) -> Option<u16> {
    let handler = probe.handler.as_ref()?;
    if let Some(http) = handler.http_get.as_ref().filter(|http| http.host().is_empty()) {
        return number(http.port.as_ref()?, ports);
    }
    if let Some(tcp) = handler.tcp_socket.as_ref().filter(|tcp| tcp.host().is_empty()) {
        return number(tcp.port.as_ref()?, ports);
    }
    handler.grpc.as_ref().and_then(|grpc| valid(grpc.port()))
}

fn number(port: &IntOrString, ports: &BTreeMap<String, u16>) -> Option<u16> {
    if port.str_val().is_empty() {
        valid(port.int_val())
    } else {
        ports.get(port.str_val()).copied()
    }
}

fn valid(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}
