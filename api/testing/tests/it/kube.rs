//! The API server of tests, as its users meet it.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Error};
use mesh_testing::eventually;
use mesh_testing::kube::ApiServer;

const SOON: Duration = Duration::from_secs(60);

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

fn is_forbidden(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.is_forbidden())
}

#[tokio::test]
async fn kubectl_and_clients_see_the_same() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("seen").await.unwrap();
    let object = "{apiVersion: v1, kind: ConfigMap, metadata: {name: colours}, data: {sky: blue}}";
    let said = server
        .admin()
        .kubectl(&["-n", &namespace, "apply", "-f", "-"], object)
        .await;
    assert_eq!(said.unwrap(), "configmap/colours created\n");
    let maps: Api<ConfigMap> = Api::namespaced(server.client().await.unwrap(), &namespace);
    let found = maps.get("colours").await.unwrap();
    assert_eq!(found.data.unwrap()["sky"], "blue");
    let version = server.admin().kubectl(&["version"], "").await.unwrap();
    assert!(version.contains("Server Version: v1.33."), "{version}");
}

#[tokio::test]
async fn users_may_do_what_their_roles_say() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("roles").await.unwrap();
    let reader = server.admin().as_user("reader", &["readers"]).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(reader.client().await.unwrap(), &namespace);
    let refused = maps.list(&Default::default()).await.unwrap_err();
    assert!(is_forbidden(&refused), "{refused}");
    let admin = server.admin();
    admin
        .allow(&namespace, "reader", "readers", "list", "configmaps")
        .await
        .unwrap();
    // The authorizer of the server learns of it by a watch.
    eventually(SOON, async || maps.list(&Default::default()).await.map(drop))
        .await
        .unwrap();
    let refused = maps
        .create(&PostParams::default(), &config_map("mine"))
        .await
        .unwrap_err();
    assert!(is_forbidden(&refused), "{refused}");
    assert!(
        reader
            .kubectl(&["auth", "whoami"], "")
            .await
            .unwrap()
            .contains("readers")
    );
}

#[tokio::test]
async fn service_accounts_come_with_tokens() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("accounts").await.unwrap();
    let create = ["create", "serviceaccount", "pilot", "-n", &namespace];
    server.admin().kubectl(&create, "").await.unwrap();
    let pilot = server
        .admin()
        .as_service_account(&namespace, "pilot")
        .await
        .unwrap();
    let who = pilot.kubectl(&["auth", "whoami"], "").await.unwrap();
    assert!(
        who.contains(&format!("system:serviceaccount:{namespace}:pilot")),
        "{who}"
    );
}

/// All failures on one server of its own, one after another: a start takes seconds.
#[tokio::test]
async fn what_is_stored_outlives_failures() {
    let mut server = ApiServer::start().await.unwrap();
    let namespace = server.namespace("stored").await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(server.client().await.unwrap(), &namespace);
    maps.create(&PostParams::default(), &config_map("before"))
        .await
        .unwrap();
    server.stop();
    assert!(maps.get("before").await.is_err());
    server.resume().await.unwrap();
    maps.get("before").await.unwrap();

    server.stop_etcd();
    let (params, lost) = (PostParams::default(), config_map("lost"));
    let write = tokio::time::timeout(Duration::from_secs(1), maps.create(&params, &lost));
    assert!(!matches!(write.await, Ok(Ok(_))));
    server.resume_etcd().await.unwrap();
    eventually(SOON, async || {
        maps.create(&PostParams::default(), &config_map("after"))
            .await
            .map(drop)
    })
    .await
    .unwrap();

    // A list of the past ends with the past.
    let limited = kube::api::ListParams::default().limit(1);
    let first = maps.list(&limited).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    maps.create(&PostParams::default(), &config_map("present"))
        .await
        .unwrap();
    server.compact().await.unwrap();
    let rest = maps.list(&limited.continue_token(&token)).await;
    assert!(
        matches!(&rest, Err(Error::Api(status)) if status.code == 410),
        "{rest:?}"
    );
}
