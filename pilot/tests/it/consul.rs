//! Services of a real Consul agent.

use mesh_testing::consul::ConsulAgent;
use mesh_testing::eventually;
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::galley::Galley;
use crate::pilot::{FRONTEND, Pilot};

const HOST: &str = "forecast.service.consul";
const CLUSTER: &str = "outbound|3002||forecast.service.consul";

/// An instance of `forecast`.
fn forecast(id: &str, address: &str, version: &str) -> Value {
    json!({
        "ID": id, "Service": "forecast", "Address": address, "Port": 3002,
        "Tags": [format!("version|{version}"), "canary"], "Meta": {"protocol": "http"},
    })
}

async fn pilot_of(galley: &Galley, agent: &ConsulAgent) -> Pilot {
    let url = format!("--consulserverURL={}", agent.url());
    let flags = [
        "--registries=Kubernetes,Consul",
        "--consulserverInterval=50ms",
        &url,
    ];
    Pilot::start(galley, &flags).await
}

/// Waits until a host has exactly these endpoints.
async fn until_endpoints(pilot: &Pilot, host: &str, expected: &[&str]) {
    eventually(PATIENCE, async || {
        let all = pilot.json("/debug/endpointz?brief=1").await;
        let of_host = all.as_array().unwrap().iter().find(|entry| entry["svc"] == host);
        let found = of_host.map_or(&Value::Null, |entry| &entry["ep"]);
        let expected = if expected.is_empty() && found.is_null() {
            Value::Null
        } else {
            json!(expected)
        };
        if *found == expected {
            Ok(())
        } else {
            Err(all.to_string())
        }
    })
    .await
    .unwrap();
}

async fn source(pilot: &Pilot) -> Value {
    pilot.json("/debug/sourcez").await[1].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_4_services_of_a_real_agent_reach_proxies_and_follow_its_catalog() {
    let galley = Galley::start();
    let agent = ConsulAgent::start().await.unwrap();
    agent
        .register("n1", "10.2.0.1", forecast("forecast-1", "", "v1"))
        .await
        .unwrap();
    let pilot = pilot_of(&galley, &agent).await;
    pilot.ready().await;
    let mut envoy = pilot.settled(FRONTEND).await;
    assert!(envoy.everything().contains_key(&("cds", CLUSTER.to_owned())));
    until_endpoints(&pilot, HOST, &["10.2.0.1:3002"]).await;

    // A service of Kubernetes is there as before.
    until_endpoints(
        &pilot,
        "forecast.weather.svc.cluster.local",
        &["10.1.0.1:3002", "10.1.0.2:3002"],
    )
    .await;
    let shards = pilot.json("/debug/endpointShardz").await;
    assert_eq!(shards[HOST]["Consul"][0]["labels"], json!({"version": "v1"}));
    assert_eq!(shards[HOST]["Consul"][0]["locality"], "dc1//");

    // Endpoints alone: no other type is sent.
    agent
        .register("n2", "10.2.0.2", forecast("forecast-2", "10.2.0.22", "v2"))
        .await
        .unwrap();
    envoy.expect("eds").await;
    until_endpoints(&pilot, HOST, &["10.2.0.1:3002", "10.2.0.22:3002"]).await;
    agent
        .set_check("n1", "10.2.0.1", "forecast-1", "critical")
        .await
        .unwrap();
    until_endpoints(&pilot, HOST, &["10.2.0.22:3002"]).await;
    agent
        .set_check("n1", "10.2.0.1", "forecast-1", "passing")
        .await
        .unwrap();
    until_endpoints(&pilot, HOST, &["10.2.0.1:3002", "10.2.0.22:3002"]).await;
    agent.deregister("n2", "forecast-2").await.unwrap();
    until_endpoints(&pilot, HOST, &["10.2.0.1:3002"]).await;

    agent.deregister("n1", "forecast-1").await.unwrap();
    until_endpoints(&pilot, HOST, &[]).await;
    let services = pilot.json("/debug/registryz").await.to_string();
    assert!(!services.contains(HOST), "{services}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_4_an_agent_that_is_killed_leaves_its_services_and_one_that_forgot_them_does_not() {
    let galley = Galley::start();
    let mut agent = ConsulAgent::start().await.unwrap();
    for (id, address) in [("forecast-1", "10.2.0.1"), ("forecast-2", "10.2.0.2")] {
        agent
            .register("n1", "10.2.0.1", forecast(id, address, "v1"))
            .await
            .unwrap();
    }
    let pilot = pilot_of(&galley, &agent).await;
    pilot.ready().await;
    until_endpoints(&pilot, HOST, &["10.2.0.1:3002", "10.2.0.2:3002"]).await;
    let before = pilot.settled(FRONTEND).await;
    assert_eq!(pilot.metric("pilot_consul_connected").await, 1.0);

    agent.kill();
    eventually(PATIENCE, async || {
        let source = source(&pilot).await;
        if source["connected"] == false {
            Ok(())
        } else {
            Err(source)
        }
    })
    .await
    .unwrap();
    pilot.until_metric("pilot_consul_connected", 0.0).await;
    assert_eq!(pilot.get("/ready").await.0, 200);
    let services = pilot.json("/debug/registryz").await;
    let stale = services
        .as_array()
        .unwrap()
        .iter()
        .filter(|service| service["stale"].is_string());
    let stale: Vec<&Value> = stale.map(|service| &service["hostname"]).collect();
    assert_eq!(stale, ["consul.service.consul", HOST]);
    // A proxy that starts now gets what there was.
    let late = pilot.settled(FRONTEND).await;
    assert_eq!(late.everything(), before.everything());

    // The new agent counts from the beginning and has another instance.
    let agent = agent.restart().await.unwrap();
    agent
        .register("n1", "10.2.0.1", forecast("forecast-3", "10.2.0.3", "v1"))
        .await
        .unwrap();
    until_endpoints(&pilot, HOST, &["10.2.0.3:3002"]).await;
    pilot.until_metric("pilot_consul_connected", 1.0).await;
    agent
        .register("n1", "10.2.0.1", forecast("forecast-4", "10.2.0.4", "v1"))
        .await
        .unwrap();
    until_endpoints(&pilot, HOST, &["10.2.0.3:3002", "10.2.0.4:3002"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_4_pilot_is_not_ready_before_the_first_state_of_the_catalog() {
    let galley = Galley::start();
    let mut agent = ConsulAgent::start().await.unwrap();
    agent.kill();
    let pilot = pilot_of(&galley, &agent).await;
    eventually(PATIENCE, async || {
        let source = source(&pilot).await;
        if source["error"].is_string() {
            Ok(())
        } else {
            Err(source)
        }
    })
    .await
    .unwrap();
    let (status, body) = pilot.get("/ready").await;
    assert_eq!(status, 503);
    assert!(body.contains("services of the Consul catalog"), "{body}");
    let _agent = agent.restart().await.unwrap();
    pilot.ready().await;
}
