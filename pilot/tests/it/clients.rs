//! Proxies that are many, come back, are slow or unknown.

use mesh_api::type_url;
use mesh_testing::ads::{AdsClient, AdsError, DeltaClient, Response, node};
use mesh_testing::eventually;
use serde_json::json;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::PATIENCE;
use crate::galley::{Galley, forecast_to, new_service};
use crate::pilot::{FORECAST, FRONTEND, INGRESS, Pilot};

/// What HTTP/2 starts with: less than one response.
const SMALL_WINDOW: u32 = 65_535;

/// Proxies that do not read (pain 12).
const STUCK: u8 = 10;

async fn refusal(pilot: &Pilot, id: &str) -> (Code, String) {
    let mut envoy = pilot.envoy(id).await;
    match envoy.next().await {
        Err(AdsError::Status(status)) => (status.code(), status.message().to_owned()),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_5_two_streams_of_one_proxy_are_served_both() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut first = pilot.settled(FRONTEND).await;
    let mut second = pilot.settled(FRONTEND).await;
    assert_eq!(pilot.metric("pilot_xds").await, 2.0);
    galley.apply(&forecast_to("v2"));
    first.expect("rds").await;
    second.expect("rds").await;

    drop(first);
    pilot.until_metric("pilot_xds", 1.0).await;
    galley.apply(&forecast_to("v1"));
    second.expect("rds").await;
    assert_eq!(pilot.json("/debug/adsz").await["totalClients"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_6_a_proxy_that_comes_back_with_what_it_had_is_answered() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let had = |type_url: &str| Response {
        type_url: type_url.to_owned(),
        version: "2019-04-01T10:00:00Z/7".to_owned(),
        nonce: "0d7f6a0e-of-another-pilot".to_owned(),
        resources: Vec::new(),
    };
    let mut client = AdsClient::connect(&pilot.xds(), node(FRONTEND, &json!({})))
        .await
        .unwrap();
    client.ack(&had(type_url::CLUSTER)).unwrap();
    let clusters = client.accept(type_url::CLUSTER, PATIENCE).await.unwrap();
    assert!(!clusters.resources.is_empty());
    client.request(type_url::ROUTE, &["3002"]).unwrap();
    let routes = client.accept(type_url::ROUTE, PATIENCE).await.unwrap();
    assert_eq!(routes.resources.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_proxy_that_comes_back_gets_only_what_changed_meanwhile() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let address = pilot.xds();
    let connect = || DeltaClient::connect(&address, node(FRONTEND, &json!({})));
    let mut client = connect().await.unwrap();
    client.subscribe(type_url::CLUSTER, &["*"]).unwrap();
    let first = client.next_within(PATIENCE).await.unwrap();
    let versions: std::collections::BTreeMap<_, _> = first
        .resources
        .iter()
        .map(|resource| (resource.name.clone(), resource.version.clone()))
        .collect();
    drop(client);

    galley.apply(&new_service("advertisement", 3002));
    eventually(PATIENCE, async || {
        let services = pilot.json("/debug/registryz").await;
        let is_there = services
            .as_array()
            .unwrap()
            .iter()
            .any(|service| service["hostname"] == "advertisement.weather.svc.cluster.local");
        if is_there {
            Ok(())
        } else {
            Err("the service is not there yet")
        }
    })
    .await
    .unwrap();
    let mut client = connect().await.unwrap();
    client.resume(type_url::CLUSTER, &[], versions).unwrap();
    let second = client.next_within(PATIENCE).await.unwrap();
    let names: Vec<_> = second
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect();
    assert_eq!(names, ["outbound|3002||advertisement.weather.svc.cluster.local"]);
    assert_eq!(second.removed, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_5_a_gateway_without_service_is_refused_until_it_has_one() {
    let mut galley = Galley::start();
    let service = galley.object(mesh_config::Kind::Service, "istio-system", "istio-ingressgateway");
    galley.remove(mesh_config::Kind::Service, "istio-system", "istio-ingressgateway");
    galley.publish();
    let pilot = Pilot::of(&galley).await;
    let (code, message) = refusal(&pilot, INGRESS).await;
    assert_eq!(code, Code::Unavailable);
    assert_eq!(message, "gateway has no associated service instances");
    assert_eq!(pilot.metric("pilot_xds").await, 0.0);

    galley.set_config(service.clone());
    galley.publish();
    let mut gateway = eventually(PATIENCE, async || {
        let mut gateway = pilot.envoy(INGRESS).await;
        gateway.next().await.map(|_| gateway)
    })
    .await
    .unwrap();
    gateway.settle().await;
    assert_eq!(gateway.names(type_url::LISTENER).len(), 1);

    // It keeps what it has while its service is away for a moment, and its stream as well.
    galley.remove(mesh_config::Kind::Service, "istio-system", "istio-ingressgateway");
    galley.publish();
    eventually(PATIENCE, async || {
        match pilot.json("/debug/registryz").await.as_array() {
            Some(services) if services.len() == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    galley.set_config(service);
    galley.publish();
    galley.apply(&new_service("advertisement", 3002));
    gateway
        .until(|gateway| {
            gateway.has(
                type_url::CLUSTER,
                "outbound|3002||advertisement.weather.svc.cluster.local",
            )
        })
        .await;
    assert_eq!(gateway.names(type_url::LISTENER).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_4_a_proxy_that_does_not_say_who_it_is_is_refused() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    for (id, reason) in [
        ("", "carries no node id"),
        ("sidecar~10.1.0.3~x", "is not of the form"),
        ("waypoint~10.1.0.3~x~y", "unknown type"),
        ("sidecar~~x~y", "no valid ip address"),
    ] {
        let (code, message) = refusal(&pilot, id).await;
        assert_eq!(code, Code::InvalidArgument, "{id}");
        assert!(message.contains(reason), "{id}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_not_served_does_not_end_the_stream() {
    let galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut client = AdsClient::connect(&pilot.xds(), node(FRONTEND, &json!({})))
        .await
        .unwrap();
    client
        .request("type.googleapis.com/envoy.service.runtime.v3.Runtime", &[])
        .unwrap();
    client.request(type_url::CLUSTER, &[]).unwrap();
    client.accept(type_url::CLUSTER, PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn t13_pain_12_proxies_that_do_not_read_delay_nobody_and_are_let_go() {
    let mut galley = Galley::start();
    // More than fits into the buffers of a connection.
    for number in 0..400 {
        galley.set(&new_service(&format!("service-{number}"), 4000));
    }
    galley.publish();
    let pilot = Pilot::of(&galley).await;
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        let endpoint = Endpoint::from_shared(pilot.xds()).unwrap();
        let channel = endpoint
            .initial_connection_window_size(SMALL_WINDOW)
            .initial_stream_window_size(SMALL_WINDOW);
        let channel = channel.connect().await.unwrap();
        let mut client = AdsClient::open(channel, node(FORECAST, &json!({})));
        client.request(type_url::CLUSTER, &[]).unwrap();
        client.request(type_url::LISTENER, &[]).unwrap();
        client
            .request(type_url::ROUTE, &["4000", "3002", "3000"])
            .unwrap();
        stuck.push(client);
    }
    let mut envoy = pilot.settled(FRONTEND).await;
    // It takes a few responses until nothing fits any more, and then a while until that is believed. How many depends on
    // how much of them a slow machine lets one overtake; the one that reads gets each.
    let mut subsets = ["v2", "v1"].into_iter().cycle();
    let all_let_go = async {
        while pilot.metric("pilot_xds_write_timeout").await < f64::from(STUCK) {
            galley.apply(&forecast_to(subsets.next().unwrap()));
            envoy.expect("rds").await;
        }
    };
    let all_let_go = tokio::time::timeout(10 * PATIENCE, all_let_go).await;
    all_let_go.expect("those that do not read are let go");
    pilot.until_metric("pilot_xds", 1.0).await;
    assert_eq!(pilot.metric("pilot_xds_write_timeout").await, f64::from(STUCK));
}
