//! Valid objects that cannot be followed to the letter.

use mesh_config::Kind;
use mesh_testing::eventually;

use crate::PATIENCE;
use crate::galley::{Galley, forecast_to};
use crate::pilot::{FRONTEND, Pilot};

/// The route of `forecast` with another destination.
fn to(destination: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService,
           metadata: {{name: forecast, namespace: weather}},
           spec: {{hosts: [forecast], http: [{{route: [{{destination: {destination}}}]}}]}}}}"
    )
}

/// `R-DR-7`.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_does_not_exist_is_reported_and_everything_else_works() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    for (destination, kind, metric) in [
        ("{host: nobody}", "unknown_host", "pilot_unknown_destination_host"),
        (
            "{host: forecast, subset: v9}",
            "unknown_subset",
            "pilot_unknown_destination_subset",
        ),
    ] {
        // Its former form would stay in force.
        galley.remove(Kind::VirtualService, "weather", "forecast");
        galley.publish();
        envoy.expect("rds").await;
        galley.apply(&to(destination));
        envoy.expect("rds").await;
        let warning = eventually(PATIENCE, async || {
            let status = pilot.json("/debug/push_status").await;
            let mut warnings = status["warnings"].as_array().unwrap().iter();
            let warning = warnings.find(|warning| warning["kind"] == kind).cloned();
            warning.ok_or(status)
        })
        .await
        .unwrap();
        assert_eq!(warning["object"], "VirtualService weather/forecast");
        assert!(!warning["reason"].as_str().unwrap().is_empty());
        pilot.until_metric(metric, 1.0).await;
        // Its neighbours on the same port do not notice.
        assert!(
            envoy
                .route("3000")
                .contains("outbound|3000||frontend.weather.svc.cluster.local")
        );

        galley.apply(&forecast_to("v1"));
        envoy.expect("rds").await;
        pilot.until_metric(metric, 0.0).await;
    }
    let status = pilot.json("/debug/push_status").await;
    assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_service_bound_to_a_gateway_that_does_not_exist_is_named() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    assert_eq!(pilot.metric("pilot_unknown_gateway").await, 0.0);
    galley.apply(
        "{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {name: lost, namespace: weather},
          spec: {hosts: [lost.example.com], gateways: [nowhere], http: [{redirect: {uri: /}}]}}",
    );
    pilot.until_metric("pilot_unknown_gateway", 1.0).await;
    let status = pilot.json("/debug/push_status").await;
    let mut warnings = status["warnings"].as_array().unwrap().iter();
    let warning = warnings
        .find(|warning| warning["kind"] == "unknown_gateway")
        .unwrap();
    assert_eq!(warning["object"], "VirtualService weather/lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn r_n_6_the_default_visibility_of_services_is_followed_live() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let visibilities = async |expected: &str| {
        eventually(PATIENCE, async || {
            let services = pilot.json("/debug/registryz").await;
            let mut all = services.as_array().unwrap().iter();
            if all.all(|service| service["exportTo"] == expected) {
                Ok(())
            } else {
                Err(services)
            }
        })
        .await
        .unwrap();
    };
    visibilities("Public").await;
    let mesh = "rootNamespace: istio-system\n";
    std::fs::write(
        pilot.mesh_config(),
        format!("{mesh}defaultServiceExportTo: ['.']\n"),
    )
    .unwrap();
    visibilities("Private").await;
    std::fs::write(pilot.mesh_config(), mesh).unwrap();
    visibilities("Public").await;
}
