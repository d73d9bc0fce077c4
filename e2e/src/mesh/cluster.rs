//! What the cluster looks like from outside of its pods: services, endpoints, names, rules, objects (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateWaiting, ContainerStatus, Endpoints, Namespace,
    Node, NodeAddress, NodeStatus, Pod, PodCondition, PodIP, PodStatus, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use super::dns::Zone;
use super::endpoints::{Backend, NODE_NAME, endpoints, ready_addresses, ready_targets};
use super::ipam;
use super::objects::{Key, Objects};
use super::pods;
use super::pods::{host_ports, is_on_host};
use super::proxy_rules::ForwardRule;

/// A pod as the cluster sees it.
#[derive(Clone, Debug)]
pub(crate) struct RunningPod<'a> {
    /// Specification with current labels and the pod's uid.
    pub(crate) pod: Pod,
    pub(crate) address: Ipv4Addr,
    pub(crate) status: &'a pods::PodStatus,
    /// It is being ended.
    pub(crate) leaving: bool,
}

/// Services with their addresses and what stands behind them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cluster {
    pub(crate) services: BTreeMap<Key, Service>,
    pub(crate) endpoints: BTreeMap<Key, Endpoints>,
    /// Ports of the node that lead to pods.
    host_ports: Vec<ForwardRule>,
}

// === impl Cluster ===

impl Cluster {
    /// Gives services their addresses and finds their pods.
    pub(crate) fn compute(objects: &Objects, pods: &[RunningPod<'_>]) -> Self {
        let fixed: BTreeSet<Ipv4Addr> = objects.services.values().filter_map(address).collect();
        let asking = objects
            .services
            .iter()
            .filter(|(_, service)| wants_address(service));
        let addresses =
            ipam::service_addresses(asking.map(|((ns, name), _)| (ns.as_str(), name.as_str())), &fixed);
        let living = || {
            pods.iter().filter(|pod| {
                !pod.leaving && matches!(pod.status.phase, pods::Phase::Pending | pods::Phase::Running)
            })
        };
        let backends: Vec<Backend<'_>> = living()
            .map(|pod| Backend {
                pod: &pod.pod,
                address: pod.address,
                ready: pod.status.ready,
            })
            .collect();
        let mut cluster = Self {
            endpoints: objects.endpoints.clone(),
            host_ports: living().flat_map(host_port_rules).collect(),
            ..Self::default()
        };
        for (key, service) in &objects.services {
            let mut service = service.clone();
            if let Some(address) = addresses.get(key) {
                let spec = service.spec.get_or_insert_default();
                spec.cluster_ip = Some(address.to_string());
                spec.cluster_ips = Some(vec![address.to_string()]);
            }
            if let Some(endpoints) = endpoints(&service, &backends) {
                cluster.endpoints.insert(key.clone(), endpoints);
            }
            cluster.services.insert(key.clone(), service);
        }
        cluster
    }

    /// What DNS answers.
    pub(crate) fn zone(&self) -> Zone {
        let mut zone = Zone::default();
        for (key @ (namespace, name), service) in &self.services {
            let spec = service.spec.as_ref();
            if let Some(target) = spec.and_then(|spec| spec.external_name.as_deref())
                && spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName")
            {
                zone.insert_alias(namespace, name, target);
                continue;
            }
            let addresses = match address(service) {
                Some(address) => vec![address],
                None => self.endpoints.get(key).map(ready_addresses).unwrap_or_default(),
            };
            zone.insert(namespace, name, addresses);
        }
        zone
    }

    /// How connections to service addresses are spread, and where those to ports of the node lead.
    pub(crate) fn rules(&self) -> Vec<ForwardRule> {
        let mut rules = self.host_ports.clone();
        for (key, service) in &self.services {
            let Some(address) = address(service) else { continue };
            for port in service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
                let Some(protocol) = protocol(port.protocol.as_deref()) else {
                    continue;
                };
                let Ok(number) = u16::try_from(port.port) else {
                    continue;
                };
                let targets = self
                    .endpoints
                    .get(key)
                    .map(|e| ready_targets(e, port))
                    .unwrap_or_default();
                rules.push(ForwardRule {
                    address,
                    port: number,
                    protocol,
                    targets,
                });
            }
        }
        rules.sort();
        rules
    }

