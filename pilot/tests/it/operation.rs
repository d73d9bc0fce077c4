//! What operators can turn: mesh configuration, limits, pushing everything.

use std::time::{Duration, Instant};

use mesh_testing::eventually;

use crate::PATIENCE;
use crate::envoy::Envoy;
use crate::galley::{Galley, forecast_to, new_service};
use crate::pilot::{FRONTEND, Pilot};

#[tokio::test(flavor = "multi_thread")]
async fn p7_the_mesh_configuration_is_followed_and_a_bad_one_is_not() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    assert!(!envoy.listener("virtualOutbound").contains("/var/log/access.log"));

    std::fs::write(pilot.mesh_config(), "rootNamespace: [1, 2").unwrap();
    std::fs::write(
        pilot.mesh_config(),
        "rootNamespace: istio-system\naccessLogFile: /var/log/access.log\n",
    )
    .unwrap();
    envoy
        .until(|envoy| envoy.listener("virtualOutbound").contains("/var/log/access.log"))
        .await;

    std::fs::write(pilot.mesh_config(), "accessLogFile: {no: string}\n").unwrap();
    let late = pilot.settled(FRONTEND).await;
    assert!(late.listener("virtualOutbound").contains("/var/log/access.log"));
}

#[tokio::test(flavor = "multi_thread")]
async fn adsz_sends_everything_again_when_it_is_told_to() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    pilot.json("/debug/adsz").await;
    pilot.json("/debug/adsz?push=1").await;
    for xds_type in ["cds", "eds", "lds", "rds"] {
        envoy.expect(xds_type).await;
    }
    // A proxy that comes later has nothing to do with it.
    let _late = pilot.settled(FRONTEND).await;
    eventually(PATIENCE, async || {
        let pushes = pilot.metric("pilot_xds_pushes{type=\"cds\"}").await;
        if pushes == 3.0 { Ok(()) } else { Err(pushes) }
    })
    .await
    .unwrap();
}

/// Whatever the pace of this machine: no more pushes than the limit allows in the time that they took.
#[tokio::test(flavor = "multi_thread")]
async fn p9_5_pushes_are_limited_and_the_last_state_wins() {
    let mut galley = Galley::start();
    let pilot = Pilot::start(&galley, &["--pushThrottle=1", "--pushBurst=1"]).await;
    pilot.ready().await;
    let mut envoy = pilot.settled(FRONTEND).await;
    pilot.synced("frontend-v1-0.weather").await;
    let routes = async || pilot.metric("pilot_xds_pushes{type=\"rds\"}").await;
    let (start, before) = (Instant::now(), routes().await);
    for subset in ["v2", "v1"] {
        galley.apply(&forecast_to(subset));
        envoy.until(|envoy| leads_to(envoy, subset)).await;
    }
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());

    for subset in ["v2", "v1", "v2", "v1", "v2"] {
        galley.apply(&forecast_to(subset));
    }
    galley.apply(&new_service("advertisement", 3002));
    envoy
        .until(|envoy| leads_to(envoy, "v2") && envoy.route("3002").contains("advertisement"))
        .await;
    let pushes = routes().await - before;
    assert!(
        pushes <= 1.0 + start.elapsed().as_secs_f64(),
        "{pushes} in {:?}",
        start.elapsed()
    );
}

fn leads_to(envoy: &Envoy, subset: &str) -> bool {
    let cluster = format!("outbound|3002|{subset}|forecast");
    envoy.route("3002").contains(&cluster)
}
