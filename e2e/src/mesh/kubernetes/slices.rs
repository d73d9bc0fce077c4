//! Endpoints as EndpointSlices: the endpointslice controller of Kubernetes (pure).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::mesh::objects::Key;

/// Names the service that a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who writes the slices of services that select pods.
const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// Who writes those of Endpoints that a user made.
const MIRRORING: &str = "endpointslicemirroring-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The slices of a service: one for each set of ports.
pub(super) fn slices(
    (namespace, name): &Key,
    service: Option<&Service>,
    endpoints: &Endpoints,
) -> BTreeMap<Key, EndpointSlice> {
    let spec = service.and_then(|service| service.spec.as_ref());
    let selects = spec
        .and_then(|spec| spec.selector.as_ref())
        .is_some_and(|selector| !selector.is_empty());
    let by = if selects { CONTROLLER } else { MIRRORING };
    let mut labels = BTreeMap::from([
        (SERVICE_NAME.to_owned(), name.clone()),
        (MANAGED_BY.to_owned(), by.to_owned()),
    ]);
    if spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let owner = service.map(|service| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        name: name.clone(),
        uid: service.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    });
    let subsets = endpoints.subsets.iter().flatten().enumerate();
    subsets
        .map(|(number, subset)| {
            let slice = EndpointSlice {
                metadata: ObjectMeta {
                    name: Some(format!("{name}-{number}")),
                    namespace: Some(namespace.clone()),
                    labels: Some(labels.clone()),
                    owner_references: owner.clone().map(|owner| vec![owner]),
                    ..ObjectMeta::default()
                },
                address_type: "IPv4".to_owned(),
                endpoints: all(subset),
                ports: Some(ports(subset)),
            };
            ((namespace.clone(), format!("{name}-{number}")), slice)
        })
        .collect()
}

fn all(subset: &EndpointSubset) -> Vec<Endpoint> {
    let ready = subset.addresses.iter().flatten().map(|address| (address, true));
    let others = subset.not_ready_addresses.iter().flatten();
    ready
        .chain(others.map(|address| (address, false)))
        .map(|(address, ready)| endpoint(address, ready))
        .collect()
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(ready),
            terminating: Some(false),
        }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let ports = subset.ports.iter().flatten();
    ports
        .map(|port| EndpointPort {
            // A service with one port need not name it; slices then say so.
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(port.port),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_slice_says_what_endpoints_say() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "x", "uid": "1"},
            "spec": {"clusterIP": "None", "selector": {"app": "a"}}
        }))
        .unwrap();
        let endpoints: Endpoints = serde_json::from_value(json!({"subsets": [{
            "addresses": [{"ip": "10.44.0.2", "nodeName": "node-1", "targetRef": {"kind": "Pod", "name": "a-0"}}],
            "notReadyAddresses": [{"ip": "10.44.0.3"}],
            "ports": [{"name": "http", "port": 8080}]
        }]}))
        .unwrap();
        let key = ("x".to_owned(), "a".to_owned());
        let slices = slices(&key, Some(&service), &endpoints);
        let slice = serde_json::to_value(&slices[&("x".to_owned(), "a-0".to_owned())]).unwrap();
        assert_eq!(slice["metadata"]["labels"][SERVICE_NAME], "a");
        assert_eq!(slice["metadata"]["labels"][HEADLESS], "");
        assert_eq!(slice["metadata"]["ownerReferences"][0]["uid"], "1");
        assert_eq!(slice["ports"][0]["port"], 8080);
        let ready = |number: usize| &slice["endpoints"][number]["conditions"]["ready"];
        assert_eq!((ready(0), ready(1)), (&json!(true), &json!(false)));
        assert_eq!(slice["endpoints"][0]["targetRef"]["name"], "a-0");
    }
}