    /// Where connections to one port of a service go.
    pub(crate) fn targets(&self, key: &Key, port: i32) -> Vec<(Ipv4Addr, u16)> {
        let spec = self.services.get(key).and_then(|service| service.spec.as_ref());
        let port = spec.and_then(|spec| spec.ports.iter().flatten().find(|p| p.port == port));
        match (port, self.endpoints.get(key)) {
            (Some(port), Some(endpoints)) => ready_targets(endpoints, port),
            _ => Vec::new(),
        }
    }
}

/// Where the ports of the node lead that belong to a pod with a network of its own, whether it is ready or not.
fn host_port_rules(running: &RunningPod<'_>) -> Vec<ForwardRule> {
    if is_on_host(&running.pod) {
        return Vec::new();
    }
    // A pod that runs has no ports that cannot be.
    let ports = host_ports(&running.pod).unwrap_or_default().into_iter();
    let rules = ports.filter_map(|port| {
        Some(ForwardRule {
            address: ipam::NODE,
            port: port.port,
            protocol: protocol(Some(&port.protocol))?,
            targets: vec![(running.address, port.container_port)],
        })
    });
    rules.collect()
}

/// A protocol as rules call it.
fn protocol(name: Option<&str>) -> Option<&'static str> {
    match name {
        None | Some("TCP") => Some("tcp"),
        Some("UDP") => Some("udp"),
        Some(_) => None,
    }
}

/// The core objects that Galley serves, one file each.
pub(crate) fn core_files(
    namespaces: &BTreeMap<String, Namespace>,
    cluster: &Cluster,
    pods: &[RunningPod<'_>],
) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut add = |kind: &str, name: &str, text: Option<String>| {
        if let Some(text) = text {
            files.insert(Path::new("core").join(kind).join(format!("{name}.yaml")), text);
        }
    };
    for (name, namespace) in namespaces {
        add("namespaces", name, yaml(namespace));
    }
    add("nodes", NODE_NAME, yaml(&node()));
    for ((namespace, name), service) in &cluster.services {
        add("services", &format!("{namespace}.{name}"), yaml(service));
    }
    for ((namespace, name), endpoints) in &cluster.endpoints {
        add("endpoints", &format!("{namespace}.{name}"), yaml(endpoints));
    }
    for pod in pods {
        let metadata = &pod.pod.metadata;
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let name = format!("{}.{}", part(&metadata.namespace), part(&metadata.name));
        add("pods", &name, yaml(&with_status(pod)));
    }
    files
}

fn yaml(object: &impl Serialize) -> Option<String> {
    // Through JSON, because that is where these types know their field names.
    serde_saphyr::to_string(&serde_json::to_value(object).ok()?).ok()
}

/// The one node.
pub(crate) fn node() -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(NODE_NAME.to_owned()),
            labels: Some(node_labels()),
            ..ObjectMeta::default()
        },
        spec: None,
        status: Some(NodeStatus {
            addresses: Some(vec![NodeAddress {
                address: ipam::NODE.to_string(),
                type_: "InternalIP".to_owned(),
            }]),
            ..NodeStatus::default()
        }),
    }
}

