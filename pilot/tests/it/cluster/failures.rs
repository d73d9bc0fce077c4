//! An API server that goes away, forgets and comes back.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use mesh_testing::kube::{ApiProxy, ApiServer, Fault};
use serde_json::json;

use super::{Cluster, clusters, endpoint, endpoints_of, until_cluster, until_endpoints};
use crate::galley::Galley;
use crate::pilot::Pilot;

/// Random numbers that are the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Replaces a random pod of a random service, with a new address or one that another pod had.
async fn change(cluster: &Cluster, random: &mut Random, pods: &mut BTreeMap<usize, u8>) {
    let number = random.below(6);
    let service = format!("app-{}", number % 2);
    let name = format!("{service}-{number}");
    if pods.remove(&number).is_some() {
        cluster.delete::<Pod>(&name).await;
    } else {
        let mut address = u8::try_from(1 + random.below(9)).unwrap();
        while pods.values().any(|taken| *taken == address) {
            address = address % 9 + 1;
        }
        pods.insert(number, address);
        let ip = format!("10.7.5.{address}");
        cluster.pod(&name, &service, "v1", &ip, json!({})).await;
    }
    // As the controller: two slices for each service, which share its endpoints in changing ways.
    let mut slices = [Vec::new(), Vec::new()];
    for (other, address) in pods.iter().filter(|(other, _)| **other % 2 == number % 2) {
        let slice = &mut slices[random.below(2)];
        slice.push(endpoint(
            &format!("{service}-{other}"),
            &format!("10.7.5.{address}"),
        ));
    }
    for (part, endpoints) in slices.into_iter().enumerate() {
        cluster
            .slice(&format!("{service}-{part}"), &service, 80, json!(endpoints))
            .await;
    }
}

