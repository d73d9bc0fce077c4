//! Both forms of the protocol lead to the same state.

use mesh_config::Kind;
use mesh_testing::ads::node;
use serde_json::json;

use crate::envoy::Envoy;
use crate::galley::{Galley, forecast_at, forecast_to, new_service};
use crate::pilot::{FRONTEND, INGRESS, Pilot};

#[tokio::test(flavor = "multi_thread")]
async fn state_of_the_world_and_delta_end_in_the_same_state() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    for id in [FRONTEND, INGRESS] {
        let mut sotw = pilot.settled(id).await;
        let mut delta = Envoy::delta(&pilot.xds(), node(id, &json!({}))).await;
        delta.settle().await;
        assert_eq!(sotw.everything(), delta.everything());
        let before = sotw.everything();

        galley.apply(&new_service("advertisement", 3002));
        galley.apply(&forecast_at(&["10.1.0.1"]));
        galley.apply(&new_service("recommendation", 3003));
        galley.apply(&forecast_to("v2"));
        galley.remove(Kind::Service, "weather", "advertisement");
        galley.publish();
        // A subset that a route leads to would stay.
        galley.set(
            "{apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: forecast, namespace: weather},
              spec: {host: forecast, subsets: [{name: v2, labels: {version: v2}}]}}",
        );
        galley.apply(&new_service("last", 3004));
        let marker = ("eds", "outbound|3004||last.weather.svc.cluster.local".to_owned());
        let gone = (
            "cds",
            "outbound|3002|v1|forecast.weather.svc.cluster.local".to_owned(),
        );
        Envoy::both_until(&mut sotw, &mut delta, |sotw, delta| {
            let (sotw, delta) = (sotw.everything(), delta.everything());
            sotw.contains_key(&marker) && !sotw.contains_key(&gone) && sotw == delta
        })
        .await;

        // And back again.
        for name in ["recommendation", "last"] {
            galley.remove(Kind::Service, "weather", name);
            galley.remove(Kind::Endpoints, "weather", name);
        }
        galley.remove(Kind::Endpoints, "weather", "advertisement");
        galley.set(&forecast_at(&["10.1.0.1", "10.1.0.2"]));
        galley.set(&forecast_to("v1"));
        galley.apply(
            "{apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: forecast, namespace: weather},
              spec: {host: forecast, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}}",
        );
        Envoy::both_until(&mut sotw, &mut delta, |sotw, delta| {
            sotw.everything() == before && delta.everything() == before
        })
        .await;
    }
}