/// The labels of the one node: those that every kubelet sets, with the names of 1.1's time beside today's.
pub(crate) fn node_labels() -> BTreeMap<String, String> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    [
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", NODE_NAME),
        ("kubernetes.io/os", "linux"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The pod as the API server would show it.
pub(crate) fn with_status(running: &RunningPod<'_>) -> Pod {
    let RunningPod {
        pod, address, status, ..
    } = running;
    let mut pod = pod.clone();
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(NODE_NAME.to_owned());
    let lasting = status.containers.iter().filter(|container| container.lasting);
    let containers = lasting
        .map(|container| ContainerStatus {
            name: container.name.clone(),
            ready: container.ready,
            restart_count: i32::try_from(container.restarts).unwrap_or(i32::MAX),
            started: Some(container.init().is_some()),
            state: Some(match container.init() {
                Some(_) => ContainerState {
                    running: Some(ContainerStateRunning::default()),
                    ..ContainerState::default()
                },
                None => ContainerState {
                    waiting: Some(ContainerStateWaiting::default()),
                    ..ContainerState::default()
                },
            }),
            ..ContainerStatus::default()
        })
        .collect();
    let ready = if status.ready { "True" } else { "False" };
    let condition = |type_: &str| PodCondition {
        type_: type_.to_owned(),
        status: ready.to_owned(),
        ..PodCondition::default()
    };
    pod.status = Some(PodStatus {
        phase: Some(match status.phase {
            // A pod that is being ended keeps its phase in Kubernetes.
            pods::Phase::Terminating => pods::Phase::Running.as_str().to_owned(),
            phase => phase.as_str().to_owned(),
        }),
        conditions: Some(vec![condition("Ready"), condition("ContainersReady")]),
        container_statuses: Some(containers),
        host_ip: Some(ipam::NODE.to_string()),
        message: Some(status.message.clone()).filter(|message| !message.is_empty()),
        pod_ip: Some(address.to_string()),
        pod_ips: Some(vec![PodIP {
            ip: address.to_string(),
        }]),
        ..PodStatus::default()
    });
    pod
}

/// The address that a service has or asks for.
pub(crate) fn address(service: &Service) -> Option<Ipv4Addr> {
    service.spec.as_ref()?.cluster_ip.as_deref()?.parse().ok()
}

/// Whether a service gets an address: not when it has one, is headless or an alias.
fn wants_address(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let own = spec
        .and_then(|spec| spec.cluster_ip.as_deref())
        .unwrap_or_default();
    own.is_empty() && spec.and_then(|spec| spec.type_.as_deref()) != Some("ExternalName")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects() -> Objects {
        let mut objects = Objects::default();
        for value in [
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
                   "spec": {"selector": {"app": "a"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "headless"},
                   "spec": {"clusterIP": "None", "selector": {"app": "a"}, "ports": [{"port": 80}]}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "alias"},
                   "spec": {"type": "ExternalName", "externalName": "example.com"}}),
        ] {
            objects.insert(&value).unwrap();
        }
        objects
    }

    fn pod(name: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "a"}},
            "spec": {"containers": []}
        }))
        .unwrap()
    }

    #[test]
    fn only_ready_pods_get_connections_and_ending_ones_are_gone_from_the_lists() {
        let ready = pods::PodStatus {
            phase: pods::Phase::Running,
            ready: true,
            ..Default::default()
        };
        let starting = pods::PodStatus::default();
        let ending = pods::PodStatus {
            phase: pods::Phase::Terminating,
            ..Default::default()
        };
        let running = |name, last, status| RunningPod {
            pod: pod(name),
            address: Ipv4Addr::new(10, 44, 0, last),
            status,
            leaving: false,
        };
        let pods = [
            running("a", 2, &ready),
            running("b", 3, &starting),
            running("c", 4, &ending),
        ];
        let cluster = Cluster::compute(&objects(), &pods);
        let key = ("default".to_owned(), "a".to_owned());
        assert_eq!(cluster.targets(&key, 80), [(Ipv4Addr::new(10, 44, 0, 2), 8080)]);
        let rules = cluster.rules();
        assert_eq!((rules.len(), rules[0].port, rules[0].targets.len()), (1, 80, 1));
        let subset = &cluster.endpoints[&key].subsets.as_ref().unwrap()[0];
        assert_eq!(subset.not_ready_addresses.as_ref().unwrap().len(), 1);

        let files = core_files(&BTreeMap::new(), &cluster, &pods);
        let text = &files[Path::new("core/pods/default.a.yaml")];
        assert!(
            text.contains("podIP: \"10.44.0.2\"") && text.contains("phase: Running"),
            "{text}"
        );
        assert!(files[Path::new("core/services/default.a.yaml")].contains("clusterIP: \"10.96."));
        assert!(files[Path::new("core/services/default.headless.yaml")].contains("clusterIP: None"));
    }
}
