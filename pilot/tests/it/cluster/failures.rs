//! An API server that goes away, forgets and comes back.

use std::time::Instant;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use mesh_testing::kube::ApiServer;
use serde_json::json;

use super::churn::{Churn, until_equal};
use super::{Cluster, clusters, endpoint, endpoints_of, until_cluster, until_endpoints};
use crate::galley::Galley;

/// Pods that change at a time.
const CHANGES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn p4_2_pain_6_whatever_the_api_server_does_nothing_is_stale() {
    let mut server = ApiServer::start().await.unwrap();
    let cluster = Cluster::of(&server, "failures").await;
    let mut churn = Churn::start(&cluster, 1).await;
    churn.change(CHANGES).await;

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
        churn.change(CHANGES).await;
        server.compact().await.unwrap();
        server.stop();
        if round == 1 {
            server.stop_etcd();
            server.resume_etcd().await.unwrap();
        }
    }
    server.resume().await.unwrap();
    churn.change(CHANGES).await;
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
        _ = until_equal(&cluster, &pilot) => {}
        () = envoy.follow() => {}
    }
    assert!(!pilot.metrics().await.contains("pilot_k8s_object_errors{"));
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