/// Waits until Pilot has the endpoints that the server has now, with the labels of their pods, and its proxies too.
async fn until_equal(cluster: &Cluster, pilot: &Pilot) {
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for slice in cluster
        .api::<EndpointSlice>()
        .list(&ListParams::default())
        .await
        .unwrap()
    {
        let service = &slice.metadata.labels.as_ref().unwrap()["kubernetes.io/service-name"];
        let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
        let known = expected.entry(cluster.host(service)).or_default();
        known.extend(addresses.map(|address| format!("{address}:80")));
    }
    for (host, mut addresses) in expected {
        addresses.sort();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        until_endpoints(pilot, &host, &addresses).await;
    }
    pilot.until_metric("endpoint_no_pod", 0.0).await;
    pilot.until_metric("pilot_endpoint_divergence", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_2_pain_6_whatever_the_api_server_does_nothing_is_stale() {
    let mut server = ApiServer::start().await.unwrap();
    let cluster = Cluster::of(&server, "failures").await;
    for service in ["app-0", "app-1"] {
        cluster.simple_service(service).await;
    }
    let (mut random, mut pods) = (Random(1), BTreeMap::new());
    for _ in 0..4 {
        change(&cluster, &mut random, &mut pods).await;
    }

    // Not there at start: Pilot waits, and says for what.
    server.stop();
    let galley = Galley::start();
    let pilot = cluster.pilot(&galley, &[]).await;
    until_cluster(&pilot, 0, |status| status["error"].is_string()).await;
    let (status, body) = pilot.get("/ready").await;
    assert_eq!(status, 503);
    assert!(body.contains("objects of the Kubernetes API server"), "{body}");
    server.resume().await.unwrap();
    pilot.ready().await;
    until_equal(&cluster, &pilot).await;
    let mut envoy = pilot.settled(&cluster.sidecar("sleep-0", "10.7.5.77")).await;

    // Away while it serves: what it said stays, also for a proxy that starts now.
    server.stop();
    until_cluster(&pilot, 0, |status| status["connected"] == false).await;
    assert_eq!(pilot.get("/ready").await.0, 200);
    let late = pilot.settled(&cluster.sidecar("sleep-0", "10.7.5.77")).await;
    assert_eq!(late.everything(), envoy.everything());
    drop(late);

    // Restarted under changes, and etcd has forgotten everything but the present.
    for round in 0..3 {
        server.resume().await.unwrap();
        for _ in 0..4 {
            change(&cluster, &mut random, &mut pods).await;
        }
        server.compact().await.unwrap();
        server.stop();
        if round == 1 {
            server.stop_etcd();
            server.resume_etcd().await.unwrap();
        }
    }
    server.resume().await.unwrap();
    change(&cluster, &mut random, &mut pods).await;
    cluster.delete::<Service>("app-1").await;
    for part in 0..2 {
        cluster.delete::<EndpointSlice>(&format!("app-1-{part}")).await;
    }
    let gone = cluster.outbound(80, "app-1");
    envoy
        .until(|envoy| !envoy.everything().contains_key(&("cds", gone.clone())))
        .await;
    until_endpoints(&pilot, &cluster.host("app-1"), &[]).await;
    // The proxy answers, so that what it has can be compared.
    tokio::select! {
        () = until_equal(&cluster, &pilot) => {}
        () = envoy.follow() => {}
    }
    assert!(!pilot.metrics().await.contains("pilot_k8s_object_errors{"));
}

/// Rounds of two changes after which everything is compared.
const COMPARED: usize = 12;

/// Seeds, and changes for each of them. A seed that is named is the only one.
fn extent() -> (RangeInclusive<u64>, usize) {
    let (seeds, changes) = match std::env::var_os("MESH_TEST_FULL") {
        Some(_) => (1..=20, 10_000),
        None => (1..=2, 48),
    };
    let named = std::env::var("MESH_TEST_SEED").ok();
    let named = named.map(|seed| seed.parse().expect("MESH_TEST_SEED is a number"));
    (named.map_or(seeds, |seed| seed..=seed), changes)
}

/// Pods come and go, often at an address that another one had, while watches are cut, held, repeated, refused and forgotten: in
/// the end Pilot and its proxies have the endpoints that the server has.
#[tokio::test(flavor = "multi_thread")]
async fn p4_2_pain_6_random_changes_with_faulty_watches_leave_nothing_behind() {
    let (seeds, changes) = extent();
    for seed in seeds {
        let cluster = Cluster::shared("faults").await;
        for service in ["app-0", "app-1"] {
            cluster.simple_service(service).await;
        }
        let proxy = ApiProxy::start(&cluster.access).await.unwrap();
        let galley = Galley::start();
        let pilot = cluster.pilot_as(proxy.access(), &galley, &[]).await;
        pilot.ready().await;
        let mut envoy = pilot.settled(&cluster.sidecar("sleep-0", "10.7.5.77")).await;
        // The proxy answers all the time, so that what it has can be compared.
        tokio::select! {
            longest = with_faults(&cluster, &proxy, &pilot, seed, changes) => {
                println!("seed {seed}: {changes} changes, no divergence {longest:?} after quiet at the latest");
            }
            () = envoy.follow() => {}
        }
    }
}

/// The longest time until everything was equal after the last change and the last fault.
async fn with_faults(
    cluster: &Cluster,
    proxy: &ApiProxy,
    pilot: &Pilot,
    seed: u64,
    changes: usize,
) -> Duration {
    let (mut random, mut pods) = (Random(seed), BTreeMap::new());
    let mut longest = Duration::ZERO;
    let kinds = ["pods", "endpointslices", "services"];
    let rounds = changes / 2;
    for round in 1..=rounds {
        let kind = kinds[random.below(kinds.len())];
        let fault = match random.below(6) {
            0 => Fault::Status(500),
            1 => Fault::HoldEvents,
            2 => Fault::Repeat(2),
            3 => Fault::CutEvents,
            4 => Fault::Gone,
            _ => Fault::EndWatches,
        };
        proxy.begin(kind, fault);
        proxy.drop_watches(kinds[random.below(kinds.len())]);
        for _ in 0..2 {
            change(cluster, &mut random, &mut pods).await;
        }
        proxy.end(kind);
        if round % COMPARED == 0 || round == rounds {
            let quiet = Instant::now();
            until_equal(cluster, pilot).await;
            longest = longest.max(quiet.elapsed());
        }
    }
    assert!(endpoints_of(pilot, &cluster.host("app-0")).await.is_some());
    longest
}

/// 1,000 services with two pods each.
#[tokio::test(flavor = "multi_thread")]
async fn p4_2_many_services_and_pods_are_there_soon() {
    use futures::StreamExt as _;

    const SERVICES: usize = 1000;
    let cluster = Cluster::shared("many").await;
    let creating = futures::stream::iter(0..SERVICES).map(|number| {
        let cluster = &cluster;
        async move {
            let name = format!("app-{number}");
            cluster.simple_service(&name).await;
            let mut endpoints = Vec::new();
            for replica in 0..2 {
                let (pod, ip) = (
                    format!("{name}-{replica}"),
                    format!("10.{}.{}.{}", 100 + replica, number / 250, 1 + number % 250),
                );
                cluster.pod(&pod, &name, "v1", &ip, json!({})).await;
                endpoints.push(endpoint(&pod, &ip));
            }
            let slice = format!("{name}-1");
            cluster.slice(&slice, &name, 80, json!(endpoints)).await;
        }
    });
    creating.buffer_unordered(16).collect::<Vec<()>>().await;

    let galley = Galley::start();
    let before = resident();
    let began = Instant::now();
    let pilot = cluster.pilot(&galley, &[]).await;
    pilot.ready().await;
    println!(
        "{SERVICES} services and {} pods: ready after {:?}, {} KiB more than before",
        2 * SERVICES,
        began.elapsed(),
        resident().saturating_sub(before)
    );
    for number in [0, SERVICES / 2, SERVICES - 1] {
        let host = cluster.host(&format!("app-{number}"));
        assert_eq!(endpoints_of(&pilot, &host).await.unwrap().len(), 2, "{host}");
    }
    let status = &clusters(&pilot).await[0];
    assert_eq!(status["kinds"]["Pod"]["objects"], 2 * SERVICES);
}

/// Memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
