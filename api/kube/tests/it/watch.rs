//! Following a kind while nothing goes wrong, and kinds that are not there or not ours.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use mesh_kube::{State, WatchOptions};
use mesh_testing::kube::ApiServer;

use crate::support::{View, colour, config_maps, create, delete, eager, paint};

#[tokio::test]
async fn p5_2_what_is_there_and_what_changes_is_told_once() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("changes").await.unwrap();
    let client = server.client().await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    create(&api, "first", "red").await;
    create(&api, "second", "red").await;
    // More than one page.
    let options = WatchOptions {
        page_size: 1,
        ..WatchOptions::default()
    };
    let mut view = config_maps(client, &namespace, options);
    view.until(|view| view.synced == 1).await;
    assert_eq!(view.objects.keys().collect::<Vec<_>>(), ["first", "second"]);

    paint(&api, "first", "blue").await;
    create(&api, "third", "red").await;
    delete(&api, "second").await;
    view.until(|view| view.objects.contains_key("third") && !view.objects.contains_key("second"))
        .await;
    assert_eq!(colour(&view.objects["first"]), "blue");
    assert_eq!(view.applied["first"], 2);
    assert_eq!(view.applied["third"], 1);
    assert_eq!(view.synced, 1);
    let status = view.status();
    assert_eq!(
        (status.state, status.objects, status.lists),
        (State::Following, 2, 1)
    );
}

#[tokio::test]
async fn only_what_is_used_is_kept() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("stripped").await.unwrap();
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: map, annotations: {mine: kept}}}";
    let apply = ["-n", &namespace, "apply", "-f", "-"];
    server.admin().kubectl(&apply, map).await.unwrap();
    let client = server.client().await.unwrap();
    let mut view = config_maps(client, &namespace, WatchOptions::default());
    view.until(|view| view.synced == 1).await;
    let metadata = &view.objects["map"].metadata;
    assert_eq!(metadata.managed_fields, None);
    let annotations: Vec<_> = metadata.annotations.as_ref().unwrap().keys().collect();
    assert_eq!(annotations, ["mine"]);
}

#[tokio::test]
async fn labels_select() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("labels").await.unwrap();
    let map = |name: &str, label: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, labels: {{a: {label}}}}}}}\n"
        )
    };
    let apply = ["-n", &namespace, "apply", "-f", "-"];
    let both = map("in", "x") + &map("out", "z");
    server.admin().kubectl(&apply, &both).await.unwrap();
    let options = WatchOptions {
        labels: Some("a=x".to_owned()),
        ..WatchOptions::default()
    };
    let mut view = config_maps(server.client().await.unwrap(), &namespace, options);
    view.until(|view| view.synced == 1).await;
    assert_eq!(view.objects.keys().collect::<Vec<_>>(), ["in"]);
    // What is not selected any more is gone.
    server.admin().kubectl(&apply, &map("in", "z")).await.unwrap();
    view.until(|view| view.objects.is_empty()).await;
}

/// A kind that must not be read is told, and does not hold up the others; when it may be read, it is.
#[tokio::test]
async fn a_forbidden_kind_has_no_objects_until_it_is_allowed() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("forbidden").await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(server.client().await.unwrap(), &namespace);
    create(&api, "map", "red").await;
    let galley = server.admin().as_user("galley", &["galleys"]).unwrap();
    let mut view: View<ConfigMap> = config_maps(galley.client().await.unwrap(), &namespace, eager());
    view.until(|view| view.synced == 1).await;
    let State::Forbidden(reason) = view.status().state else {
        panic!("{:?}", view.status());
    };
    assert!(reason.contains("configmaps is forbidden"), "{reason}");
    assert_eq!(view.objects.len(), 0);

    let admin = server.admin();
    admin
        .allow(&namespace, "maps", "galleys", "list,watch", "configmaps")
        .await
        .unwrap();
    view.until(|view| view.objects.contains_key("map")).await;
    view.until_state(|state| *state == State::Following).await;
    assert_eq!(view.synced, 1);
}
