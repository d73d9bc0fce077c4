//! A mesh whose objects live in a real Kubernetes API server, as users meet it: with kubectl.

mod addresses;
mod failures;
mod flagger;
mod ingress;
mod samples;
mod support;
mod workloads;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use self::support::{kubectl, nested, patch};
use crate::support::{TestMesh, version};

const FRONTEND: &str = "frontend-v1-0";
const FORECAST: &str = "http://forecast:3002/weather";
const ADVERTISEMENT: &str = "http://advertisement:3003/ad";

/// Changes whose way is measured.
const CHANGES: usize = 50;

/// Applies a file of the rules of the weather application.
async fn apply(mesh: &TestMesh, name: &str) {
    let path = format!("{}/samples/weather-rules/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    kubectl(mesh, &["apply", "-f", &path]).await;
}

/// Waits until an answer from the frontend to a service is as it should be.
async fn eventually(
    mesh: &TestMesh,
    what: &str,
    url: &str,
    headers: &[(&str, &str)],
    good: impl Fn(&e2e::load::Answer) -> bool,
) {
    mesh.eventually(what, async || {
        let answer = mesh.from(FRONTEND).get(url, headers).await?;
        ensure!(good(&answer), "{} by {}", answer.status, version(&answer));
        Ok(())
    })
    .await;
}

/// Says how many pods a Deployment of the weather application has.
async fn scale(mesh: &TestMesh, deployment: &str, replicas: usize) {
    let replicas = format!("--replicas={replicas}");
    kubectl(
        mesh,
        &["-n", "weather", "scale", "deployment", deployment, &replicas],
    )
    .await;
}

/// The addresses behind a cluster of a pod's Envoy.
async fn addresses(mesh: &TestMesh, pod: &str, cluster: &str) -> Result<BTreeSet<String>> {
    let text = mesh.admin(pod, "clusters?format=json").await?;
    let clusters: serde_json::Value = serde_json::from_str(&text)?;
    let hosts = nested(&clusters["cluster_statuses"])
        .find(|status| status["name"] == cluster)
        .map(|status| nested(&status["host_statuses"]).collect::<Vec<_>>())
        .unwrap_or_default();
    let address = |host: &serde_json::Value| {
        let address = &host["address"]["socket_address"]["address"];
        address.as_str().unwrap_or_default().to_owned()
    };
    Ok(hosts.into_iter().map(address).collect())
}

/// `G2.1`, `G8.2`, `P4.2`: what users type is what proxies do, without a restart of anything.
#[tokio::test(flavor = "multi_thread")]
async fn g2_1_p4_2_what_kubectl_applies_is_what_envoys_do() {
    let mesh = TestMesh::on_kubernetes(&["weather"]).await;
    mesh.eventually_status("/api/weather", &[], 200).await;

    apply(&mesh, "forecast-weight-80-20").await;
    mesh.eventually("weights are in force", async || {
        mesh.has_weights(FRONTEND, &[80, 20]).await
    })
    .await;
    let tally = mesh.from(FRONTEND).versions(60, FORECAST, &[]).await;
    assert!(tally.of("v1") > tally.of("v2") && tally.of("v2") > 0, "{tally:?}");

    apply(&mesh, "forecast-header").await;
    let north = [("location", "north")];
    eventually(&mesh, "a header chooses v2", FORECAST, &north, |answer| {
        version(answer) == "v2"
    })
    .await;
    mesh.eventually("no header chooses v1", async || {
        mesh.has_no_weights(FRONTEND).await
    })
    .await;
    let tally = mesh.from(FRONTEND).versions(20, FORECAST, &[]).await;
    tally.assert_all("v1");

    apply(&mesh, "forecast-timeout").await;
    eventually(&mesh, "time is out", FORECAST, &[], |answer| answer.status == 504).await;

    apply(&mesh, "advertisement-abort").await;
    eventually(&mesh, "requests are aborted", ADVERTISEMENT, &[], |answer| {
        answer.status == 500
    })
    .await;

    let rules = ["forecast-route", "recommendation-route", "advertisement-route"];
    kubectl(
        &mesh,
        &[
            &["-n", "weather", "delete", "virtualservices.networking.istio.io"][..],
            &rules,
        ]
        .concat(),
    )
    .await;
    mesh.eventually("all is as without rules", async || {
        let tally = mesh.from(FRONTEND).versions(10, FORECAST, &[]).await;
        ensure!(
            tally.of("v1") + tally.of("v2") == 10 && tally.0.len() == 2,
            "{tally:?}"
        );
        let answer = mesh.from(FRONTEND).get(ADVERTISEMENT, &[]).await?;
        ensure!(answer.status == 200, "{}", answer.status);
        Ok(())
    })
    .await;

    Box::pin(pods_come_and_go(&mesh)).await;
    Box::pin(how_long_a_change_takes(&mesh)).await;
}

/// Scaling and replacement: the endpoints of callers are the pods that are ready.
async fn pods_come_and_go(mesh: &TestMesh) {
    const CLUSTER: &str = "outbound|3002||forecast.weather.svc.cluster.local";
    let scale = async |replicas: usize| scale(mesh, "forecast-v1", replicas).await;
    let follows = async |pods: &[&str]| {
        mesh.eventually(&format!("callers know {pods:?}"), async || {
            let addresses = addresses(mesh, FRONTEND, CLUSTER).await?;
            let pods: BTreeSet<String> = pods
                .iter()
                .filter_map(|pod| Some(mesh.pod_ip(pod)?.to_string()))
                .collect();
            ensure!(addresses == pods, "{addresses:?}, not {pods:?}");
            Ok(())
        })
        .await;
    };
    scale(3).await;
    mesh.eventually("there are three pods", async || {
        ensure!(
            mesh.mesh()
                .state()
                .pod("forecast-v1-2")
                .is_some_and(|pod| pod.ready)
        );
        Ok(())
    })
    .await;
    follows(&["forecast-v1-0", "forecast-v1-1", "forecast-v1-2", "forecast-v2-0"]).await;
    // Kubernetes' own words about it.
    let rollout = [
        "-n",
        "weather",
        "rollout",
        "status",
        "deployment/forecast-v1",
        "--timeout=60s",
    ];
    let said = kubectl(mesh, &rollout).await;
    assert!(said.contains("successfully rolled out"), "{said}");
    let deployment = ["-n", "weather", "get", "deployment", "forecast-v1"];
    let said = kubectl(mesh, &deployment).await;
    assert!(said.contains("3/3"), "{said}");
    scale(1).await;
    mesh.eventually("there is one pod", async || {
        ensure!(mesh.mesh().state().pod("forecast-v1-1").is_none());
        Ok(())
    })
    .await;
    follows(&["forecast-v1-0", "forecast-v2-0"]).await;

    let before = mesh.pod_ip("forecast-v2-0");
    kubectl(
        mesh,
        &["-n", "weather", "delete", "pod", "forecast-v2-0", "--wait=false"],
    )
    .await;
    mesh.eventually("the pod is replaced", async || {
        let state = mesh.mesh().state();
        let pod = state.pod("forecast-v2-0");
        ensure!(
            pod.is_some_and(|pod| pod.ready && Some(pod.ip) != before),
            "{pod:?}"
        );
        Ok(())
    })
    .await;
    follows(&["forecast-v1-0", "forecast-v2-0"]).await;
}

/// Changes of VirtualServices that Pilot was told of. It waits for more of them before it acts.
async fn updates(mesh: &TestMesh) -> Result<f64> {
    const COUNTER: &str = "pilot_k8s_cfg_events{event=\"update\",type=\"VirtualService\"} ";
    let metrics = mesh.page("pilot", "http-monitoring", "metrics").await?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(COUNTER));
    Ok(value.context("Pilot counts no changes")?.parse()?)
}

