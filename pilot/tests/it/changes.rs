//! What is pushed when something changes, and what is not.

use mesh_api::type_url;
use mesh_config::Kind;

use crate::galley::{Galley, forecast_at, forecast_to, new_service};
use crate::pilot::{FRONTEND, INGRESS, Pilot};

const FORECAST_V1: &str = "outbound|3002|v1|forecast.weather.svc.cluster.local";
const FORECAST: &str = "outbound|3002||forecast.weather.svc.cluster.local";

/// `P9.3`.
#[tokio::test(flavor = "multi_thread")]
async fn p4_2_a_gateway_on_the_network_of_its_host_is_not_taken_for_another_pod_there() {
    let mut galley = Galley::start();
    let on_host = |namespace: &str, name: &str, labels: &str, created: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod,
               metadata: {{name: {name}, namespace: {namespace}, labels: {labels}, creationTimestamp: '{created}'}},
               spec: {{hostNetwork: true, containers: [{{name: app}}]}}, status: {{phase: Running, podIP: 10.1.0.4}}}}"
        )
    };
    galley.apply(&on_host(
        "istio-system",
        "istio-ingressgateway-0",
        "{istio: ingressgateway}",
        "2019-04-01T10:00:00Z",
    ));
    galley.apply(&on_host(
        "monitoring",
        "exporter-0",
        "{app: exporter}",
        "2019-04-02T10:00:00Z",
    ));
    let pilot = Pilot::of(&galley).await;
    let gateway = pilot.settled(INGRESS).await;
    assert!(gateway.everything().contains_key(&("rds", "http.80".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_configuration_is_whole() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let envoy = pilot.settled(FRONTEND).await;
    for cluster in [
        FORECAST,
        FORECAST_V1,
        "outbound|3002|v2|forecast.weather.svc.cluster.local",
        "outbound|3000||frontend.weather.svc.cluster.local",
        "inbound|3000|http|frontend.weather.svc.cluster.local",
        "BlackHoleCluster",
        "PassthroughCluster",
    ] {
        assert!(
            envoy.has(type_url::CLUSTER, cluster),
            "{cluster} in {:?}",
            envoy.names(type_url::CLUSTER)
        );
    }
    assert_eq!(envoy.endpoints(FORECAST), ["10.1.0.1:3002", "10.1.0.2:3002"]);
    assert_eq!(envoy.endpoints(FORECAST_V1), ["10.1.0.1:3002"]);
    assert!(envoy.has(type_url::LISTENER, "virtualOutbound"));
    assert!(envoy.has(type_url::LISTENER, "virtualInbound"));
    assert!(envoy.route("3002").contains(FORECAST_V1));

    let gateway = pilot.settled(INGRESS).await;
    assert_eq!(gateway.names(type_url::LISTENER).len(), 1);
    assert!(
        gateway
            .route("http.80")
            .contains("outbound|3000||frontend.weather.svc.cluster.local")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_service_changes_routes_alone() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    for subset in ["v2", "v1", "v2"] {
        galley.apply(&forecast_to(subset));
        let update = envoy.expect("rds").await;
        assert_eq!(update.names, ["3002"]);
        assert!(
            envoy
                .route("3002")
                .contains(&format!("outbound|3002|{subset}|forecast"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_4_endpoints_change_endpoints_alone() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    galley.apply(&forecast_at(&["10.1.0.1"]));
    let update = envoy.expect("eds").await;
    // The subset v1 has the same endpoints as before.
    assert_eq!(
        update.names,
        ["outbound|3002|v2|forecast.weather.svc.cluster.local", FORECAST]
    );
    assert_eq!(envoy.endpoints(FORECAST), ["10.1.0.1:3002"]);

    // Nothing else was on its way: the next response is that of the next change.
    galley.apply(&forecast_to("v2"));
    envoy.expect("rds").await;
    assert_eq!(pilot.metric("pilot_xds_pushes{type=\"lds\"}").await, 1.0);
    assert_eq!(pilot.metric("pilot_xds_pushes{type=\"cds\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn t9_a_service_that_is_scaled_to_zero_gets_an_empty_assignment() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    galley.apply(&forecast_at(&[]));
    assert_eq!(envoy.expect("eds").await.names.len(), 3);
    assert_eq!(envoy.endpoints(FORECAST), Vec::<String>::new());
    galley.apply(&forecast_at(&["10.1.0.2"]));
    envoy.expect("eds").await;
    assert_eq!(envoy.endpoints(FORECAST), ["10.1.0.2:3002"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_3_a_new_service_brings_cluster_endpoints_and_routes_in_this_order() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    galley.apply(&new_service("advertisement", 3002));
    envoy.expect("cds").await;
    let cluster = "outbound|3002||advertisement.weather.svc.cluster.local";
    assert_eq!(envoy.expect("eds").await.names, [cluster]);
    assert_eq!(envoy.endpoints(cluster), ["10.1.0.9:3002"]);
    assert_eq!(envoy.expect("rds").await.names, ["3002"]);
    assert!(envoy.route("3002").contains("advertisement"));

    // On a port of its own it brings a listener, and the listener asks for its routes.
    galley.apply(&new_service("recommendation", 3003));
    envoy.expect("cds").await;
    envoy.expect("eds").await;
    envoy.expect("lds").await;
    assert_eq!(envoy.expect("rds").await.names, ["3003"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_after_the_routes_that_lead_to_it() {
    let mut galley = Galley::start();
    galley.apply(&new_service("advertisement", 3002));
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    galley.remove(Kind::Service, "weather", "advertisement");
    galley.publish();
    envoy.expect("rds").await;
    assert!(!envoy.route("3002").contains("advertisement"));
    let cluster = "outbound|3002||advertisement.weather.svc.cluster.local";
    assert!(envoy.has(type_url::CLUSTER, cluster));
    envoy.expect("cds").await;
    assert!(!envoy.has(type_url::CLUSTER, cluster));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_again_unchanged_is_not_pushed() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    let generation = pilot.json("/debug/push_status").await["generation"].clone();
    for _ in 0..3 {
        galley.publish();
    }
    galley.apply(&forecast_to("v2"));
    envoy.expect("rds").await;
    let next = pilot.json("/debug/push_status").await["generation"].clone();
    assert_eq!(next.as_u64().unwrap(), generation.as_u64().unwrap() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_label_moves_an_endpoint_to_another_subset() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    galley.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: forecast-v1-0, namespace: weather, labels: {app: forecast, version: v2}},
          spec: {containers: [{name: app}]}, status: {phase: Running, podIP: 10.1.0.1}}",
    );
    envoy.expect("eds").await;
    assert_eq!(envoy.endpoints(FORECAST_V1), Vec::<String>::new());
    assert_eq!(
        envoy.endpoints("outbound|3002|v2|forecast.weather.svc.cluster.local"),
        ["10.1.0.1:3002", "10.1.0.2:3002"]
    );
}
