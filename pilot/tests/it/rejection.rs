//! Proxies that reject what they are sent.

use mesh_api::type_url;
use serde_json::json;

use crate::PATIENCE;
use crate::envoy::Envoy;
use crate::galley::{Galley, forecast_to};
use crate::pilot::{FORECAST, FRONTEND, Pilot};

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
    // Without the object that changed: whatever is bad, it is not that.
    envoy.expect("rds").await;
    let metric = format!("pilot_xds_rds_reject{{err=\"InvalidArgument\",node=\"{FRONTEND}\"}}");
    pilot.until_metric(&metric, 2.0).await;
    assert_eq!(pilot.metric("pilot_total_xds_rejects").await, 2.0);
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
    assert_eq!(pilot.metric("pilot_total_xds_rejects").await, 2.0);
    assert_eq!(pilot.json("/debug/push_status").await["isolated"], json!({}));
}

/// So many VirtualServices, one for each host, one of which holds what the proxy does not stand.
fn redirects(count: usize, bad: Option<usize>) -> String {
    let object = |number: usize| {
        let path = if bad == Some(number) { POISON } else { "/there" };
        format!(
            "{{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService,
               metadata: {{name: host-{number}, namespace: weather}},
               spec: {{hosts: [host-{number}.example.com], http: [{{redirect: {{uri: {path}}}}}]}}}}"
        )
    };
    let objects: Vec<String> = (0..count).map(object).collect();
    objects.join("\n---\n")
}

const POISON: &str = "/no-proxy-stands-this";

#[tokio::test(flavor = "multi_thread")]
async fn pain_10_the_object_that_a_proxy_rejects_is_left_out_for_it_alone() {
    const COUNT: usize = 200;
    for is_delta in [false, true] {
        let mut galley = Galley::start();
        galley.set(&redirects(COUNT, Some(77)));
        galley.publish();
        let pilot = Pilot::of(&galley).await;
        let other = pilot.settled(FORECAST).await;
        assert!(other.route("80").contains(POISON));

        // A proxy that comes for the first time: all objects are new to it.
        let node = mesh_testing::ads::node(FRONTEND, &json!({}));
        let mut envoy = if is_delta {
            Envoy::delta(&pilot.xds(), node).await
        } else {
            Envoy::sotw(&pilot.xds(), node).await
        };
        envoy.poison = Some(POISON);
        let all_but_one = |envoy: &Envoy| {
            envoy.has(type_url::ROUTE, "80")
                && envoy.route("80").matches("RedirectAction").count() == COUNT - 1
        };
        envoy.until(all_but_one).await;
        assert!(!envoy.route("80").contains("host-77.example.com"));

        let bad = "VirtualService weather/host-77";
        let status = pilot.json("/debug/push_status").await;
        let isolated = status["isolated"].as_object().unwrap();
        assert_eq!(isolated.keys().collect::<Vec<_>>(), [bad], "{status}");
        assert_eq!(isolated[bad][0]["proxy"], FRONTEND);
        assert_eq!(isolated[bad][0]["type"], "rds");
        assert_eq!(pilot.metric("pilot_isolated_configs").await, 1.0);

        // Everything else goes on.
        galley.apply(&redirects(COUNT + 1, Some(77)));
        envoy
            .until(|envoy| envoy.route("80").contains("host-200.example.com"))
            .await;
        assert!(!envoy.route("80").contains("host-77.example.com"));

        // It is tried again when it is another.
        galley.apply(&redirects(COUNT + 1, None));
        envoy
            .until(|envoy| envoy.route("80").contains("host-77.example.com"))
            .await;
        assert_eq!(pilot.json("/debug/push_status").await["isolated"], json!({}));

        // And found at once among what changed: the others are known to be good.
        let rejects = pilot.metric("pilot_total_xds_rejects").await;
        galley.apply(&redirects(COUNT + 1, Some(5)));
        envoy
            .until(|envoy| !envoy.route("80").contains("host-5.example.com"))
            .await;
        assert_eq!(pilot.metric("pilot_total_xds_rejects").await, rejects + 1.0);
        drop(other);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pain_10_a_rule_that_spoils_a_cluster_is_told_from_its_service() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    envoy.poison = Some("outbound|3002|no-proxy-stands-this|");
    galley.apply(
        "{apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: forecast, namespace: weather},
          spec: {host: forecast, subsets: [{name: no-proxy-stands-this, labels: {version: v1}}]}}",
    );
    envoy
        .until(|envoy| {
            !envoy.has(
                type_url::CLUSTER,
                "outbound|3002|v1|forecast.weather.svc.cluster.local",
            )
        })
        .await;
    assert!(envoy.has(
        type_url::CLUSTER,
        "outbound|3002||forecast.weather.svc.cluster.local"
    ));
    let status = pilot.json("/debug/push_status").await;
    let isolated = status["isolated"].as_object().unwrap();
    assert_eq!(
        isolated.keys().collect::<Vec<_>>(),
        ["DestinationRule weather/forecast"]
    );
}

