//! Components that die under load.

use std::time::Instant;

use e2e::mesh::Component;

use crate::support::{GATEWAY, TestMesh};

/// Traffic goes on by the last good configuration, and an edit made meanwhile is applied when the control plane is back.
#[tokio::test(flavor = "multi_thread")]
async fn the_control_plane_dies_and_no_request_fails() {
    let mesh = TestMesh::for_load().await;
    let load = mesh.load();
    mesh.wait_for_answers(&load, 200).await;

    let both = [Component::Galley, Component::Pilot];
    for (killed, weight) in [(&both[..1], 10), (&both[1..], 20), (&both[..], 30)] {
        killed.iter().for_each(|component| mesh.kill(*component));
        mesh.split(100 - weight).await;
        mesh.wait_for_answers(&load, 200).await;
        mesh.eventually("the edit made meanwhile is applied", async || {
            mesh.has_weights(GATEWAY, &[100 - weight, weight]).await
        })
        .await;
    }
    mesh.wait_for_answers(&load, 200).await;
    let report = load.stop().await;
    assert!(
        report.failures.is_empty(),
        "{} of {}: {:?}",
        report.failures.len(),
        report.answered,
        report.failures
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_envoy_serves_again() {
    let mesh = TestMesh::weather().await;
    mesh.eventually_status("/api/weather", &[], 200).await;
    mesh.kill_envoy(GATEWAY);
    let killed = Instant::now();
    mesh.eventually_status("/api/weather", &[], 200).await;
    eprintln!("back after {:?}", killed.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_agent_is_killed_is_reported_failed_and_replaced() {
    let mesh = TestMesh::weather().await;
    mesh.eventually_status("/api/weather", &[], 200).await;
    let before = mesh.pod_ip("forecast-v1-0");
    mesh.kill_agent("forecast-v1-0");
    mesh.eventually("the pod is reported failed and replaced", async || {
        let state = mesh.mesh().state();
        let pod = state.pod("forecast-v1-0");
        anyhow::ensure!(
            pod.is_some_and(|pod| pod.replaced == 1 && pod.ready && !pod.message.is_empty()),
            "{pod:?}"
        );
        Ok(())
    })
    .await;
    assert_ne!(mesh.pod_ip("forecast-v1-0"), before, "it is a new pod");
    mesh.eventually_status("/api/weather", &[], 200).await;
}
