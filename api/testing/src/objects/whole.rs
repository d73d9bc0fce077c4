//! Whole meshes.

use std::collections::BTreeMap;

use mesh_config::{Config, ConfigKey, decode, yaml};

use super::{Choices, KINDS, KUBERNETES, POLICIES, admitted, object};

/// Services of several kinds, and pods.
const BASE: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: web, namespace: weather},
   spec: {clusterIP: 10.96.0.20, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443}, {name: grpc-a, port: 9090}]}}
- {apiVersion: v1, kind: Service, metadata: {name: api, namespace: weather},
   spec: {clusterIP: 10.96.0.21, ports: [{name: http, port: 80}, {name: tcp, port: 9090}]}}
- {apiVersion: v1, kind: Service, metadata: {name: db, namespace: weather},
   spec: {clusterIP: 10.96.0.22, ports: [{name: mongo, port: 27017}, {name: mysql, port: 3306}, {name: tls, port: 443}]}}
- {apiVersion: v1, kind: Service, metadata: {name: headless, namespace: weather},
   spec: {clusterIP: None, selector: {app: web}, ports: [{name: tcp, port: 8080}, {name: http-b, port: 81}, {name: tls, port: 15443}]}}
- {apiVersion: v1, kind: Service, metadata: {name: ingressgateway, namespace: istio-system},
   spec: {clusterIP: 10.96.0.1, selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: web-0, namespace: weather, labels: {app: web, version: v1}},
   spec: {containers: [{name: app, ports: [{containerPort: 8080}]}]}, status: {podIP: 10.1.0.7, phase: Running}}
- {apiVersion: v1, kind: Pod, metadata: {name: gateway-0, namespace: istio-system, labels: {istio: ingressgateway, app: web}},
   spec: {containers: [{name: app}]}, status: {podIP: 10.1.0.9, phase: Running}}
";

/// The services that rules can be about, and the pods `web-0` (10.1.0.7) and `gateway-0` (10.1.0.9).
///
/// # Panics
///
/// Never: the objects are good.
pub fn base() -> Vec<Config> {
    let documents = yaml::documents("base", BASE).into_iter();
    let objects = documents.map(|document| decode::object(&document?));
    objects.collect::<Result<_, _>>().expect("good objects")
}

/// Those of [`base`], some more objects of Kubernetes, and of each of [`KINDS`] and [`POLICIES`] some that validation
/// admits; no two of one name.
pub fn admitted_mesh(choices: &mut Choices<'_>) -> Vec<Config> {
    let mut objects: BTreeMap<ConfigKey, Config> = BTreeMap::new();
    let mut add = |object: Config| objects.insert(object.meta.key.clone(), object);
    for object in base() {
        add(object);
    }
    for kind in KUBERNETES {
        for name in ["web", "a", "b"] {
            if choices.chance(20) {
                let object = object(kind, name, choices);
                decode::from_json(None, &object).ok().map(&mut add);
            }
        }
    }
    for kind in KINDS {
        for index in 0..choices.below(4) {
            // Gateways are referred to by name.
            let name = ["edge", "a", "b"][index];
            admitted(kind, name, choices).map(&mut add);
        }
    }
    for (kind, name) in POLICIES {
        if choices.chance(40) {
            admitted(kind, name, choices).map(&mut add);
        }
    }
    objects.into_values().collect()
}
