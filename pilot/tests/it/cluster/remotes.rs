//! Two API servers.

use k8s_openapi::api::core::v1::{Secret, Service};
use mesh_testing::kube::{Access, ApiServer};
use serde_json::{Value, json};

use super::{Cluster, clusters, endpoint, endpoint_at, endpoints_of, until_cluster, until_endpoints};
use crate::galley::Galley;

/// A Secret with kubeconfigs of clusters.
async fn secret(cluster: &Cluster, name: &str, kubeconfigs: &[(&str, String)]) {
    let data: serde_json::Map<String, Value> = kubeconfigs
        .iter()
        .map(|(cluster, kubeconfig)| ((*cluster).to_owned(), json!(kubeconfig)))
        .collect();
    let secret = json!({ "metadata": { "labels": { "istio/multiCluster": "true" } }, "stringData": data });
    cluster.put::<Secret>(name, secret).await;
}

fn kubeconfig(access: &Access) -> String {
    std::fs::read_to_string(access.kubeconfig()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_3_clusters_come_change_and_go_with_their_secrets() {
    let mut server = ApiServer::start().await.unwrap();
    let own = Cluster::shared("remotes").await;
    let east = own.twin(&server).await;
    own.simple_service("forecast").await;
    own.slice(
        "forecast-1",
        "forecast",
        80,
        json!([endpoint("forecast-0", "10.7.1.1")]),
    )
    .await;
    // As StatefulSets of two clusters with one range of addresses: the same name at the same address.
    own.pod("forecast-0", "forecast", "v1", "10.7.1.1", json!({}))
        .await;
    east.simple_service("forecast").await;
    east.slice(
        "forecast-1",
        "forecast",
        80,
        json!([
            endpoint("forecast-0", "10.7.1.1"),
            endpoint("forecast-1", "10.8.1.1")
        ]),
    )
    .await;
    east.pod("forecast-0", "forecast", "v2", "10.7.1.1", json!({}))
        .await;
    east.pod("forecast-1", "forecast", "v2", "10.8.1.1", json!({}))
        .await;
    east.simple_service("eastern").await;
    east.slice(
        "eastern-1",
        "eastern",
        80,
        json!([endpoint("eastern-0", "10.8.1.2")]),
    )
    .await;

    // Found at start: what Pilot publishes first has its endpoints.
    let admin = kubeconfig(&east.access);
    secret(&own, "clusters", &[("east", admin.clone())]).await;
    let galley = Galley::start();
    let namespace = format!("--clusterRegistriesNamespace={}", own.namespace);
    let pilot = own.pilot(&galley, &[&namespace]).await;
    pilot.ready().await;
    let forecast = own.host("forecast");
    let eastern = own.host("eastern");
    assert_eq!(
        endpoints_of(&pilot, &eastern).await.as_deref(),
        Some(&["10.8.1.2:80".to_owned()][..])
    );
    let far = endpoint_at(&pilot, &forecast, "10.8.1.1:80").await;
    assert_eq!(far["labels"]["version"], "v2");
    pilot.until_metric("pilot_remote_clusters", 1.0).await;

    // A kubeconfig that cannot be used harms nobody, and is named with its Secret; nor does a name that is ours.
    let exec = r#"{"current-context":"a","contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],
        "clusters":[{"name":"a","cluster":{"server":"https://192.0.2.1"}}],
        "users":[{"name":"a","user":{"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"true"}}}]}"#;
    secret(
        &own,
        "more",
        &[
            ("broken", "geheim".to_owned()),
            ("exec", exec.to_owned()),
            ("Kubernetes", admin.clone()),
        ],
    )
    .await;
    // One after the other is looked at: the last of the four is that with `exec`.
    until_cluster(&pilot, 3, |status| status["refused"].is_string()).await;
    let all = clusters(&pilot).await;
    assert_eq!(all.len(), 4, "{all:?}");
    assert_eq!(all[1]["refused"], "it cannot be read as a kubeconfig");
    assert_eq!(all[1]["secret"], format!("{}/more", own.namespace));
    assert_eq!(all[2]["cluster"], "east");
    assert!(
        all[3]["refused"]
            .as_str()
            .unwrap()
            .starts_with("exec is not taken"),
        "{all:?}"
    );
    pilot.until_metric("pilot_remote_kubeconfig_errors", 2.0).await;
    own.delete::<Secret>("more").await;
    until_cluster(&pilot, 1, |status| status["cluster"] == "east").await;

    // A change to what cannot be used leaves what was; so does one to a server that is not there.
    secret(&own, "clusters", &[("east", "geheim".to_owned())]).await;
    until_cluster(&pilot, 1, |status| status["refused"].is_string()).await;
    let nowhere = kubeconfig(&east.access.at("https://127.0.0.1:1").unwrap());
    secret(&own, "clusters", &[("east", nowhere)]).await;
    until_cluster(&pilot, 1, |status| {
        status["refused"].is_null() && status["error"].is_string()
    })
    .await;
    until_endpoints(&pilot, &eastern, &["10.8.1.2:80"]).await;

    // What the new one finds replaces what the old one knew.
    east.delete::<Service>("eastern").await;
    secret(&own, "clusters", &[("east", admin.clone())]).await;
    until_endpoints(&pilot, &eastern, &[]).await;
    until_endpoints(&pilot, &forecast, &["10.7.1.1:80", "10.7.1.1:80", "10.8.1.1:80"]).await;

    // A server that is away takes nothing along.
    server.stop();
    until_cluster(&pilot, 1, |status| status["connected"] == false).await;
    until_endpoints(&pilot, &forecast, &["10.7.1.1:80", "10.7.1.1:80", "10.8.1.1:80"]).await;
    assert_eq!(pilot.get("/ready").await.0, 200);
    server.resume().await.unwrap();
    until_cluster(&pilot, 1, |status| status["connected"] == true).await;

    own.delete::<Secret>("clusters").await;
    until_endpoints(&pilot, &forecast, &["10.7.1.1:80"]).await;
    pilot.until_metric("pilot_remote_clusters", 0.0).await;
    assert_eq!(clusters(&pilot).await.len(), 1);
}
