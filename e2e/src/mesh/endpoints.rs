//! Which pods stand behind a service: the endpoints controller of Kubernetes (pure).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service, ServicePort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Name of the one node.
pub(crate) const NODE_NAME: &str = "node-1";

/// A pod as a service sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Backend<'a> {
    /// The pod with its current labels.
    pub(crate) pod: &'a Pod,
    pub(crate) address: Ipv4Addr,
    pub(crate) ready: bool,
}

/// The endpoints of `service`; `None` for services that have none of their own: without a selector, or an alias.
pub(crate) fn endpoints(service: &Service, backends: &[Backend<'_>]) -> Option<Endpoints> {
    let spec = service.spec.as_ref()?;
    let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let publish_all = spec.publish_not_ready_addresses.unwrap_or_default();
    // One subset for each set of port numbers: a named port may differ between versions of a pod.
    let mut subsets: BTreeMap<Vec<i32>, EndpointSubset> = BTreeMap::new();
    for backend in backends {
        let metadata = &backend.pod.metadata;
        let labels = metadata.labels.as_ref();
        let selected = selector
            .iter()
            .all(|(k, v)| labels.and_then(|labels| labels.get(k)) == Some(v));
        if metadata.namespace != service.metadata.namespace || !selected {
            continue;
        }
        let ports: Vec<EndpointPort> = spec
            .ports
            .iter()
            .flatten()
            .filter_map(|p| port(p, backend.pod))
            .collect();
        // A service with ports none of which the pod has does not lead there.
        if ports.is_empty() && spec.ports.as_ref().is_some_and(|ports| !ports.is_empty()) {
            continue;
        }
        let subset = subsets.entry(ports.iter().map(|p| p.port).collect()).or_default();
        subset.ports.get_or_insert(ports);
        let list = match backend.ready || publish_all {
            true => &mut subset.addresses,
            false => &mut subset.not_ready_addresses,
        };
        list.get_or_insert_default().push(address(backend));
    }
    Some(Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: service.metadata.labels.clone(),
            ..ObjectMeta::default()
        },
        subsets: (!subsets.is_empty()).then(|| subsets.into_values().collect()),
    })
}

fn port(port: &ServicePort, pod: &Pod) -> Option<EndpointPort> {
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named_port(pod, name)?,
    };
    Some(EndpointPort {
        app_protocol: port.app_protocol.clone(),
        name: port.name.clone(),
        port: number,
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
    })
}

/// The number of a container port, native sidecars included.
fn named_port(pod: &Pod, name: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .flat_map(|container| container.ports.iter().flatten())
        .find(|port| port.name.as_deref() == Some(name))
        .map(|port| port.container_port)
}

fn address(backend: &Backend<'_>) -> EndpointAddress {
    let metadata = &backend.pod.metadata;
    EndpointAddress {
        ip: backend.address.to_string(),
        node_name: Some(NODE_NAME.to_owned()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..EndpointAddress::default()
    }
}

/// Where connections to one port of a service go.
pub(crate) fn ready_targets(endpoints: &Endpoints, port: &ServicePort) -> Vec<(Ipv4Addr, u16)> {
    let mut targets = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let number = subset
            .ports
            .iter()
            .flatten()
            .find(|p| p.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default())
            .and_then(|p| u16::try_from(p.port).ok());
        let Some(number) = number else { continue };
        let addresses = subset.addresses.iter().flatten();
        targets.extend(addresses.filter_map(|a| Some((a.ip.parse().ok()?, number))));
    }
    targets.sort_unstable();
    targets
}

/// Addresses of all ready pods.
pub(crate) fn ready_addresses(endpoints: &Endpoints) -> Vec<Ipv4Addr> {
    let subsets = endpoints.subsets.iter().flatten();
    subsets
        .flat_map(|s| s.addresses.iter().flatten())
        .filter_map(|a| a.ip.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, port: i32) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "weather", "labels": {"app": "forecast"}},
            "spec": {"containers": [{"name": "a", "ports": [{"name": "web", "containerPort": port}]}]}
        }))
        .unwrap()
    }

    fn service(ports: &serde_json::Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "forecast", "namespace": "weather"},
            "spec": {"selector": {"app": "forecast"}, "ports": ports}
        }))
        .unwrap()
    }

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 44, 0, last)
    }

    #[test]
    fn pods_are_split_by_readiness_and_by_what_a_port_name_means_in_them() {
        let (a, b, c) = (pod("a", 3002), pod("b", 3002), pod("c", 4000));
        let backends = [
            Backend {
                pod: &a,
                address: ip(2),
                ready: true,
            },
            Backend {
                pod: &b,
                address: ip(3),
                ready: false,
            },
            Backend {
                pod: &c,
                address: ip(4),
                ready: true,
            },
        ];
        let service = service(&json!([{"name": "http", "port": 80, "targetPort": "web"}]));
        let endpoints = endpoints(&service, &backends).unwrap();
        let subsets = endpoints.subsets.as_ref().unwrap();
        assert_eq!(subsets.len(), 2);
        assert_eq!(subsets[0].addresses.as_ref().unwrap().len(), 1);
        assert_eq!(
            subsets[0].not_ready_addresses.as_ref().unwrap()[0].ip,
            "10.44.0.3"
        );
        let port = &service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0];
        assert_eq!(ready_targets(&endpoints, port), [(ip(2), 3002), (ip(4), 4000)]);
        assert_eq!(ready_addresses(&endpoints), [ip(2), ip(4)]);
    }

    #[test]
    fn other_namespaces_other_labels_and_missing_port_names_are_left_out() {
        let mut elsewhere = pod("a", 1);
        elsewhere.metadata.namespace = Some("default".to_owned());
        let mut other = pod("b", 1);
        other.metadata.labels = None;
        let nameless = pod("c", 1);
        let backends = [&elsewhere, &other, &nameless].map(|pod| Backend {
            pod,
            address: ip(2),
            ready: true,
        });
        let service = service(&json!([{"port": 80, "targetPort": "no-such-name"}]));
        assert_eq!(endpoints(&service, &backends).unwrap().subsets, None);
    }

    #[test]
    fn a_service_without_a_selector_has_no_endpoints_of_ours() {
        let service: Service =
            serde_json::from_value(json!({"metadata": {"name": "x"}, "spec": {"ports": []}})).unwrap();
        assert_eq!(endpoints(&service, &[]), None);
    }
}
