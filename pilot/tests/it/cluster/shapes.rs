//! Services and pods of every form.

use k8s_openapi::api::core::v1::Pod;
use mesh_testing::kube::ApiProxy;
use mesh_testing::kube::Fault;
use serde_json::json;

use super::{Cluster, clusters, endpoint, endpoint_at, until_cluster, until_endpoints};
use crate::galley::Galley;

#[tokio::test(flavor = "multi_thread")]
async fn p4_2_headless_and_external_services_and_the_ports_of_probes() {
    let cluster = Cluster::shared("shapes").await;
    let ports = json!([{ "name": "http", "port": 80 }]);
    cluster
        .service(
            "db",
            json!({ "clusterIP": "None", "selector": { "app": "db" }, "ports": ports }),
        )
        .await;
    cluster
        .slice("db-1", "db", 80, json!([endpoint("db-0", "10.7.2.1")]))
        .await;
    cluster
        .service(
            "outside",
            json!({ "type": "ExternalName", "externalName": "example.com", "ports": ports }),
        )
        .await;
    let probe = json!({ "httpGet": { "port": 8086 } });
    let containers = json!([{ "name": "app", "image": "app", "livenessProbe": probe }]);
    cluster
        .pod(
            "db-0",
            "db",
            "v1",
            "10.7.2.1",
            json!({ "containers": containers }),
        )
        .await;

    let galley = Galley::start();
    let pilot = cluster.pilot(&galley, &[]).await;
    pilot.ready().await;
    until_endpoints(&pilot, &cluster.host("db"), &["10.7.2.1:80"]).await;
    let services = pilot.json("/debug/registryz").await;
    let resolution = |name: &str| {
        let host = cluster.host(name);
        let mut services = services.as_array().unwrap().iter();
        let service = services.find(|service| service["hostname"] == host);
        service.unwrap()["resolution"].clone()
    };
    assert_eq!(resolution("db"), "Passthrough");
    assert_eq!(resolution("outside"), "Dns");
    let envoy = pilot.settled(&cluster.sidecar("db-0", "10.7.2.1")).await;
    let management = "inbound|8086|mgmt-8086|mgmtCluster".to_owned();
    let everything = envoy.everything();
    assert!(
        everything.contains_key(&("cds", management)),
        "{:?}",
        everything.keys()
    );

    // The pod goes, and its address passes to another pod before the slice is told.
    cluster.delete::<Pod>("db-0").await;
    cluster
        .pod(
            "web-0",
            "web",
            "v7",
            "10.7.2.1",
            json!({ "serviceAccountName": "web" }),
        )
        .await;
    pilot.until_metric("endpoint_no_pod", 1.0).await;
    let orphan = endpoint_at(&pilot, &cluster.host("db"), "10.7.2.1:80").await;
    assert_eq!(orphan["labels"], json!({}), "another's labels");
    assert!(
        !orphan.to_string().contains("sa/web"),
        "another's identity: {orphan}"
    );
    cluster
        .slice("db-1", "db", 80, json!([endpoint("db-1", "10.7.2.2")]))
        .await;
    until_endpoints(&pilot, &cluster.host("db"), &["10.7.2.2:80"]).await;
}

/// A server of before EndpointSlices, and roles of that time.
#[tokio::test(flavor = "multi_thread")]
async fn p4_2_endpoints_are_followed_where_there_are_no_slices() {
    let cluster = Cluster::shared("old").await;
    cluster.simple_service("forecast").await;
    let subsets =
        |ip: &str| json!([{ "addresses": [{ "ip": ip }], "ports": [{ "name": "http", "port": 80 }] }]);
    cluster.endpoints("forecast", subsets("10.7.3.1")).await;
    cluster
        .slice(
            "forecast-1",
            "forecast",
            80,
            json!([endpoint("forecast-0", "10.7.3.9")]),
        )
        .await;
    let host = cluster.host("forecast");
    let galley = Galley::start();
    for (status, state) in [(404, "not served"), (403, "forbidden")] {
        let proxy = ApiProxy::start(&cluster.access).await.unwrap();
        proxy.begin("endpointslices", Fault::Status(status));
        let pilot = cluster.pilot_as(proxy.access(), &galley, &[]).await;
        pilot.ready().await;
        cluster.endpoints("forecast", subsets("10.7.3.1")).await;
        until_endpoints(&pilot, &host, &["10.7.3.1:80"]).await;
        let slices = clusters(&pilot).await[0]["kinds"]["EndpointSlice"]["state"].clone();
        assert!(slices.as_str().unwrap().starts_with(state), "{slices}");
        cluster.endpoints("forecast", subsets("10.7.3.2")).await;
        until_endpoints(&pilot, &host, &["10.7.3.2:80"]).await;
        // The server is upgraded, the role is extended.
        proxy.end("endpointslices");
        until_endpoints(&pilot, &host, &["10.7.3.9:80"]).await;
        until_cluster(&pilot, 0, |status| status["kinds"]["Endpoints"].is_null()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_2_a_kind_that_must_not_be_read_is_missing_and_nothing_else_is() {
    let cluster = Cluster::shared("rights").await;
    cluster.simple_service("forecast").await;
    cluster
        .slice(
            "forecast-1",
            "forecast",
            80,
            json!([endpoint("forecast-0", "10.7.4.1")]),
        )
        .await;
    cluster
        .pod("forecast-0", "forecast", "v1", "10.7.4.1", json!({}))
        .await;
    let user = cluster.access.as_user("limited", &["limited"]).unwrap();
    for (role, resource) in [
        ("services", "services"),
        ("slices", "endpointslices.discovery.k8s.io"),
    ] {
        let namespace = &cluster.namespace;
        cluster
            .access
            .allow(namespace, role, "limited", "list,watch", resource)
            .await
            .unwrap();
    }
    let galley = Galley::start();
    let pilot = cluster.pilot_as(&user, &galley, &[]).await;
    pilot.ready().await;
    let host = cluster.host("forecast");
    until_endpoints(&pilot, &host, &["10.7.4.1:80"]).await;
    let status = &clusters(&pilot).await[0];
    for kind in ["Pod", "Node"] {
        let state = status["kinds"][kind]["state"].as_str().unwrap();
        assert!(state.starts_with("forbidden: "), "{kind}: {state}");
    }
    assert_eq!(status["kinds"]["Service"]["state"], "following");
    assert!(
        status["error"].is_string() && status["connected"] == false,
        "{status}"
    );

    cluster
        .access
        .allow(&cluster.namespace, "pods", "limited", "list,watch", "pods")
        .await
        .unwrap();
    pilot.until_metric("endpoint_no_pod", 0.0).await;
    let endpoint = endpoint_at(&pilot, &host, "10.7.4.1:80").await;
    assert_eq!(endpoint["labels"]["version"], "v1");
}
