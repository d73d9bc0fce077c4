//! Writing objects.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::Api;
use mesh_kube::patch;
use mesh_testing::kube::ApiServer;
use serde_json::json;

use crate::support::{colour, config_map, create, delete};

#[tokio::test]
async fn what_is_applied_is_so_and_what_is_left_out_goes() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("apply").await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(server.client().await.unwrap(), &namespace);
    let mut map = config_map("map", "red");
    let data = map.data.as_mut().unwrap();
    data.insert("shape".to_owned(), "round".to_owned());
    patch::apply(&api, "galley", &map).await.unwrap();
    // Somebody else's field stays.
    let others = config_map("map", "blue");
    patch::apply(&api, "somebody", &others).await.unwrap();
    map.data.as_mut().unwrap().remove("shape");
    let written = patch::apply(&api, "galley", &map).await.unwrap();
    assert_eq!(colour(&written), "red");
    assert_eq!(written.data.unwrap().len(), 1);
}

#[tokio::test]
async fn a_status_is_written_beside_the_object() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("status").await.unwrap();
    let pod =
        "{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {containers: [{name: app, image: app}]}}";
    let apply = ["-n", &namespace, "apply", "-f", "-"];
    server.admin().kubectl(&apply, pod).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(server.client().await.unwrap(), &namespace);
    let status = json!({ "phase": "Running", "podIP": "10.1.1.1", "podIPs": [{ "ip": "10.1.1.1" }] });
    assert!(patch::status(&pods, "pod", &status).await.unwrap());
    let pod = pods.get("pod").await.unwrap();
    assert_eq!(pod.status.unwrap().pod_ip.unwrap(), "10.1.1.1");
    assert!(!patch::status(&pods, "nobody", &status).await.unwrap());
    let services: Api<Service> = Api::namespaced(server.client().await.unwrap(), &namespace);
    assert!(!patch::status(&services, "nobody", &json!({})).await.unwrap());
}

#[tokio::test]
async fn an_update_is_repeated_when_somebody_wrote_in_between() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("update").await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(server.client().await.unwrap(), &namespace);
    create(&api, "map", "0").await;
    let increment = || {
        patch::update(&api, "map", |map| {
            let number: u32 = colour(map).parse().unwrap();
            map.data = config_map("", &(number + 1).to_string()).data;
            true
        })
    };
    let (a, b, c) = tokio::join!(increment(), increment(), increment());
    for result in [a, b, c] {
        assert!(result.unwrap().is_some());
    }
    assert_eq!(colour(&api.get("map").await.unwrap()), "3");
    let unchanged = patch::update(&api, "map", |_| false).await.unwrap();
    assert_eq!(colour(&unchanged.unwrap()), "3");
    delete(&api, "map").await;
    assert!(patch::update(&api, "map", |_| true).await.unwrap().is_none());
}
