//! Valid objects that cannot be followed to the letter.

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
