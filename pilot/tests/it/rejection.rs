//! Proxies that reject what they are sent.

use mesh_api::type_url;

use crate::galley::{Galley, forecast_to};
use crate::pilot::{FRONTEND, Pilot};

#[tokio::test(flavor = "multi_thread")]
async fn a_nack_is_counted_and_shown_and_not_answered_with_the_same() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    let accepted = pilot.synced("frontend-v1-0.weather").await["route_acked"].clone();
    let good = envoy.route("3002");

    envoy.rejects = Some(type_url::ROUTE);
    galley.apply(&forecast_to("v2"));
    envoy.expect("rds").await;
    let metric = format!("pilot_xds_rds_reject{{err=\"InvalidArgument\",node=\"{FRONTEND}\"}}");
    pilot.until_metric(&metric, 1.0).await;
    assert_eq!(pilot.metric("pilot_total_xds_rejects").await, 1.0);
    assert_eq!(envoy.route("3002"), good);

    let status = pilot.sync_status("frontend-v1-0.weather").await;
    assert_eq!(status["errors"]["rds"], "bad", "{status}");
    assert_eq!(status["route_acked"], accepted, "the last good version stays");
    assert_ne!(status["route_sent"], accepted);
    assert_eq!(status["cluster_sent"], status["cluster_acked"]);

    // Publications that leave the routes alone do not send them again.
    envoy.rejects = None;
    galley.apply(&crate::galley::forecast_at(&["10.1.0.1"]));
    envoy.expect("eds").await;
    galley.apply(&crate::galley::forecast_at(&["10.1.0.2"]));
    envoy.expect("eds").await;

    galley.apply(&forecast_to("v1"));
    envoy.expect("rds").await;
    pilot.synced("frontend-v1-0.weather").await;
    assert_eq!(pilot.metric("pilot_total_xds_rejects").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_stays_as_long_as_the_routes_without_it_are_rejected() {
    let mut galley = Galley::start();
    galley.apply(&crate::galley::new_service("advertisement", 3002));
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    envoy.rejects = Some(type_url::ROUTE);
    galley.remove(mesh_config::Kind::Service, "weather", "advertisement");
    galley.publish();
    envoy.expect("rds").await;
    pilot.until_metric("pilot_total_xds_rejects", 1.0).await;

    envoy.rejects = None;
    galley.apply(&forecast_to("v2"));
    // The routes come first: until now the proxy needed the cluster.
    envoy.expect("rds").await;
    envoy.expect("cds").await;
    assert!(!envoy.has(
        type_url::CLUSTER,
        "outbound|3002||advertisement.weather.svc.cluster.local"
    ));
}
