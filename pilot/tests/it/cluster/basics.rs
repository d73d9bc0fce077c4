//! Services, EndpointSlices, Pods and Nodes.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use super::{Cluster, endpoint, endpoint_at, endpoint_that_is, until_endpoints};
use crate::galley::Galley;

#[tokio::test(flavor = "multi_thread")]
async fn p4_2_services_slices_pods_and_nodes_of_an_api_server_reach_proxies() {
    let cluster = Cluster::shared("basics").await;
    let galley = Galley::start();
    let pilot = cluster.pilot(&galley, &[]).await;
    pilot.ready().await;

    // Endpoints first, then what they are of: the order does not matter.
    cluster
        .slice(
            "forecast-1",
            "forecast",
            8080,
            json!([endpoint("forecast-v1-0", "10.7.0.1")]),
        )
        .await;
    cluster
        .slice(
            "forecast-2",
            "forecast",
            8080,
            json!([endpoint("forecast-v2-0", "10.7.0.2")]),
        )
        .await;
    cluster
        .service(
            "forecast",
            json!({ "selector": { "app": "forecast" }, "ports": [{ "name": "http", "port": 3002, "targetPort": "web" }] }),
        )
        .await;
    let host = cluster.host("forecast");
    until_endpoints(&pilot, &host, &["10.7.0.1:8080", "10.7.0.2:8080"]).await;
    let node = cluster.node("eu", "eu-1").await;
    for (version, ip) in [("v1", "10.7.0.1"), ("v2", "10.7.0.2")] {
        let containers =
            json!([{ "name": "app", "image": "app", "ports": [{ "name": "web", "containerPort": 8080 }] }]);
        let spec = json!({ "nodeName": node, "serviceAccountName": "sa", "containers": containers });
        let name = format!("forecast-{version}-0");
        cluster.pod(&name, "forecast", version, ip, spec).await;
    }
    pilot.until_metric("endpoint_no_pod", 0.0).await;
    let first = endpoint_at(&pilot, &host, "10.7.0.1:8080").await;
    assert_eq!(first["labels"], json!({ "app": "forecast", "version": "v1" }));
    assert_eq!(first["locality"], "eu/eu-1/");

    // A proxy of the service has its inbound port, by the name of the container's port.
    let own = pilot.settled(&cluster.sidecar("forecast-v1-0", "10.7.0.1")).await;
    let inbound = format!("inbound|3002|http|{host}");
    assert!(
        own.everything().contains_key(&("cds", inbound)),
        "{:?}",
        own.everything().keys()
    );

    // A slice that changes is a change of endpoints, and of nothing else.
    let mut envoy = pilot.settled(&cluster.sidecar("sleep", "10.7.0.9")).await;
    assert!(
        envoy
            .everything()
            .contains_key(&("cds", cluster.outbound(3002, "forecast")))
    );
    cluster
        .slice(
            "forecast-2",
            "forecast",
            8080,
            json!([
                endpoint_that_is("forecast-v2-0", "10.7.0.2", &json!({ "ready": false })),
                endpoint("forecast-v1-0", "10.7.0.1"),
                endpoint("forecast-v3-0", "10.7.0.3"),
            ]),
        )
        .await;
    envoy.expect("eds").await;
    until_endpoints(&pilot, &host, &["10.7.0.1:8080", "10.7.0.3:8080"]).await;
    cluster.delete::<EndpointSlice>("forecast-1").await;
    cluster
        .slice(
            "forecast-2",
            "forecast",
            8080,
            json!([endpoint_that_is(
                "forecast-v1-0",
                "10.7.0.1",
                &json!({ "ready": false, "serving": true, "terminating": true })
            ),]),
        )
        .await;
    // Nobody else is left.
    until_endpoints(&pilot, &host, &["10.7.0.1:8080"]).await;
    cluster.slice("forecast-2", "forecast", 8080, json!([])).await;
    until_endpoints(&pilot, &host, &[]).await;
    assert!(
        pilot
            .metric("pilot_k8s_reg_events{event=\"update\",type=\"EndpointSlice\"}")
            .await
            >= 3.0
    );
}
