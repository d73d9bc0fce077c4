//! Sources that come late, go away and come back.

use mesh_config::Kind;
use mesh_testing::eventually;

use crate::PATIENCE;
use crate::galley::{Galley, forecast_to};
use crate::pilot::{FRONTEND, Pilot};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_before_everything_was_received() {
    let mut galley = Galley::silent();
    let pilot = Pilot::start(&galley, &[]).await;
    let (status, body) = pilot.get("/ready").await;
    assert_eq!(status, 503);
    assert!(body.contains("configuration of all sources"), "{body}");
    assert_eq!(pilot.json("/debug/configz").await, serde_json::json!([]));

    // A proxy that comes too early waits.
    let mut envoy = pilot.envoy(FRONTEND).await;
    eventually(PATIENCE, async || {
        let all = pilot.json("/debug/adsz").await;
        if all["totalClients"] == 1 {
            Ok(())
        } else {
            Err(all)
        }
    })
    .await
    .unwrap();
    assert_eq!(pilot.metric("pilot_xds_pushes{type=\"cds\"}").await, 0.0);

    galley.apply(&forecast_to("v1"));
    envoy.settle().await;
    assert_eq!(pilot.get("/ready").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_killed_leaves_its_configuration_behind() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;

    let dead = galley.kill();
    eventually(PATIENCE, async || {
        let sources = pilot.json("/debug/sourcez").await;
        if sources[0]["connected"] == false {
            Ok(())
        } else {
            Err(sources)
        }
    })
    .await
    .unwrap();
    assert_eq!(pilot.get("/ready").await.0, 200);
    // A proxy that starts now gets what there was.
    let late = pilot.settled(FRONTEND).await;
    assert_eq!(late.everything(), envoy.everything());

    let _galley = dead.restart(&forecast_to("v2"));
    // The first response after all this is the one about the edit.
    assert_eq!(envoy.expect("rds").await.names, ["3002"]);
    assert!(envoy.route("3002").contains("outbound|3002|v2|forecast"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_does_not_decode_is_left_out_and_reported() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;

    let good = galley.object(Kind::VirtualService, "weather", "forecast");
    let mut bad = good.clone();
    bad.meta.version = "bad".to_owned();
    bad.body.value = vec![0xff; 4].into();
    galley.set_config(bad);
    galley.publish();
    // Without its rule the host is routed as if there had never been one.
    envoy.expect("rds").await;
    assert!(!envoy.route("3002").contains("outbound|3002|v1|forecast"));
    let status = pilot.json("/debug/push_status").await;
    assert_eq!(
        status["rejected"][0]["object"], "VirtualService weather/forecast",
        "{status}"
    );
    pilot
        .until_metric(
            "pilot_total_rejected_configs{name=\"weather/forecast\",type=\"VirtualService\"}",
            1.0,
        )
        .await;

    galley.set_config(good);
    galley.publish();
    envoy.expect("rds").await;
    pilot
        .until_metric(
            "pilot_total_rejected_configs{name=\"weather/forecast\",type=\"VirtualService\"}",
            0.0,
        )
        .await;
}
