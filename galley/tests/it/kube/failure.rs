//! An API server that is not there, forgets, or forbids.

use std::process::Command;

use mesh_config::Kind;
use mesh_testing::kube::ApiServer;
use serde_json::Value;

use super::{apply, delete, galley, gateway, shared, there};
use crate::harness::{Galley, TestSink, within};

fn signal(galley: &Galley, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &galley.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn g6_2_the_api_server_is_down_at_the_start_then_in_the_middle_and_forgets() {
    let mut server = ApiServer::start().await.unwrap();
    server.define_kinds().await.unwrap();
    let yaml = gateway("a", 80) + &gateway("b", 80);
    apply(&server, "default", &yaml).await;

    // Down at the start.
    server.stop();
    let galley = galley(server.admin(), &[]);
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway, Kind::Sidecar]);
    galley
        .log_line("waiting", |line| {
            line["msg"] == "the API server is not ready, waiting for it"
        })
        .await;
    assert_eq!(galley.get("/ready").await.0, 503);
    assert!(!sink.has_more());
    server.resume().await.unwrap();
    sink.expect(Kind::Gateway, &["default/a", "default/b"]).await;

    // Down in the middle: nothing is lost, and what changes later follows.
    server.stop();
    within("the failure to be noticed", async || {
        let page = galley.json("/debug/source").await;
        let kinds = page["kinds"].as_array().unwrap();
        kinds.iter().any(|row| row["state"] == "failing").then_some(())
    })
    .await;
    assert_eq!(galley.get("/ready").await.0, 200, "what is known is served");
    let mut late = TestSink::start(galley.mcp, &[Kind::Gateway]);
    late.expect(Kind::Gateway, &["default/a", "default/b"]).await;
    server.resume().await.unwrap();
    apply(&server, "default", &gateway("c", 80)).await;
    sink.expect(Kind::Gateway, &["default/a", "default/b", "default/c"])
        .await;

    // While Galley does not look, objects change, and nobody remembers how.
    signal(&galley, "-STOP");
    delete(&server, "default", "gateways.networking.istio.io a").await;
    apply(&server, "default", &gateway("d", 80)).await;
    server.stop();
    server.compact().await.unwrap();
    server.resume().await.unwrap();
    signal(&galley, "-CONT");
    sink.expect(Kind::Gateway, &["default/b", "default/c", "default/d"])
        .await;
    assert_eq!(sink.handle.status().streams, 1, "the stream never broke");
}

/// May read what Galley reads, but for one kind.
const ROLE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: galley-without-sidecars}
rules:
- apiGroups: [networking.istio.io]
  resources: [gateways]
  verbs: [get, list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: galley-without-sidecars}
subjects: [{kind: User, name: galley, apiGroup: rbac.authorization.k8s.io}]
roleRef: {kind: ClusterRole, name: galley-without-sidecars, apiGroup: rbac.authorization.k8s.io}
";

#[tokio::test]
async fn g6_2_a_kind_that_must_not_be_read_has_no_objects_and_harms_no_other() {
    let server = shared().await;
    let namespace = server.namespace("forbidden").await.unwrap();
    let sidecar = "---\napiVersion: networking.istio.io/v1alpha3\nkind: Sidecar\nmetadata: {name: a}\nspec: {egress: [{hosts: ['*/*']}]}\n";
    apply(server, &namespace, &(gateway("a", 80) + sidecar + "---" + ROLE)).await;
    let access = server
        .admin()
        .as_user("galley", &["system:authenticated"])
        .unwrap();
    let galley = galley(&access, &[]);
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway, Kind::Sidecar]);
    sink.expect_where(Kind::Gateway, there(&namespace, &["a"])).await;
    sink.expect(Kind::Sidecar, &[]).await;
    let page = galley.json("/debug/source").await;
    let kinds = page["kinds"].as_array().unwrap();
    let row = kinds
        .iter()
        .find(|row| row["collection"] == Kind::Sidecar.collection())
        .unwrap();
    assert_eq!(row["state"], "forbidden", "{row}");
    assert!(row["reason"].as_str().unwrap().contains("sidecars"), "{row}");
    let told = |line: &Value| line["kind"] == "sidecars.networking.istio.io" && line["level"] == "warn";
    assert_eq!(galley.log_lines(told), 1);
}
