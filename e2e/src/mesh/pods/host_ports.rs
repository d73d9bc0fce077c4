//! What a pod has of its node: the whole network (`hostNetwork`), or ports (`hostPort`) (pure).

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod};

use crate::mesh::ipam;

/// A port of the node that belongs to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub(crate) protocol: String,
    /// The address of the node at which it is; all of them if unspecified.
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: u16,
    /// The port of the pod that it leads to.
    pub(crate) container_port: u16,
}

/// Whether a pod is in the network of its node.
pub(crate) fn is_on_host(pod: &Pod) -> bool {
    let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network);
    host_network.unwrap_or_default()
}

/// The ports of the node that belong to a pod. In the network of the node those are all that its containers have.
///
/// # Errors
/// What the API server would refuse, or what the node of a mesh does not have, naming container and port.
pub(crate) fn host_ports(pod: &Pod) -> Result<Vec<HostPort>, String> {
    let on_host = is_on_host(pod);
    let mut ports: Vec<HostPort> = Vec::new();
    for container in pod.spec.iter().flat_map(|spec| {
        let sidecars = spec.init_containers.iter().flatten();
        sidecars
            .filter(|container| lasts(container))
            .chain(&spec.containers)
    }) {
        for port in container.ports.iter().flatten() {
            let named = |reason: String| {
                format!(
                    "container {}: port {}: {reason}",
                    container.name, port.container_port
                )
            };
            let Some(port) = host_port(port, on_host).map_err(named)? else {
                continue;
            };
            if ports
                .iter()
                .any(|other| (&other.protocol, other.ip, other.port) == (&port.protocol, port.ip, port.port))
            {
                return Err(named(format!("hostPort {}/{} twice", port.port, port.protocol)));
            }
            ports.push(port);
        }
    }
    Ok(ports)
}

/// Whether an init container runs as long as the pod.
fn lasts(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn host_port(port: &ContainerPort, on_host: bool) -> Result<Option<HostPort>, String> {
    let number = |number: i32| {
        u16::try_from(number)
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| format!("{number} is no port"))
    };
    let asked = port.host_port.filter(|asked| *asked != 0);
    let asked = match (asked, on_host) {
        (None, false) => return Ok(None),
        (None, true) => port.container_port,
        (Some(asked), true) if asked != port.container_port => {
            return Err(format!(
                "hostPort {asked} must be the same, since hostNetwork is true"
            ));
        }
        (Some(asked), _) => asked,
    };
    let ip = match port.host_ip.as_deref().filter(|ip| !ip.is_empty()) {
        None => Ipv4Addr::UNSPECIFIED,
        Some(ip) => ip
            .parse()
            .map_err(|_| format!("hostIP {ip} is no IPv4 address"))?,
    };
    if !on_host && !ip.is_unspecified() && ip != ipam::NODE {
        return Err(format!(
            "hostIP {ip}: the node leads to pods at {} alone",
            ipam::NODE
        ));
    }
    Ok(Some(HostPort {
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        ip,
        port: number(asked)?,
        container_port: number(port.container_port)?,
    }))
}

// === impl HostPort ===

impl HostPort {
    /// Whether one node cannot have both.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let same_address = self.ip == other.ip || self.ip.is_unspecified() || other.ip.is_unspecified();
        (&self.protocol, self.port) == (&other.protocol, other.port) && same_address
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(spec: &Value) -> Result<Vec<HostPort>, String> {
        host_ports(&serde_json::from_value(json!({ "metadata": {"name": "a"}, "spec": spec })).unwrap())
    }

    #[test]
    fn in_the_network_of_the_node_every_port_is_one_of_the_node() {
        let containers = json!([{"name": "a", "ports": [
            {"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 81, "hostPort": 81}]}]);
        let numbers = |ports: Vec<HostPort>| ports.iter().map(|port| port.port).collect::<Vec<_>>();
        let own = of(&json!({ "containers": containers })).unwrap();
        assert_eq!(numbers(own), [81]);
        let host = of(&json!({ "hostNetwork": true, "containers": containers })).unwrap();
        assert_eq!(host[1].protocol, "UDP");
        assert_eq!(numbers(host), [80, 53, 81]);
    }

    #[test]
    fn ports_of_sidecars_count_and_those_of_what_ends_before_do_not() {
        let port = json!([{"containerPort": 80, "hostPort": 8080}]);
        let spec = json!({
            "initContainers": [{"name": "init", "ports": port}, {"name": "sidecar", "ports": port, "restartPolicy": "Always"}],
            "containers": []
        });
        let ports = of(&spec).unwrap();
        assert_eq!(
            (ports.len(), ports[0].port, ports[0].container_port),
            (1, 8080, 80)
        );
    }

    #[test]
    fn what_cannot_be_is_named() {
        let spec = |on_host: bool, ports: Value| json!({"hostNetwork": on_host, "containers": [{"name": "a", "ports": ports}]});
        for (spec, want) in [
            (
                spec(true, json!([{"containerPort": 80, "hostPort": 8080}])),
                "container a: port 80: hostPort 8080 must be the same, since hostNetwork is true",
            ),
            (
                spec(true, json!([{"containerPort": 80}, {"containerPort": 80}])),
                "container a: port 80: hostPort 80/TCP twice",
            ),
            (
                spec(false, json!([{"containerPort": 80, "hostPort": 70000}])),
                "container a: port 80: 70000 is no port",
            ),
            (
                spec(
                    false,
                    json!([{"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"}]),
                ),
                "container a: port 80: hostIP 127.0.0.1: the node leads to pods at 10.44.0.1 alone",
            ),
        ] {
            assert_eq!(of(&spec).unwrap_err(), want);
        }
    }

    #[test]
    fn one_port_at_two_addresses_or_of_two_protocols_is_no_conflict() {
        let port = |protocol: &str, ip: [u8; 4]| HostPort {
            protocol: protocol.to_owned(),
            ip: ip.into(),
            port: 80,
            container_port: 80,
        };
        let all = port("TCP", [0, 0, 0, 0]);
        let (one, other) = (port("TCP", [10, 44, 0, 1]), port("TCP", [10, 45, 0, 53]));
        assert!(all.conflicts(&one) && other.conflicts(&all) && one.conflicts(&one));
        assert!(!one.conflicts(&other) && !all.conflicts(&port("UDP", [0, 0, 0, 0])));
    }
}
