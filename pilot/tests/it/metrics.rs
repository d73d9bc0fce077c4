//! The metrics of P17 by their documented names, types and labels.

use mesh_api::type_url;
use mesh_testing::eventually;

use crate::PATIENCE;
use crate::galley::{Galley, forecast_to};
use crate::pilot::{FRONTEND, Pilot};

/// Name, type, and the labels of a series that reads 0, or a sensible value, before anything happened.
const FROM_THE_START: &[(&str, &str, &str)] = &[
    ("pilot_services", "gauge", ""),
    ("pilot_virt_services", "gauge", ""),
    ("pilot_endpoint_not_ready", "gauge", ""),
    ("pilot_no_ip", "gauge", ""),
    ("endpoint_no_pod", "gauge", ""),
    ("pilot_conflict_inbound_listener", "gauge", ""),
    (
        "pilot_conflict_outbound_listener_tcp_over_current_http",
        "gauge",
        "",
    ),
    (
        "pilot_conflict_outbound_listener_http_over_current_tcp",
        "gauge",
        "",
    ),
    (
        "pilot_conflict_outbound_listener_tcp_over_current_tcp",
        "gauge",
        "",
    ),
    ("pilot_duplicate_envoy_clusters", "gauge", ""),
    ("pilot_eds_no_instances", "gauge", ""),
    ("pilot_vservice_dup_domain", "gauge", ""),
    ("pilot_destrule_subsets", "gauge", ""),
    ("pilot_xds", "gauge", ""),
    ("pilot_xds_pushes", "counter", r#"{type="cds"}"#),
    ("pilot_xds_pushes", "counter", r#"{type="eds"}"#),
    ("pilot_xds_pushes", "counter", r#"{type="lds"}"#),
    ("pilot_xds_pushes", "counter", r#"{type="rds"}"#),
    ("pilot_xds_push_errors", "counter", r#"{type="rds"}"#),
    ("pilot_xds_push_timeout", "counter", ""),
    ("pilot_xds_push_timeout_failures", "counter", ""),
    ("pilot_xds_push_context_errors", "counter", ""),
    ("pilot_total_xds_rejects", "counter", ""),
    ("pilot_total_xds_internal_errors", "counter", ""),
    ("pilot_rds_expired_nonce", "counter", ""),
    ("pilot_xds_write_timeout", "counter", ""),
    ("pilot_proxy_convergence_time", "histogram", ""),
    ("pilot_invalid_out_listeners", "gauge", ""),
    (
        "pilot_k8s_reg_events",
        "counter",
        r#"{event="delete",type="Endpoints"}"#,
    ),
    (
        "pilot_k8s_cfg_events",
        "counter",
        r#"{event="update",type="ServiceEntry"}"#,
    ),
    // The auditor, and what a proxy rejects.
    ("pilot_endpoint_divergence", "gauge", ""),
    ("pilot_isolated_configs", "gauge", ""),
];

/// Name and type of those whose labels hold the version.
const BY_VERSION: &[(&str, &str)] = &[
    ("pilot_info", "gauge"),
    ("pilot_discovery_calls", "counter"),
    ("pilot_discovery_errors", "counter"),
    ("pilot_discovery_resources", "histogram"),
];

/// Those whose labels name what something happened to.
const LATER: &[(&str, &str, &str)] = &[
    ("pilot_xds_eds_instances", "gauge", "{cluster="),
    ("pilot_xds_cds_reject", "counter", "{err="),
    ("pilot_xds_eds_reject", "counter", "{err="),
    ("pilot_xds_lds_reject", "counter", "{err="),
    ("pilot_xds_rds_reject", "counter", "{err="),
    ("pilot_total_rejected_configs", "gauge", "{name="),
];

fn assert_has(text: &str, name: &str, kind: &str, labels: &str) {
    assert!(
        text.lines().any(|line| line == format!("# TYPE {name} {kind}")),
        "{name} is not a {kind}"
    );
    let suffix = if kind == "histogram" { "_count" } else { "" };
    let series = format!("{name}{suffix}{labels}");
    assert!(
        text.lines().any(|line| line.starts_with(&series)),
        "no series {series}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_every_metric_has_its_documented_name_type_and_labels() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let text = pilot.metrics().await;
    for (name, kind, labels) in FROM_THE_START {
        assert_has(&text, name, kind, &format!("{labels} "));
    }
    for (name, kind) in BY_VERSION {
        assert_has(&text, name, kind, "{");
    }
    assert!(text.contains("pilot_info{version=\""), "{text}");

    // An object that cannot be followed, and proxies that reject one type after the other.
    galley.apply(
        "{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {name: bad, namespace: weather},
          spec: {hosts: [forecast], gateways: [nowhere/none], http: [{route: [{destination: {host: none}}]}]}}",
    );
    galley.apply(
        "{apiVersion: networking.istio.io/v1alpha3, kind: Gateway, metadata: {name: tcp, namespace: istio-system},
          spec: {selector: {istio: ingressgateway},
                 servers: [{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}]}}",
    );
    let mut envoys = Vec::new();
    for url in [
        type_url::CLUSTER,
        type_url::ENDPOINT,
        type_url::LISTENER,
        type_url::ROUTE,
    ] {
        let mut envoy = pilot.settled(FRONTEND).await;
        envoy.rejects = Some(url);
        envoys.push(envoy);
    }
    let _gateway = pilot.settled(crate::pilot::INGRESS).await;
    galley.apply(&crate::galley::new_service("advertisement", 3999));
    galley.apply(&crate::galley::forecast_at(&["10.1.0.1"]));
    galley.apply(&forecast_to("v2"));
    eventually(PATIENCE, async || {
        for envoy in &mut envoys {
            envoy.glance().await;
        }
        let text = pilot.metrics().await;
        let missing = LATER
            .iter()
            .find(|(name, _, _)| !text.contains(&format!("# TYPE {name} ")));
        missing.map_or(Ok(()), |(name, _, _)| Err(*name))
    })
    .await
    .unwrap();
    let text = pilot.metrics().await;
    for (name, kind, labels) in LATER {
        assert_has(&text, name, kind, labels);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_objects_that_cannot_be_followed_are_counted() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut config = galley.object(mesh_config::Kind::VirtualService, "weather", "forecast");
    config.body.value = vec![0xff].into();
    galley.set_config(config);
    galley.publish();
    let errors = "pilot_k8s_object_errors{name=\"weather/forecast\"}";
    pilot.until_metric(errors, 1.0).await;
    assert!(
        pilot
            .metrics()
            .await
            .contains("# TYPE pilot_k8s_object_errors gauge")
    );
    let labels = "{name=\"weather/forecast\",type=\"VirtualService\"}";
    pilot
        .until_metric(&format!("pilot_total_rejected_configs{labels}"), 1.0)
        .await;
    galley.apply(&forecast_to("v2"));
    pilot.until_metric(errors, 0.0).await;
}
