//! Destinations that are no service of the mesh.

use e2e::load::Answer;
use serde_json::json;

use crate::support::fixture::DOUBLES;
use crate::support::rule::object;
use crate::support::{TestMesh, status};

const FRONTEND: &str = "frontend-v1-0";
const DATABASE: &str = "http://www.weatherdb.com/";

/// A server without a sidecar in a namespace without injection stands for the world outside.
const OUTSIDE: &str = "---
apiVersion: v1
kind: Namespace
metadata: {name: outside}
---
apiVersion: v1
kind: Service
metadata: {name: database, namespace: outside}
spec: {ports: [{name: tcp, port: 8088}], selector: {app: database}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: database, namespace: outside}
spec:
  replicas: 1
  selector: {matchLabels: {app: database}}
  template:
    metadata: {labels: {app: database}}
    spec:
      containers:
      - {name: database, image: 'istio-rs/echo:v1', env: [{name: PORT, value: \"8088\"}, {name: APP, value: database}], ports: [{containerPort: 8088}]}
";

/// Lets calls to unknown hosts pass or not.
pub(crate) fn policy(mode: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    \
         disablePolicyChecks: true\n    enableTracing: false\n    accessLogFile: /dev/stdout\n    ingressService: istio-ingressgateway\n    \
         rootNamespace: istio-system\n    outboundTrafficPolicy: {{mode: {mode}}}\n    connectTimeout: 10s\n    dnsRefreshRate: 5s\n    \
         configSources: [{{address: \"istio-galley.istio-system.svc:9901\"}}]\n    \
         defaultConfig: {{discoveryAddress: \"istio-pilot.istio-system:15010\"}}\n"
    )
}

fn app(answer: &Answer) -> String {
    match answer.status {
        200 => answer.header("x-sample-app").to_owned(),
        _ => status(answer),
    }
}

/// Waits for what becomes of calls to the database: the mesh configuration is not part of what Galley serves.
async fn calls_end(mesh: &TestMesh, expected: &str) {
    mesh.eventually(
        &format!("calls of the database end with {expected}"),
        async || {
            let class = app(&mesh.from(FRONTEND).get(DATABASE, &[]).await?);
            anyhow::ensure!(class == expected, "{class}");
            Ok(())
        },
    )
    .await;
}

/// EX54: a host outside is reachable once it is declared, if unknown ones are not.
/// `R-SE-5`, `R-OB-3`, `R-OB-4`.
#[test]
fn ex_54_a_service_entry_opens_the_way_to_a_host_outside() {
    DOUBLES.run(async |mesh| {
        mesh.apply(OUTSIDE).await;
        mesh.scale(OUTSIDE, "outside", "database", 1).await;
        let address = mesh.pod_ip("database-0").expect("it runs");
        let direct = format!("http://{address}:8088/");
        mesh.from(FRONTEND).expect(200, &direct, &[]).await;
        let passed = mesh.stat(FRONTEND, "cluster.PassthroughCluster.upstream_cx_total").await;
        assert!(passed.expect("counted by name") > 0);
        mesh.enforce(&policy("REGISTRY_ONLY")).await;
        // What no service stands for is dropped, and on a port that services use there is no such host (EX-1151).
        mesh.eventually("unknown destinations are dropped", async || {
            let answer = mesh.from(FRONTEND).get(&direct, &[]).await;
            anyhow::ensure!(answer.is_err(), "{answer:?}");
            Ok(())
        })
        .await;
        calls_end(mesh, "404").await;
        let entry = object(
            "ServiceEntry",
            "weather",
            "database",
            "{hosts: [www.weatherdb.com], ports: [{number: 80, name: http, protocol: HTTP}], location: MESH_EXTERNAL, resolution: DNS,
              endpoints: [{address: database.outside.svc.cluster.local, ports: {http: 8088}}]}",
        );
        mesh.enforce(&entry).await;
        calls_end(mesh, "database").await;
        let seen = mesh.from(FRONTEND).echo(DATABASE, &[]).await;
        assert_eq!(seen.host, "www.weatherdb.com");
        // Visible: the access log of the caller names the host.
        mesh.stat(FRONTEND, "cluster.outbound|80||www.weatherdb.com.upstream_rq_200").await.expect("counted");
        mesh.withdraw("ServiceEntry", "weather", "database").await;
        calls_end(mesh, "404").await;
    });
}

/// The two clusters of seed 002 are in every proxy, as the seed prints them.
#[test]
fn ex_70_the_clusters_for_unknown_destinations() {
    DOUBLES.run(async |mesh| {
        for pod in [FRONTEND, "forecast-v2-1"] {
            let hole = mesh.cluster(pod, "BlackHoleCluster").await.expect("a cluster");
            assert_eq!(hole["type"], json!("STATIC"));
            assert_eq!(hole["load_assignment"]["endpoints"], json!(null), "nowhere to go");
            let through = mesh.cluster(pod, "PassthroughCluster").await.expect("a cluster");
            assert_eq!(
                (&through["type"], &through["lb_policy"]),
                (&json!("ORIGINAL_DST"), &json!("CLUSTER_PROVIDED"))
            );
            assert_eq!(
                (&hole["connect_timeout"], &through["connect_timeout"]),
                (&json!("10s"), &json!("10s"))
            );
        }
    });
}
