//! EndpointSlices, and what other clusters say.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use mesh_config::{ConfigKey, Kind};
use serde_json::{Value, json};

use crate::fixture::{Pod, World, object, pod, service};
use crate::kube::{KubeEvent, Slice};

const FORECAST: &str = "forecast.weather.svc.cluster.local";

/// A slice of a service with port `http` 3002; endpoints are address and conditions.
fn slice(name: &str, service: &str, endpoints: &[(&str, Value)]) -> KubeEvent {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(ip, conditions)| {
            let pod = json!({ "kind": "Pod", "name": format!("pod-{ip}") });
            json!({ "addresses": [ip], "conditions": conditions, "targetRef": pod, "zone": "z1" })
        })
        .collect();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "weather", "labels": { "kubernetes.io/service-name": service } },
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{ "name": "http", "port": 3002 }],
    }))
    .expect("a slice");
    KubeEvent::Slice(("weather".into(), name.into()), Box::new(Slice::new(&slice)))
}

fn gone(name: &str) -> KubeEvent {
    KubeEvent::SliceGone(("weather".into(), name.into()))
}

fn set(text: &str) -> KubeEvent {
    KubeEvent::Set(Box::new(object(text)))
}

fn forecast() -> KubeEvent {
    set(&service("forecast", "{ports: [{name: http, port: 80}]}"))
}

/// Addresses only.
fn addresses(world: &mut World) -> Option<Vec<String>> {
    let endpoints = world.endpoints(FORECAST)?;
    let address = |line: &String| line.split(' ').nth(1).map(str::to_owned);
    Some(endpoints.iter().filter_map(address).collect())
}

#[test]
fn p4_2_slices_of_a_service_are_merged_and_an_address_in_two_is_one_endpoint() {
    let ready = || json!({ "ready": true });
    let not_ready = || json!({ "ready": false });
    let mut world = World::new();
    world.take(slice(
        "b",
        "forecast",
        &[("10.1.0.2", not_ready()), ("10.1.0.3", json!({}))],
    ));
    world.take(slice(
        "a",
        "forecast",
        &[("10.1.0.1", ready()), ("10.1.0.2", ready())],
    ));
    assert_eq!(addresses(&mut world), None, "of nobody yet");
    world.take(forecast());
    let all = ["10.1.0.1:3002", "10.1.0.2:3002", "10.1.0.3:3002"];
    assert_eq!(addresses(&mut world).expect("known"), all);
    assert_eq!(&*world.endpoints_of("forecast")[0].locality.zone, "z1");

    world.take(slice("a", "other", &[("10.1.0.1", ready())]));
    assert_eq!(addresses(&mut world).expect("known"), ["10.1.0.3:3002"]);
    world.take(slice("b", "forecast", &[]));
    assert_eq!(addresses(&mut world).expect("known"), Vec::<String>::new());
    world.take(gone("b"));
    assert_eq!(addresses(&mut world), None);
    world.take(gone("b"));
}

#[test]
fn p4_2_who_drains_gets_requests_when_nobody_else_is_ready() {
    let draining = || json!({ "ready": false, "serving": true, "terminating": true });
    let ended = || json!({ "ready": false, "serving": false, "terminating": true });
    let mut world = World::new();
    world.take(forecast());
    world.take(slice(
        "a",
        "forecast",
        &[
            ("10.1.0.1", draining()),
            ("10.1.0.2", ended()),
            ("10.1.0.3", json!({ "ready": true })),
        ],
    ));
    assert_eq!(addresses(&mut world).expect("known"), ["10.1.0.3:3002"]);
    world.take(slice(
        "a",
        "forecast",
        &[("10.1.0.1", draining()), ("10.1.0.2", ended())],
    ));
    assert_eq!(addresses(&mut world).expect("known"), ["10.1.0.1:3002"]);
}

#[test]
fn p4_2_a_slice_that_changes_is_a_change_of_endpoints_alone() {
    let mut world = World::new();
    world.take(forecast());
    world.take(slice("a", "forecast", &[("10.1.0.1", json!({}))]));
    world.publish();
    world.take(slice("a", "forecast", &[("10.1.0.2", json!({}))]));
    let changes = world.publish();
    assert!(changes.is_incremental() && !changes.is_empty(), "{changes:?}");
    world.take(slice("a", "forecast", &[("10.1.0.2", json!({}))]));
    assert!(world.publish().is_empty());
}

#[test]
fn p4_3_a_new_follower_of_a_cluster_counts_when_it_knows_everything() {
    let mut world = World::new();
    world.take(forecast());
    world.take(slice("a", "forecast", &[("10.1.0.1", json!({}))]));
    world.take_remote("east", 1, forecast());
    assert_eq!(world.services().len(), 1, "nobody follows it yet");
    world.take_remote("east", 1, KubeEvent::Began);
    for event in [
        forecast(),
        set(&service("old", "{ports: [{name: http, port: 80}]}")),
    ] {
        world.take_remote("east", 1, event);
    }
    world.take_remote("east", 1, slice("a", "forecast", &[("10.2.0.1", json!({}))]));
    world.take_remote("east", 1, KubeEvent::Synced);
    let both = ["10.1.0.1:3002", "10.2.0.1:3002"];
    assert_eq!(addresses(&mut world).expect("known"), both);

    world.take_remote("east", 2, KubeEvent::Began);
    world.take_remote("east", 2, forecast());
    assert_eq!(
        addresses(&mut world).expect("known"),
        both,
        "it has not read the slices"
    );
    world.take_remote("east", 2, slice("a", "forecast", &[("10.2.0.2", json!({}))]));
    world.take_remote("east", 2, KubeEvent::Synced);
    let both = ["10.1.0.1:3002", "10.2.0.2:3002"];
    assert_eq!(addresses(&mut world).expect("known"), both);
    let services = world.services();
    assert!(
        services.iter().all(|service| !service.starts_with("old.")),
        "{services:?}"
    );
    // Too late.
    world.take_remote("east", 1, slice("a", "forecast", &[("10.2.0.3", json!({}))]));
    assert_eq!(addresses(&mut world).expect("known"), both);
    world.take_remote("east", 2, KubeEvent::ClusterGone);
    world.take_remote("east", 2, slice("a", "forecast", &[("10.2.0.3", json!({}))]));
    assert_eq!(addresses(&mut world).expect("known"), ["10.1.0.1:3002"]);
}

#[test]
fn p4_3_an_address_of_two_clusters_is_two_workloads() {
    let mut world = World::new();
    let forecast_pod = |version: &str| {
        let labels = format!("{{app: forecast, version: {version}}}");
        set(&pod("forecast-0", "10.1.0.1", &labels, Pod::default()))
    };
    world.take(forecast_pod("v1"));
    world.take_remote("east", 1, KubeEvent::Began);
    world.take_remote("east", 1, forecast_pod("v2"));
    let published = world.published();
    let workload = published
        .workloads
        .get("10.1.0.1".parse().expect("an address"))
        .expect("known");
    let version = |cluster: &str| {
        let own = workload.of_proxy("forecast-0.weather", cluster);
        own.labels.get("version").map(str::to_owned)
    };
    assert_eq!(version("east").as_deref(), Some("v2"));
    assert_eq!(version("").as_deref(), Some("v1"));
    world.take(KubeEvent::Gone(ConfigKey::new(
        Kind::Pod,
        "weather",
        "forecast-0",
    )));
    assert_eq!(
        world.workload("10.1.0.1").expect("known")[0],
        "weather/forecast-0 app=forecast,version=v2"
    );
}