/// Its hash policy stands on routes, beside what VirtualServices say.
#[tokio::test(flavor = "multi_thread")]
async fn pain_10_a_rule_that_spoils_routes_is_told_from_the_virtual_service() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    envoy.poison = Some("x-no-proxy-stands-this");
    galley.apply(
        "{apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: forecast, namespace: weather},
          spec: {host: forecast, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-no-proxy-stands-this}}},
                 subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}}",
    );
    // The rules of the VirtualService stay.
    let is_routed = |envoy: &Envoy| envoy.route("3002").contains("outbound|3002|v1|forecast");
    let rule = "DestinationRule weather/forecast";
    until_isolated(&pilot, &mut envoy, rule, "rds", is_routed).await;
}

/// Without certificates a proxy cannot call as a rule asks it to. What it had before is plain text, and does not stay.
#[tokio::test(flavor = "multi_thread")]
async fn r_dr_29_what_a_proxy_cannot_call_under_tls_it_calls_no_more() {
    const CLUSTER: &str = "outbound|3002||forecast.weather.svc.cluster.local";
    let rule = |tls: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule,
               metadata: {{name: forecast, namespace: weather}}, spec: {{host: forecast, trafficPolicy: {{tls: {tls}}}}}}}"
        )
    };
    for is_delta in [false, true] {
        let mut galley = Galley::start();
        let pilot = Pilot::of(&galley).await;
        let node = mesh_testing::ads::node(FRONTEND, &json!({}));
        let mut envoy = if is_delta {
            Envoy::delta(&pilot.xds(), node).await
        } else {
            Envoy::sotw(&pilot.xds(), node).await
        };
        envoy.until(|envoy| envoy.has(type_url::CLUSTER, CLUSTER)).await;
        envoy.poison = Some(POISON);
        galley.apply(&rule(&format!("{{mode: SIMPLE, caCertificates: {POISON}}}")));
        let is_gone = |envoy: &Envoy| !envoy.has(type_url::CLUSTER, CLUSTER);
        let guilty = "DestinationRule weather/forecast";
        until_isolated(&pilot, &mut envoy, guilty, "cds", is_gone).await;

        galley.apply(&rule("{mode: DISABLE}"));
        envoy.until(|envoy| envoy.has(type_url::CLUSTER, CLUSTER)).await;
    }
}

/// Without certificates a proxy cannot keep a policy that asks for them. What was to be secured is closed then.
#[tokio::test(flavor = "multi_thread")]
async fn v8_ports_under_a_policy_that_a_proxy_cannot_keep_are_closed() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FORECAST).await;
    envoy.poison = Some("/etc/certs/root-cert.pem");
    galley.apply(
        "{apiVersion: authentication.istio.io/v1alpha1, kind: Policy, metadata: {name: default, namespace: weather},
          spec: {peers: [{mtls: {}}]}}",
    );
    // The policy is not forgotten: the chain that it changes bears its name.
    let is_closed = |envoy: &Envoy| {
        let listener = envoy.listener("virtualInbound");
        listener.contains("/policy/default") && !listener.contains("transport_socket: Some")
    };
    until_isolated(&pilot, &mut envoy, "Policy weather/default", "lds", is_closed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pain_10_a_sidecar_whose_listener_is_rejected_is_left_out() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    envoy.poison = Some("0.0.0.0_9443");
    galley.apply(
        "{apiVersion: networking.istio.io/v1alpha3, kind: Sidecar, metadata: {name: default, namespace: weather},
          spec: {egress: [{port: {number: 9443, protocol: HTTP, name: http}, hosts: ['./*']}, {hosts: ['./*']}]}}",
    );
    let sees_all = |envoy: &Envoy| envoy.has(type_url::LISTENER, "0.0.0.0_3002");
    until_isolated(&pilot, &mut envoy, "Sidecar weather/default", "lds", sees_all).await;
}

/// Lets a proxy take responses until a condition holds and an object, and no other, is left out for it because of
/// resources of a type.
async fn until_isolated(
    pilot: &Pilot,
    envoy: &mut Envoy,
    object: &str,
    xds_type: &str,
    holds: impl Fn(&Envoy) -> bool,
) {
    let work = async {
        loop {
            envoy.glance().await;
            let isolated = pilot.json("/debug/push_status").await["isolated"].clone();
            let is_alone = isolated.as_object().is_some_and(|isolated| isolated.len() == 1);
            if holds(envoy) && is_alone && isolated[object][0]["type"] == xds_type {
                return;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, work).await.is_err() {
        panic!("{}", pilot.json("/debug/push_status").await["isolated"]);
    }
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
