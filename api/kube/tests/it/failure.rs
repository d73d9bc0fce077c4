//! An API server that goes away, and changes that are missed meanwhile.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use mesh_kube::State;
use mesh_testing::kube::ApiServer;

use crate::support::{Link, colour, config_maps, create, delete, eager, paint};

/// One server of its own for all failures, one after another: a start takes seconds.
#[tokio::test]
async fn nothing_is_lost_or_repeated_whatever_fails() {
    let mut server = ApiServer::start().await.unwrap();
    let namespace = server.namespace("failures").await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(server.client().await.unwrap(), &namespace);
    for name in ["same", "changed", "deleted"] {
        create(&api, name, "red").await;
    }
    let link = Link::to(server.port()).await;
    let client = server.admin().at(&link.url()).unwrap().client().await.unwrap();
    let mut view = config_maps(client, &namespace, eager());
    view.until(|view| view.synced == 1).await;

    // The connection breaks; the server still knows what happened since.
    link.cut();
    paint(&api, "changed", "blue").await;
    view.until_state(|state| matches!(state, State::Failing(_))).await;
    link.mend();
    view.until(|view| colour(&view.objects["changed"]) == "blue")
        .await;
    assert_eq!(view.status().lists, 1, "changes were told, not listed again");

    // The server forgets everything but the present while the connection is broken.
    link.cut();
    paint(&api, "changed", "green").await;
    delete(&api, "deleted").await;
    create(&api, "new", "red").await;
    server.stop();
    view.until_state(|state| matches!(state, State::Failing(_))).await;
    server.resume().await.unwrap();
    server.compact().await.unwrap();
    link.mend();
    view.until(|view| view.objects.contains_key("new") && !view.objects.contains_key("deleted"))
        .await;
    assert_eq!(view.status().lists, 2, "410 leads to another list");
    assert_eq!(colour(&view.objects["changed"]), "green");

    // The server itself restarts, and is down for a while.
    server.stop();
    view.until_state(|state| matches!(state, State::Failing(_))).await;
    server.resume().await.unwrap();
    paint(&api, "new", "blue").await;
    view.until(|view| colour(&view.objects["new"]) == "blue").await;

    // The server cannot read what is stored.
    server.stop_etcd();
    server.resume_etcd().await.unwrap();
    mesh_testing::eventually(crate::support::PATIENCE, async || {
        mesh_kube::patch::apply(&api, "tests", &crate::support::config_map("new", "green")).await
    })
    .await
    .unwrap();
    view.until(|view| colour(&view.objects["new"]) == "green").await;

    assert_eq!(view.applied["same"], 1);
    assert_eq!(view.applied["changed"], 3);
    assert_eq!(view.synced, 1);
    view.until_state(|state| *state == State::Following).await;
}

/// A watch that begins before there is a server, as in a cluster that starts.
#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("late").await.unwrap();
    let link = Link::to(server.port()).await;
    link.cut();
    let client = server.admin().at(&link.url()).unwrap().client().await.unwrap();
    let mut view = config_maps(client, &namespace, eager());
    view.until_state(|state| matches!(state, State::Failing(_))).await;
    assert_eq!(view.synced, 0);
    link.mend();
    view.until(|view| view.synced == 1).await;
}
