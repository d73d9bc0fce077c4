//! Pods that come, go and pass their addresses on, as a kubelet and the controllers would write it.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams};
use mesh_kube::patch;
use mesh_testing::eventually;
use serde_json::{Value, json};

use super::{Cluster, endpoint};
use crate::PATIENCE;
use crate::pilot::Pilot;

/// Requests that are under way at once.
const AT_ONCE: usize = 8;

/// The services are `app-0` and so on.
pub(super) const SERVICES: usize = 3;

/// Pods that there may be at once.
const PODS: usize = 36;

/// Addresses that they may have: few, so that most were somebody else's before.
const ADDRESSES: u8 = 45;

/// Random numbers that are the same on every run.
#[derive(Debug)]
pub(super) struct Random(u64);

/// The pods of a namespace, and who changes them.
pub(super) struct Churn<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) random: Random,
    /// Those that there are, by number.
    pods: BTreeMap<usize, Known>,
}

/// What is known of a pod.
#[derive(Clone, Copy)]
struct Known {
    /// The last part of its address.
    address: u8,
    version: usize,
}

/// What becomes of a pod.
enum Next {
    /// It is made, with this address.
    Starts(u8),
    Ends,
    /// It has another address, as after a restart of its sandbox.
    Moves(u8),
    /// It has another version.
    Changes(usize),
}

// === impl Random ===

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

// === impl Churn ===

impl<'a> Churn<'a> {
    /// Makes the services, without pods.
    pub(super) async fn start(cluster: &'a Cluster, seed: u64) -> Self {
        for number in 0..SERVICES {
            cluster.simple_service(&service(number)).await;
        }
        Self {
            cluster,
            random: Random(seed),
            pods: BTreeMap::new(),
        }
    }

    /// Changes so many random pods, each once, in any order; the services that they belong to. Their slices are as before.
    pub(super) async fn change_pods(&mut self, count: usize) -> BTreeSet<usize> {
        let mut changed = BTreeMap::new();
        while changed.len() < count {
            let number = self.random.below(PODS);
            changed.entry(number).or_insert_with(|| self.decide(number));
        }
        let writes = changed.iter().map(|(number, next)| self.write(*number, next));
        at_once(writes).await;
        changed.keys().map(|number| number % SERVICES).collect()
    }

    /// Writes the slices of services as the controller does: two for each, which share its endpoints in changing ways.
    pub(super) async fn write_slices(&mut self, services: BTreeSet<usize>) {
        let mut slices = Vec::new();
        for number in services {
            let mut parts = [Vec::new(), Vec::new()];
            for (pod, known) in self.pods.iter().filter(|(pod, _)| *pod % SERVICES == number) {
                parts[self.random.below(2)].push(endpoint(&name(*pod), &ip(known.address)));
            }
            slices.extend(parts.into_iter().enumerate().map(|part| (number, part)));
        }
        let cluster = self.cluster;
        at_once(slices.iter().map(|(number, (part, endpoints))| async move {
            let service = service(*number);
            let slice = format!("{service}-{part}");
            cluster.slice(&slice, &service, 80, json!(endpoints)).await;
        }))
        .await;
    }

    /// Changes so many random pods, and then their slices.
    pub(super) async fn change(&mut self, count: usize) {
        let services = self.change_pods(count).await;
        self.write_slices(services).await;
    }

    /// Decides what becomes of a pod. Addresses of pods that end are free at once.
    fn decide(&mut self, number: usize) -> Next {
        let address = self.free_address();
        let Some(known) = self.pods.get_mut(&number) else {
            self.pods.insert(number, Known { address, version: 0 });
            return Next::Starts(address);
        };
        match self.random.below(4) {
            0 | 1 => {
                self.pods.remove(&number);
                Next::Ends
            }
            2 => {
                known.address = address;
                Next::Moves(address)
            }
            _ => {
                known.version = (known.version + 1) % 3;
                Next::Changes(known.version)
            }
        }
    }

    fn free_address(&mut self) -> u8 {
        let mut address = u8::try_from(1 + self.random.below(ADDRESSES.into())).unwrap();
        while self.pods.values().any(|taken| taken.address == address) {
            address = address % ADDRESSES + 1;
        }
        address
    }

