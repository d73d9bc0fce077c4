//! Pilot reads a real API server. What controllers and the kubelet would write, these tests write.

mod basics;
mod churn;
mod failures;
mod faults;
mod mesh;
mod remotes;
mod shapes;

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{Endpoints, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::DeleteParams;
use kube::{Api, Client, Resource};
use mesh_kube::patch;
use mesh_testing::eventually;
use mesh_testing::kube::{Access, ApiServer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::galley::Galley;
use crate::pilot::Pilot;

/// A namespace of an API server, and who fills it.
pub(crate) struct Cluster {
    client: Client,
    pub(crate) access: Access,
    pub(crate) namespace: String,
}

impl Cluster {
    /// A new namespace.
    pub(crate) async fn of(server: &ApiServer, namespace: &str) -> Self {
        Self {
            client: server.client().await.unwrap(),
            access: server.admin().clone(),
            namespace: server.namespace(namespace).await.unwrap(),
        }
    }

    /// A new namespace of the server that all tests share.
    pub(crate) async fn shared(namespace: &str) -> Self {
        Self::of(ApiServer::shared().await.unwrap(), namespace).await
    }

    /// The namespace of the same name of another server.
    pub(crate) async fn twin(&self, server: &ApiServer) -> Self {
        Self::named(server, &self.namespace).await
    }

    /// A namespace of this name.
    pub(crate) async fn named(server: &ApiServer, name: &str) -> Self {
        let cluster = Self {
            client: server.client().await.unwrap(),
            access: server.admin().clone(),
            namespace: name.to_owned(),
        };
        let namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        patch::apply(&namespaces, "tests", &namespace).await.unwrap();
        cluster
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates or replaces an object of the namespace.
    pub(crate) async fn put<K>(&self, name: &str, mut object: Value)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
        K::DynamicType: Default,
    {
        object["metadata"]["name"] = json!(name);
        let object: K = serde_json::from_value(object).unwrap();
        patch::apply(&self.api(), "tests", &object).await.unwrap();
    }

    pub(crate) async fn delete<K>(&self, name: &str)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
        K::DynamicType: Default,
    {
        let params = DeleteParams::default().grace_period(0);
        self.api::<K>().delete(name, &params).await.unwrap();
    }

    pub(crate) async fn service(&self, name: &str, spec: Value) {
        self.put::<Service>(name, json!({ "spec": spec })).await;
    }

    /// A pod that runs, with labels `app` and `version`. `spec` is what differs from one container without ports.
    pub(crate) async fn pod(&self, name: &str, app: &str, version: &str, ip: &str, spec: Value) {
        let mut pod = json!({
            "metadata": { "labels": { "app": app, "version": version } },
            "spec": { "containers": [{ "name": "app", "image": "app" }] },
        });
        for (field, value) in spec.as_object().unwrap() {
            pod["spec"][field] = value.clone();
        }
        self.put::<Pod>(name, pod).await;
        let status = json!({ "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] });
        assert!(patch::status(&self.api::<Pod>(), name, &status).await.unwrap());
    }

    /// A slice of a service with ports `http`. Endpoints as [`endpoint`] makes them.
    pub(crate) async fn slice(&self, name: &str, service: &str, port: u16, endpoints: Value) {
        let slice = json!({
            "metadata": { "labels": { "kubernetes.io/service-name": service } },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{ "name": "http", "port": port, "protocol": "TCP" }],
        });
        self.put::<EndpointSlice>(name, slice).await;
    }

    pub(crate) async fn endpoints(&self, name: &str, subsets: Value) {
        self.put::<Endpoints>(name, json!({ "subsets": subsets })).await;
    }

    /// A service `name` with port `http` 80, of the pods with `app: name`.
    pub(crate) async fn simple_service(&self, name: &str) {
        let spec = json!({ "selector": { "app": name }, "ports": [{ "name": "http", "port": 80 }] });
        self.service(name, spec).await;
    }

    /// A node of the whole cluster, named after the namespace.
    pub(crate) async fn node(&self, region: &str, zone: &str) -> String {
        let name = format!("node-{}", self.namespace);
        let node: Node = serde_json::from_value(json!({ "metadata": { "name": name, "labels": {
            "topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone,
        } } }))
        .unwrap();
        patch::apply(&Api::all(self.client.clone()), "tests", &node)
            .await
            .unwrap();
        name
    }

    /// The host of a service.
    pub(crate) fn host(&self, service: &str) -> String {
        format!("{service}.{}.svc.cluster.local", self.namespace)
    }

    /// The EDS cluster of a service.
    pub(crate) fn outbound(&self, port: u16, service: &str) -> String {
        format!("outbound|{port}||{}", self.host(service))
    }

    /// The id of a sidecar.
    pub(crate) fn sidecar(&self, pod: &str, ip: &str) -> String {
        let namespace = &self.namespace;
        format!("sidecar~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local")
    }

    /// A Pilot that reads this namespace. It may not be ready yet.
    pub(crate) async fn pilot(&self, galley: &Galley, flags: &[&str]) -> Pilot {
        self.pilot_as(&self.access, galley, flags).await
    }

    /// The same with other rights, or by another way.
    pub(crate) async fn pilot_as(&self, access: &Access, galley: &Galley, flags: &[&str]) -> Pilot {
        self.try_pilot_as(access, galley, flags).await.unwrap()
    }

    /// The same, where it may not start.
    pub(crate) async fn try_pilot_as(
        &self,
        access: &Access,
        galley: &Galley,
        flags: &[&str],
    ) -> anyhow::Result<Pilot> {
        let kubeconfig = format!("--kubeconfig={}", access.kubeconfig().display());
        let namespace = format!("--appNamespace={}", self.namespace);
        let flags: Vec<&str> = [&*kubeconfig, &*namespace]
            .into_iter()
            .chain(flags.iter().copied())
            .collect();
        Pilot::try_start(galley, &flags).await
    }
}

/// A ready endpoint of a slice that names its pod.
pub(crate) fn endpoint(pod: &str, ip: &str) -> Value {
    endpoint_that_is(
        pod,
        ip,
        &json!({ "ready": true, "serving": true, "terminating": false }),
    )
}

/// An endpoint with other conditions.
pub(crate) fn endpoint_that_is(pod: &str, ip: &str, conditions: &Value) -> Value {
    json!({ "addresses": [ip], "conditions": conditions, "targetRef": { "kind": "Pod", "name": pod } })
}

/// The addresses of the endpoints of a host, sorted; `None` when nothing is known of them.
pub(crate) async fn endpoints_of(pilot: &Pilot, host: &str) -> Option<Vec<String>> {
    let all = pilot.json("/debug/endpointz?brief=1").await;
    let of_host = all
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["svc"] == host)?;
    let mut addresses: Vec<String> = serde_json::from_value(of_host["ep"].clone()).unwrap();
    addresses.sort();
    Some(addresses)
}

/// Waits until a host has exactly these endpoints.
#[track_caller]
pub(crate) fn until_endpoints(pilot: &Pilot, host: &str, expected: &[&str]) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        eventually(PATIENCE, async || match endpoints_of(pilot, host).await {
            Some(found) if found == expected => Ok(()),
            None if expected.is_empty() => Ok(()),
            found => Err(format!(
                "{host} has {found:?} instead of {expected:?}, at {caller}"
            )),
        })
        .await
        .unwrap();
    }
}

/// What is known of an endpoint, by its address.
pub(crate) async fn endpoint_at(pilot: &Pilot, host: &str, address: &str) -> Value {
    let shards = pilot.json("/debug/endpointShardz").await;
    let mut all = shards[host]
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::values)
        .flat_map(|shard| shard.as_array().into_iter().flatten());
    all.find(|endpoint| endpoint["address"] == address)
        .unwrap_or_else(|| panic!("no {address} of {host} in {shards}"))
        .clone()
}

/// How it stands with the API server of our own cluster, and with those of others.
pub(crate) async fn clusters(pilot: &Pilot) -> Vec<Value> {
    let sources = pilot.json("/debug/sourcez").await;
    sources.as_array().unwrap()[1..].to_vec()
}

/// Waits until it stands so with a cluster.
#[track_caller]
pub(crate) fn until_cluster(
    pilot: &Pilot,
    number: usize,
    wanted: impl Fn(&Value) -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        eventually(PATIENCE, async || {
            let clusters = clusters(pilot).await;
            match clusters.get(number) {
                Some(cluster) if wanted(cluster) => Ok(()),
                _ => Err(format!("{clusters:?}, at {caller}")),
            }
        })
        .await
        .unwrap();
    }
}
