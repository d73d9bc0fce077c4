//! What stands in the status of objects that cannot be served.

use mesh_config::Kind;
use mesh_testing::kube::ApiServer;
use serde_json::Value;

use super::objects::broken;
use super::{PATIENCE, apply, galley, gateway, shared, there};
use crate::harness::TestSink;

/// Waits for the conditions of an object.
async fn conditions(server: &ApiServer, namespace: &str, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let get = ["-n", namespace, "get", "gateway", name, "-o", "json"];
    mesh_testing::eventually(PATIENCE, async || {
        let text = server.admin().kubectl(&get, "").await?;
        let object: Value = serde_json::from_str(&text)?;
        anyhow::ensure!(fits(&object["status"]["conditions"]), "{object:#}");
        anyhow::Ok(object)
    })
    .await
    .unwrap()
}

/// May read what Galley reads and run for its lease, but not write a status.
fn reader(namespace: &str) -> String {
    format!(
        "---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {namespace}}}
rules:
- {{apiGroups: [networking.istio.io], resources: ['*'], verbs: [get, list, watch]}}
- {{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {namespace}}}
subjects: [{{kind: User, name: {namespace}, apiGroup: rbac.authorization.k8s.io}}]
roleRef: {{kind: ClusterRole, name: {namespace}, apiGroup: rbac.authorization.k8s.io}}
"
    )
}

#[tokio::test]
async fn pain_11_a_galley_that_must_not_write_a_status_says_so_once_and_serves() {
    let server = shared().await;
    let namespace = server.namespace("reader").await.unwrap();
    let objects = reader(&namespace) + &broken("bad") + &broken("worse") + &gateway("good", 80);
    apply(server, &namespace, &objects).await;
    let user = server
        .admin()
        .as_user(&namespace, &["system:authenticated"])
        .unwrap();
    let galley = galley(&user, &[&format!("--deployment-namespace={namespace}")]);
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway]);
    let told = |line: &Value| {
        line["msg"] == "the status of objects must not be written" && line["kind"] == "Gateway"
    };
    galley.log_line("the missing role", told).await;
    sink.expect_where(Kind::Gateway, there(&namespace, &["good"]))
        .await;
    apply(server, &namespace, &(broken("more") + &gateway("other", 80))).await;
    sink.expect_where(Kind::Gateway, there(&namespace, &["good", "other"]))
        .await;
    assert_eq!(galley.log_lines(told), 1);
}

#[tokio::test]
async fn pain_11_what_is_wrong_stands_in_the_status_until_it_is_repaired() {
    let server = shared().await;
    let namespace = server.namespace("status").await.unwrap();
    apply(server, &namespace, &(broken("bad") + &gateway("good", 80))).await;
    let flag = format!("--deployment-namespace={namespace}");
    let galleys = [galley(server.admin(), &[&flag]), galley(server.admin(), &[&flag])];
    let object = conditions(server, &namespace, "bad", |conditions| conditions.is_array()).await;
    let condition = &object["status"]["conditions"][0];
    assert_eq!(condition["type"], "Accepted");
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&"False".into(), &"Invalid".into())
    );
    let message = condition["message"].as_str().unwrap();
    assert!(
        message.contains("port.protocol: ") && message.contains("SMTPS"),
        "{message}"
    );
    assert_eq!(condition["observedGeneration"], object["metadata"]["generation"]);

    apply(server, &namespace, &gateway("bad", 80)).await;
    let repaired = conditions(server, &namespace, "bad", Value::is_null).await;
    // Nobody writes any more, and only one wrote.
    let again = conditions(server, &namespace, "bad", Value::is_null).await;
    assert_eq!(
        again["metadata"]["resourceVersion"],
        repaired["metadata"]["resourceVersion"]
    );
    let good = conditions(server, &namespace, "good", Value::is_null).await;
    assert_eq!(good["metadata"]["generation"], 1);
    let mut leaders = 0;
    for galley in &galleys {
        let written = galley
            .metric("galley_source_status_writes_total{result=\"written\"}")
            .await;
        leaders += usize::from(written > 0.0);
    }
    assert_eq!(leaders, 1);
}