    async fn write(&self, number: usize, next: &Next) {
        let (cluster, name) = (self.cluster, name(number));
        match next {
            Next::Starts(address) => {
                let app = service(number % SERVICES);
                cluster.pod(&name, &app, "v0", &ip(*address), json!({})).await;
            }
            Next::Ends => cluster.delete::<Pod>(&name).await,
            Next::Moves(address) => {
                let ip = ip(*address);
                let status = json!({ "podIP": ip, "podIPs": [{ "ip": ip }] });
                let written = patch::status(&cluster.api::<Pod>(), &name, &status).await;
                assert!(written.unwrap(), "{name} is there");
            }
            Next::Changes(version) => {
                let labels = json!({ "metadata": { "labels": { "version": format!("v{version}") } } });
                let params = PatchParams::default();
                let api = cluster.api::<Pod>();
                api.patch(&name, &params, &Patch::Merge(labels)).await.unwrap();
            }
        }
    }
}

async fn at_once(work: impl Iterator<Item = impl Future<Output = ()>>) {
    futures::stream::iter(work)
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
}

pub(super) fn service(number: usize) -> String {
    format!("app-{number}")
}

fn name(pod: usize) -> String {
    format!("{}-{pod}", service(pod % SERVICES))
}

fn ip(address: u8) -> String {
    format!("10.7.5.{address}")
}

/// By host and `address:port`: the pod and its labels.
pub(super) type Endpoints = BTreeMap<String, BTreeMap<String, (Value, Value)>>;

/// The endpoints that the server has, each with the pod that it names.
pub(super) async fn endpoints_of_server(cluster: &Cluster) -> Endpoints {
    let (pods, slices) = (cluster.api::<Pod>(), cluster.api::<EndpointSlice>());
    let all = ListParams::default();
    let (pods, slices) = tokio::try_join!(pods.list(&all), slices.list(&all)).unwrap();
    let labels: BTreeMap<String, Value> = pods
        .into_iter()
        .map(|pod| (pod.metadata.name.unwrap(), json!(pod.metadata.labels)))
        .collect();
    let mut hosts = Endpoints::new();
    for slice in slices {
        let service = &slice.metadata.labels.as_ref().unwrap()["kubernetes.io/service-name"];
        let host = hosts.entry(cluster.host(service)).or_default();
        for endpoint in slice.endpoints {
            let pod = endpoint.target_ref.unwrap().name.unwrap();
            let uid = format!("kubernetes://{pod}.{}", cluster.namespace);
            let known = (json!(uid), labels.get(&pod).cloned().unwrap_or_default());
            host.insert(format!("{}:80", endpoint.addresses[0]), known);
        }
    }
    hosts
}

/// The endpoints that Pilot has of the hosts of `like`.
async fn endpoints_of_pilot(pilot: &Pilot, like: &Endpoints) -> Endpoints {
    let shards = pilot.json("/debug/endpointShardz").await;
    let of_host = |host: &String| {
        let shards = shards[host]
            .as_object()
            .into_iter()
            .flat_map(|shards| shards.values());
        let endpoints = shards.flat_map(|shard| shard.as_array().into_iter().flatten());
        endpoints
            .map(|endpoint| {
                let address = endpoint["address"].as_str().unwrap().to_owned();
                (address, (endpoint["uid"].clone(), endpoint["labels"].clone()))
            })
            .collect()
    };
    like.keys().map(|host| (host.clone(), of_host(host))).collect()
}

/// Waits until Pilot has the endpoints that the server has now, with the labels of their pods, and its proxies too.
pub(super) async fn until_equal(cluster: &Cluster, pilot: &Pilot) -> Endpoints {
    let expected = endpoints_of_server(cluster).await;
    eventually(PATIENCE, async || {
        let found = endpoints_of_pilot(pilot, &expected).await;
        if found != expected {
            return Err(format!("{found:?} instead of {expected:?}"));
        }
        for name in ["endpoint_no_pod", "pilot_endpoint_divergence"] {
            match pilot.metric(name).await {
                0.0 => {}
                value => return Err(format!("{name} is {value}")),
            }
        }
        Ok(())
    })
    .await
    .unwrap();
    expected
}
