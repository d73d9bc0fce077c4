//! The pages under `/debug` (P17): `istioctl` depends on their form.

use serde_json::{Value, json};

use crate::galley::Galley;
use crate::pilot::{FRONTEND, Pilot};

fn keys(value: &Value) -> Vec<&str> {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("not an object: {value}"));
    object.keys().map(String::as_str).collect()
}

fn find<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    let mut entries = list.as_array().unwrap().iter();
    let entry = entries.find(|entry| entry[key] == value);
    entry.unwrap_or_else(|| panic!("no {key} {value} in {list}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_without_proxies_the_pages_are_empty() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    assert_eq!(pilot.json("/debug/syncz").await, json!([]));
    assert_eq!(pilot.json("/debug/cdsz").await, json!([]));
    assert_eq!(
        pilot.json("/debug/adsz").await,
        json!({ "totalClients": 0, "clients": [] })
    );
    assert_eq!(pilot.get("/debug/edsz").await.0, 404);
    assert_eq!(pilot.get("/debug/config_dump").await.0, 400);
    assert_eq!(pilot.get("/debug/config_dump?proxyID=").await.0, 400);
    let (status, body) = pilot.get("/debug/config_dump?proxyID=nobody.nowhere").await;
    assert_eq!(status, 404);
    assert!(body.contains("nobody.nowhere"), "{body}");
}

/// `R-G-5`.
#[tokio::test(flavor = "multi_thread")]
async fn p17_proxies_and_how_far_they_have_followed() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let _envoy = pilot.settled(FRONTEND).await;

    let status = pilot.synced("frontend-v1-0.weather").await;
    assert_eq!(
        keys(&status),
        [
            "cluster_acked",
            "cluster_sent",
            "endpoint_acked",
            "endpoint_percent",
            "endpoint_sent",
            "errors",
            "listener_acked",
            "listener_sent",
            "proxy",
            "proxy_version",
            "route_acked",
            "route_sent"
        ]
    );
    assert_eq!(status["endpoint_percent"], 100);
    assert_eq!(status["errors"], json!({}));
    assert_ne!(status["cluster_sent"], "");

    let all = pilot.json("/debug/adsz").await;
    assert_eq!(all["totalClients"], 1);
    let client = &all["clients"][0];
    assert_eq!(client["node"], FRONTEND);
    assert!(client["connectionId"].as_str().unwrap().starts_with(FRONTEND));
    assert!(client["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(keys(&client["types"]), ["cds", "eds", "lds", "rds"]);
    assert_eq!(client["types"]["cds"]["summary"], "SYNCED");

    let clusters = pilot.json("/debug/cdsz").await;
    let clusters = clusters[0]["clusters"].as_array().unwrap();
    assert!(clusters.contains(&json!("outbound|3002||forecast.weather.svc.cluster.local")));

    let endpoints = pilot.json("/debug/edsz").await;
    let forecast = find(
        &endpoints,
        "clusterName",
        "outbound|3002||forecast.weather.svc.cluster.local",
    );
    assert_eq!(
        forecast["endpoints"][0]["lbEndpoints"].as_array().unwrap().len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_the_configuration_of_one_proxy_looks_like_its_own_dump() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let envoy = pilot.settled(FRONTEND).await;
    let by_name = pilot
        .json("/debug/config_dump?proxyID=frontend-v1-0.weather")
        .await;
    assert_eq!(
        by_name,
        pilot
            .json(&format!("/debug/config_dump?proxyID={FRONTEND}"))
            .await
    );

    let configs = by_name["configs"].as_array().unwrap();
    let sections = [
        ("ClustersConfigDump", "dynamicActiveClusters", "cds"),
        ("EndpointsConfigDump", "dynamicEndpointConfigs", "eds"),
        ("ListenersConfigDump", "dynamicListeners", "lds"),
        ("RoutesConfigDump", "dynamicRouteConfigs", "rds"),
    ];
    assert_eq!(configs.len(), sections.len());
    for (config, (name, field, xds_type)) in configs.iter().zip(sections) {
        assert_eq!(
            config["@type"],
            format!("type.googleapis.com/envoy.admin.v3.{name}")
        );
        let held = envoy
            .everything()
            .into_keys()
            .filter(|(short, _)| *short == xds_type)
            .count();
        assert_eq!(config[field].as_array().unwrap().len(), held, "{name}");
    }
    let cluster = &configs[0]["dynamicActiveClusters"][0]["cluster"];
    assert_eq!(
        cluster["@type"],
        "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    );
    assert!(cluster["name"].is_string());
    let listener = &configs[2]["dynamicListeners"][0];
    assert!(
        listener["activeState"]["listener"]["filterChains"].is_array(),
        "{listener}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_what_pilot_was_told() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;

    let objects = pilot.json("/debug/configz").await;
    let kinds: Vec<&str> = objects
        .as_array()
        .unwrap()
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    for kind in [
        "Service",
        "Pod",
        "Endpoints",
        "VirtualService",
        "DestinationRule",
        "Gateway",
    ] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }

    let services = pilot.json("/debug/registryz").await;
    let forecast = find(&services, "hostname", "forecast.weather.svc.cluster.local");
    assert_eq!(forecast["address"], "10.0.1.1");
    assert_eq!(forecast["ports"][0]["port"], 3002);
    assert_eq!(pilot.metric("pilot_services").await, 3.0);
    assert_eq!(pilot.metric("pilot_virt_services").await, 2.0);

    let endpoints = pilot.json("/debug/endpointz").await;
    let forecast = find(&endpoints, "svc", "forecast.weather.svc.cluster.local");
    assert_eq!(forecast["ep"][0]["address"], "10.1.0.1:3002");
    assert_eq!(forecast["ep"][0]["labels"]["version"], "v1");
    let brief = pilot.json("/debug/endpointz?brief=1").await;
    let forecast = find(&brief, "svc", "forecast.weather.svc.cluster.local");
    assert_eq!(forecast["ep"], json!(["10.1.0.1:3002", "10.1.0.2:3002"]));
    let shards = pilot.json("/debug/endpointShardz").await;
    assert!(shards["forecast.weather.svc.cluster.local"]["Kubernetes"].is_array());

    let workloads = pilot.json("/debug/workloadz").await;
    assert_eq!(workloads["10.1.0.3"]["name"], "frontend-v1-0");
    assert_eq!(
        workloads["10.1.0.3"]["instances"],
        json!(["frontend.weather.svc.cluster.local:3000->3000"])
    );

    let status = pilot.json("/debug/push_status").await;
    assert_eq!(
        keys(&status),
        ["cached", "generation", "isolated", "rejected", "warnings"]
    );
    let sources = pilot.json("/debug/sourcez").await;
    assert_eq!(sources[0]["connected"], true, "{sources}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_origins_say_why_a_resource_exists_and_what_an_object_produced() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let _envoy = pilot.settled(FRONTEND).await;
    let objects = async |resource: &str| {
        let answer = pilot.json(&format!("/debug/originz?resource={resource}")).await;
        answer[0]["objects"].clone()
    };
    let (rule, service) = ("DestinationRule weather/forecast", "Service weather/forecast");
    assert_eq!(
        objects("outbound|3002|v1|forecast.weather.svc.cluster.local").await,
        json!([rule, service])
    );
    assert_eq!(
        objects("forecast.weather.svc.cluster.local:3002").await,
        json!(["VirtualService weather/forecast"])
    );
    assert_eq!(objects("0.0.0.0_3002").await, json!([service]));

    let products = pilot
        .json("/debug/originz?object=VirtualService/weather/forecast")
        .await;
    assert_eq!(products[0]["proxy"], FRONTEND);
    assert_eq!(
        products[0]["resources"],
        json!({"rds": ["3002/forecast.weather.svc.cluster.local:3002"]})
    );
    let products = pilot
        .json("/debug/originz?object=Service/weather/forecast&type=cds")
        .await;
    assert_eq!(products[0]["resources"]["cds"].as_array().unwrap().len(), 3);
    assert_eq!(
        pilot.json("/debug/originz?object=Service/weather/none").await,
        json!([])
    );
    assert_eq!(pilot.get("/debug/originz").await.0, 400);
}

/// Both ports serve all of them.
#[tokio::test(flavor = "multi_thread")]
async fn p17_every_page_is_there() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let _envoy = pilot.settled(FRONTEND).await;
    for page in [
        "/ready",
        "/debug/edsz",
        "/debug/adsz",
        "/debug/cdsz",
        "/debug/syncz",
        "/debug/registryz",
        "/debug/endpointz",
        "/debug/endpointz?brief=1",
        "/debug/endpointShardz",
        "/debug/workloadz",
        "/debug/configz",
        "/debug/authenticationz?proxyID=frontend-v1-0.weather",
        "/debug/config_dump?proxyID=frontend-v1-0.weather",
        "/debug/push_status",
        "/v1/registration",
        "/metrics",
        "/version",
    ] {
        assert_eq!(pilot.get(page).await.0, 200, "{page}");
        assert_eq!(pilot.get_monitoring(page).await.0, 200, "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_what_a_proxy_speaks_to_whom() {
    let mut galley = Galley::start();
    galley.apply(
        "{apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: frontend, namespace: weather},
          spec: {host: frontend, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}}",
    );
    galley.apply(
        "{apiVersion: networking.istio.io/v1alpha3, kind: ServiceEntry, metadata: {name: outside, namespace: weather},
          spec: {hosts: [outside.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}}",
    );
    galley.apply(
        "{apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: outside, namespace: weather},
          spec: {host: outside.com, trafficPolicy: {tls: {mode: SIMPLE}}}}",
    );
    let pilot = Pilot::of(&galley).await;
    assert_eq!(pilot.get("/debug/authenticationz").await.0, 400);
    assert_eq!(
        pilot.get("/debug/authenticationz?proxyID=nobody.nowhere").await.0,
        404
    );
    let _envoy = pilot.settled(FRONTEND).await;
    let page = "/debug/authenticationz?proxyID=frontend-v1-0.weather";
    let ports = pilot.json(page).await;
    assert_eq!(ports.as_array().unwrap().len(), 4, "{ports}");
    assert_eq!(
        *find(&ports, "host", "frontend.weather.svc.cluster.local"),
        json!({
            "host": "frontend.weather.svc.cluster.local",
            "port": 3000,
            "authentication_policy_name": "-",
            "destination_rule_name": "frontend/weather",
            "server_protocol": "HTTP",
            "client_protocol": "mTLS",
            "TLS_conflict_status": "CONFLICT",
        })
    );
    for (host, rule, server, client) in [
        (
            "forecast.weather.svc.cluster.local",
            "forecast/weather",
            "HTTP",
            "HTTP",
        ),
        (
            "istio-ingressgateway.istio-system.svc.cluster.local",
            "-",
            "HTTP",
            "HTTP",
        ),
        ("outside.com", "outside/weather", "-", "TLS"),
    ] {
        let port = find(&ports, "host", host);
        assert_eq!(port["destination_rule_name"], rule, "{port}");
        assert_eq!(port["server_protocol"], server, "{port}");
        assert_eq!(port["client_protocol"], client, "{port}");
        assert_eq!(port["TLS_conflict_status"], "OK", "{port}");
    }
}

/// T-516: each port under the closest policy, and what contradicts it.
#[tokio::test(flavor = "multi_thread")]
async fn p17_which_authentication_policy_holds_where() {
    let mut galley = Galley::start();
    for (kind, metadata, spec) in [
        ("MeshPolicy", "{name: default}", "{peers: [{mtls: {}}]}"),
        (
            "Policy",
            "{name: frontend, namespace: weather}",
            "{targets: [{name: frontend, ports: [{number: 3000}]}], peers: [{mtls: {mode: PERMISSIVE}}]}",
        ),
        (
            "Policy",
            "{name: forecast, namespace: weather}",
            "{targets: [{name: forecast}]}",
        ),
    ] {
        galley.apply(&format!(
            "{{apiVersion: authentication.istio.io/v1alpha1, kind: {kind}, metadata: {metadata}, spec: {spec}}}"
        ));
    }
    galley.apply(
        "{apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: frontend, namespace: weather},
          spec: {host: frontend, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}}",
    );
    let pilot = Pilot::of(&galley).await;
    let _envoy = pilot.settled(FRONTEND).await;
    let ports = pilot
        .json("/debug/authenticationz?proxyID=frontend-v1-0.weather")
        .await;
    for (host, policy, server, client, status) in [
        ("frontend.weather", "frontend/weather", "HTTP/mTLS", "mTLS", "OK"),
        ("forecast.weather", "forecast/weather", "HTTP", "HTTP", "OK"),
        (
            "istio-ingressgateway.istio-system",
            "default/",
            "mTLS",
            "HTTP",
            "CONFLICT",
        ),
    ] {
        let port = find(&ports, "host", &format!("{host}.svc.cluster.local"));
        assert_eq!(port["authentication_policy_name"], policy, "{port}");
        assert_eq!(port["server_protocol"], server, "{port}");
        assert_eq!(port["client_protocol"], client, "{port}");
        assert_eq!(port["TLS_conflict_status"], status, "{port}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_the_registration_lists_endpoints_by_service_key() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let services = pilot.json("/v1/registration").await;
    assert_eq!(services.as_array().unwrap().len(), 3, "{services}");
    let forecast = find(
        &services,
        "service-key",
        "forecast.weather.svc.cluster.local|http",
    );
    assert_eq!(
        forecast["hosts"],
        json!([{ "ip_address": "10.1.0.1", "port": 3002 }, { "ip_address": "10.1.0.2", "port": 3002 }])
    );
    let text = pilot.metrics().await;
    let calls = text
        .lines()
        .find(|line| line.starts_with("pilot_discovery_calls{"))
        .unwrap();
    assert!(
        calls.contains("method=\"ListAllEndpoints\"") && calls.ends_with(" 1"),
        "{calls}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_metrics_of_events_endpoints_and_proxies() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let event =
        |metric: &str, event: &str, kind: &str| format!("{metric}{{event=\"{event}\",type=\"{kind}\"}}");
    assert_eq!(
        pilot
            .metric(&event("pilot_k8s_reg_events", "add", "Service"))
            .await,
        3.0
    );
    assert_eq!(
        pilot
            .metric(&event("pilot_k8s_cfg_events", "add", "VirtualService"))
            .await,
        2.0
    );

    let mut envoy = pilot.settled(FRONTEND).await;
    pilot.synced("frontend-v1-0.weather").await;
    let instances = "pilot_xds_eds_instances{cluster=\"outbound|3002||forecast.weather.svc.cluster.local\"}";
    assert_eq!(pilot.metric(instances).await, 2.0);
    // The gateway has no endpoints.
    assert_eq!(pilot.metric("pilot_eds_no_instances").await, 1.0);
    for name in [
        "pilot_endpoint_divergence",
        "pilot_no_ip",
        "pilot_endpoint_not_ready",
        "pilot_invalid_out_listeners",
        "pilot_isolated_configs",
    ] {
        assert_eq!(pilot.metric(name).await, 0.0, "{name}");
    }
    assert_eq!(pilot.json("/debug/divergencez").await, json!([]));

    galley.apply(&crate::galley::forecast_at(&[]));
    envoy.expect("eds").await;
    pilot.synced("frontend-v1-0.weather").await;
    assert_eq!(pilot.metric(instances).await, 0.0);
    assert_eq!(pilot.metric("pilot_eds_no_instances").await, 4.0);
    galley.apply(&crate::galley::forecast_at(&["10.1.0.77"]));
    envoy.expect("eds").await;
    pilot.until_metric("endpoint_no_pod", 1.0).await;

    let _unknown = pilot
        .settled("sidecar~10.7.7.7~stranger.weather~weather.svc.cluster.local")
        .await;
    pilot.until_metric("pilot_no_ip", 1.0).await;
}
