//! An API server without definitions, that forbids, forgets and restarts.

use mesh_testing::eventually;
use mesh_testing::kube::ApiServer;

use super::{Store, gateway, shared, until_in_force};
use crate::PATIENCE;

/// A namespace that there is.
fn at<'a>(server: &'a ApiServer, namespace: &str) -> Store<'a> {
    Store {
        server,
        namespace: namespace.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_2_definitions_may_come_late_and_nothing_is_lost_by_a_restart_and_a_compaction() {
    let mut server = ApiServer::start().await.unwrap();
    let namespace = server.namespace("late").await.unwrap();
    // Nothing is installed: that is an answer too.
    let pilot = at(&server, &namespace).pilot("", &[]).await;
    pilot.ready().await;
    server.define_kinds().await.unwrap();
    at(&server, &namespace)
        .apply(&(gateway("a", 80) + &gateway("b", 80)))
        .await;
    until_in_force(&pilot, "Gateway", &["a", "b"]).await;

    server.stop();
    eventually(PATIENCE, async || {
        let sources = pilot.json("/debug/sourcez").await;
        match &sources[0]["connected"] {
            serde_json::Value::Bool(false) => Ok(()),
            _ => Err(sources),
        }
    })
    .await
    .unwrap();
    until_in_force(&pilot, "Gateway", &["a", "b"]).await;
    assert_eq!(pilot.get("/ready").await.0, 200);
    server.resume().await.unwrap();
    {
        let store = at(&server, &namespace);
        store.kubectl("delete gateways.networking.istio.io a").await;
        store.apply(&gateway("c", 80)).await;
        server.compact().await.unwrap();
        until_in_force(&pilot, "Gateway", &["b", "c"]).await;
        store.apply(&gateway("d", 80)).await;
        until_in_force(&pilot, "Gateway", &["b", "c", "d"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_2_a_kind_that_is_forbidden_holds_nothing_up() {
    let server = shared().await;
    let store = Store::of(server, "forbidden").await;
    let role = format!("reader-{}", store.namespace);
    let rights = format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {role}}}
rules:
- {{apiGroups: [networking.istio.io], resources: [virtualservices, serviceentries], verbs: [get, list, watch]}}
- {{apiGroups: [''], resources: [services, pods, nodes, endpoints], verbs: [get, list, watch]}}
- {{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {role}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {role}}}]
"
    );
    store.apply(&rights).await;
    let entry = "
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: api}
spec: {hosts: [api.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
";
    store.apply(&(entry.to_owned() + &gateway("unseen", 80))).await;
    let reader = server.admin().as_user(&role, &[]).unwrap();
    let pilot = store.pilot_as(&reader, "", &[]).await;
    pilot.ready().await;
    until_in_force(&pilot, "ServiceEntry", &["api"]).await;
    until_in_force(&pilot, "Gateway", &[]).await;
    let sources = pilot.json("/debug/sourcez").await;
    let state = sources[0]["kinds"]["Gateway"]["state"].as_str().unwrap();
    assert!(state.starts_with("forbidden"), "{sources}");
    assert!(sources[0]["error"].is_string(), "{sources}");
}
