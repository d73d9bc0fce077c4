//! An address that passes from one pod to another.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use e2e::mesh::Mesh;
use serde_json::Value;

use super::{ADVERTISEMENT, FORECAST, FRONTEND, addresses, apply, eventually, scale};
use crate::support::{TestMesh, version};

/// The clusters of a caller.
const V1: &str = "outbound|3002|v1|forecast.weather.svc.cluster.local";
const V2: &str = "outbound|3002|v2|forecast.weather.svc.cluster.local";
const ADVERTISEMENTS: &str = "outbound|3003||advertisement.weather.svc.cluster.local";

async fn until_gone(mesh: &TestMesh, pod: &str) {
    mesh.eventually(&format!("{pod} has ended"), async || {
        ensure!(mesh.pod_ip(pod).is_none());
        Ok(())
    })
    .await;
}

/// Waits until a pod is ready, which got the address of another one.
async fn until_at(mesh: &TestMesh, pod: &str, address: Ipv4Addr) {
    mesh.eventually(&format!("{pod} is ready"), async || {
        let state = mesh.mesh().state();
        ensure!(state.pod(pod).is_some_and(|pod| pod.ready));
        Ok(())
    })
    .await;
    assert_eq!(mesh.pod_ip(pod), Some(address), "the address is used again");
}

/// Waits until a caller has exactly these pods behind a cluster.
async fn until_behind(mesh: &TestMesh, cluster: &str, pods: &[&str]) {
    mesh.eventually(&format!("{pods:?} are behind {cluster}"), async || {
        let ips = pods.iter().filter_map(|pod| mesh.pod_ip(pod));
        let expected: BTreeSet<String> = ips.map(|ip| ip.to_string()).collect();
        let behind = addresses(mesh, FRONTEND, cluster).await?;
        ensure!(behind == expected && expected.len() == pods.len(), "{behind:?}");
        Ok(())
    })
    .await;
}

/// Name and service account of the pod that Pilot takes an address for.
async fn owner(mesh: &TestMesh, address: Ipv4Addr) -> Result<(String, String)> {
    let page = mesh.page("pilot", "http-monitoring", "debug/workloadz").await?;
    let page: Value = serde_json::from_str(&page)?;
    let workloads = page.as_object().context("workloads by address")?;
    let workload = &workloads[&address.to_string()];
    let text = |name: &str| workload[name].as_str().unwrap_or_default().to_owned();
    Ok((text("name"), text("serviceAccount")))
}

/// `P4.2`, `pain_6`: the new owner of an address gets none of the old one's requests, and is not taken for it: neither as
/// another version of the service, nor as a pod of another service.
#[tokio::test(flavor = "multi_thread")]
async fn p4_2_pain_6_who_takes_over_an_address_takes_over_nothing_else() {
    let mesh = TestMesh::on_kubernetes_as(Mesh::builder().reuse_addresses(), &["weather"]).await;
    mesh.eventually_status("/api/weather", &[], 200).await;
    apply(&mesh, "forecast-v1").await;
    eventually(&mesh, "v1 answers", FORECAST, &[], |answer| {
        version(answer) == "v1"
    })
    .await;
    until_behind(&mesh, V1, &["forecast-v1-0"]).await;
    let address = mesh.pod_ip("forecast-v1-0").expect("it runs");

    scale(&mesh, "forecast-v1", 0).await;
    until_gone(&mesh, "forecast-v1-0").await;
    scale(&mesh, "forecast-v2", 2).await;
    until_at(&mesh, "forecast-v2-1", address).await;
    until_behind(&mesh, V2, &["forecast-v2-0", "forecast-v2-1"]).await;
    until_behind(&mesh, V1, &[]).await;
    let tally = mesh.from(FRONTEND).versions(20, FORECAST, &[]).await;
    tally.assert_all("503");

    scale(&mesh, "forecast-v2", 1).await;
    until_gone(&mesh, "forecast-v2-1").await;
    scale(&mesh, "advertisement-v1", 2).await;
    until_at(&mesh, "advertisement-v1-1", address).await;
    until_behind(
        &mesh,
        ADVERTISEMENTS,
        &["advertisement-v1-0", "advertisement-v1-1"],
    )
    .await;
    until_behind(&mesh, V1, &[]).await;
    until_behind(&mesh, V2, &["forecast-v2-0"]).await;
    let (name, account) = owner(&mesh, address).await.expect("a page");
    assert_eq!(name, "advertisement-v1-1");
    assert!(account.ends_with("/ns/weather/sa/advertisement"), "{account}");
    // Its own proxy is one of its own service.
    let clusters = mesh
        .admin("advertisement-v1-1", "clusters")
        .await
        .expect("a page");
    assert!(
        clusters.contains("inbound|3003|") && !clusters.contains("inbound|3002|"),
        "{clusters}"
    );
    let tally = mesh.from(FRONTEND).pods(20, ADVERTISEMENT, &[]).await;
    assert!(
        tally.of("advertisement-v1-0") > 0 && tally.of("advertisement-v1-1") > 0,
        "{tally:?}"
    );

    // Whoever had it gets another one when it comes back, and its requests again.
    scale(&mesh, "forecast-v1", 1).await;
    eventually(&mesh, "v1 answers again", FORECAST, &[], |answer| {
        version(answer) == "v1"
    })
    .await;
    assert_ne!(mesh.pod_ip("forecast-v1-0"), Some(address));
    let tally = mesh.from(FRONTEND).versions(20, FORECAST, &[]).await;
    tally.assert_all("v1");
}
