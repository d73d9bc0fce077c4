//! What a Sidecar leaves of the mesh for its workloads (chapter 11 of the book).

use crate::outbound::policy;
use crate::support::fixture::DOUBLES;
use crate::support::rule::object;
use crate::support::{TestMesh, rules};

const FRONTEND: &str = "frontend-v1-0";
const SLEEP: &str = "sleep-0";

/// Names of the clusters that lead to httpbin.
async fn httpbins(mesh: &TestMesh) -> Vec<String> {
    let clusters = mesh.clusters(SLEEP).await.expect("clusters");
    let names = clusters.iter().filter_map(|cluster| cluster["name"].as_str());
    let mut names: Vec<String> = names
        .filter(|name| name.starts_with("outbound|8000||httpbin."))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

/// EX-1145 to EX-1151: what is not imported is 404 on a port that has a listener, although unknown destinations pass.
#[tokio::test(flavor = "multi_thread")]
async fn ex_1145_1146_1147_1148_1149_1150_1151_sleep_reaches_its_own_namespace_only() {
    let mesh = TestMesh::start(&["sleep", "httpbin"]).await;
    let second =
        rules("httpbin/httpbin.yaml").replace("  name: httpbin\n", "  name: httpbin\n  namespace: weather\n");
    mesh.apply(&rules("weather/namespace.yaml")).await;
    mesh.apply(&second).await;
    mesh.scale(&second, "weather", "httpbin", 1).await;
    let [own, other] = ["default", "weather"]
        .map(|namespace| format!("outbound|8000||httpbin.{namespace}.svc.cluster.local"));
    let [to_own, to_other] = ["default", "weather"]
        .map(|namespace| format!("http://httpbin.{namespace}.svc.cluster.local:8000/status/200"));
    assert_eq!(httpbins(&mesh).await, [own.clone(), other]);
    let caller = mesh.from(SLEEP);
    caller.expect(200, &to_own, &[]).await;
    caller.expect(200, &to_other, &[]).await;

    mesh.enforce(&object(
        "Sidecar",
        "default",
        "sidecar-demo",
        "{workloadSelector: {labels: {app: sleep}}, egress: [{hosts: ['default/*', 'istio-system/*']}]}",
    ))
    .await;
    let stored = mesh
        .stored("Sidecar", "default", "sidecar-demo")
        .await
        .expect("stored");
    assert_eq!(stored["workloadSelector"]["labels"]["app"], "sleep");
    assert_eq!(httpbins(&mesh).await, [own]);
    caller.expect(404, &to_other, &[]).await;
    caller.expect(200, &to_own, &[]).await;
}

/// EX59: port 3002 of the namespace and nothing else of it.
#[test]
fn ex_59_an_egress_listener_for_one_port() {
    DOUBLES.run(async |mesh| {
        let caller = mesh.from(FRONTEND);
        let [forecast, advertisement] = ["http://forecast:3002/", "http://advertisement:3003/"];
        mesh.enforce(&policy("REGISTRY_ONLY")).await;
        caller.expect(200, advertisement, &[]).await;
        mesh.enforce(&object(
            "Sidecar",
            "weather",
            "default",
            "{egress: [{port: {number: 3002, protocol: HTTP, name: http}, hosts: ['weather/*']}, {hosts: ['istio-system/*']}]}",
        ))
        .await;
        caller.expect(200, forecast, &[]).await;
        let listeners = mesh.admin(FRONTEND, "listeners").await.expect("listeners");
        assert!(listeners.contains("0.0.0.0_3002"), "{listeners}");
        assert!(!listeners.contains("0.0.0.0_3003"), "{listeners}");
        mesh.eventually("nobody else is reached", async || {
            let answer = caller.get(advertisement, &[]).await;
            anyhow::ensure!(answer.is_err(), "{answer:?}");
            Ok(())
        })
        .await;
        caller.expect(200, forecast, &[]).await;
    });
}