/// Prints how long changes take to arrive in an Envoy, and how much of that is Galley's part. Asserts nothing about it.
async fn how_long_a_change_takes(mesh: &TestMesh) {
    apply(mesh, "forecast-weight-80-20").await;
    let (mut galley, mut all) = (Vec::new(), Vec::new());
    for number in 0..CHANGES {
        let weight = u64::try_from(number % 99 + 1).unwrap_or(1);
        let weights = [100 - weight, weight];
        let route = |subset: &str, weight: u64| json!({ "destination": { "host": "forecast", "subset": subset }, "weight": weight });
        let routes = [route("v1", weights[0]), route("v2", weights[1])];
        let spec = json!({ "spec": { "http": [{ "route": routes }] } });
        let before = updates(mesh).await.expect("a counter");
        patch(mesh, "forecast-route", &spec).await.expect("patched");
        let began = Instant::now();
        mesh.eventually("Pilot was told", async || {
            let told = updates(mesh).await?;
            ensure!(told > before, "{told} updates");
            Ok(())
        })
        .await;
        galley.push(began.elapsed());
        mesh.eventually("Envoy has it", async || {
            mesh.has_weights(FRONTEND, &weights).await
        })
        .await;
        all.push(began.elapsed());
    }
    let figures = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        format!(
            "p50 {:?}, p99 {:?}",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        )
    };
    eprintln!(
        "{CHANGES} changes from the API server to Pilot (Galley's part): {}",
        figures(&mut galley)
    );
    eprintln!(
        "{CHANGES} changes from the API server to Envoy: {}",
        figures(&mut all)
    );
}
