//! What is served, when, and to whom.

use mesh_config::Kind;
use mesh_mcp::SinkOptions;

use crate::harness::{ConfigDir, Galley, TestSink, gateway, within};

#[tokio::test]
async fn t18_sinks_that_come_first_get_nothing_and_then_everything_at_once() {
    let config = ConfigDir::new();
    let path = config.path().join("later");
    let galley = Galley::start(&path);
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway, Kind::Sidecar]);
    within("subscriptions", async || {
        let page = galley.json("/debug/mcp").await;
        (page["connections"][0]["watches"].as_object()?.len() == 2).then_some(())
    })
    .await;
    assert_eq!(galley.get("/ready").await.0, 503);
    within("the missing directory is reported", async || {
        let errors = galley.errors().await;
        let reason = errors.first()?["reason"].as_str()?;
        reason.contains("No such file").then_some(())
    })
    .await;
    assert!(!sink.has_more());

    // The directory appears with everything in it.
    config.write("temporary/a.yaml", gateway("a", 1) + &gateway("b", 2));
    std::fs::rename(config.path().join("temporary"), &path).unwrap();
    assert!([Kind::Gateway, Kind::Sidecar].contains(&sink.next().await));
    assert!([Kind::Gateway, Kind::Sidecar].contains(&sink.next().await));
    assert_eq!(sink.names(Kind::Gateway).unwrap(), ["weather/a", "weather/b"]);
    assert_eq!(sink.names(Kind::Sidecar).unwrap(), [""; 0]);
    within("readiness", async || {
        (galley.get("/ready").await == (200, "ready\n".to_owned())).then_some(())
    })
    .await;
    within("no error", async || {
        galley.errors().await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_collection_is_answered_and_the_core_of_kubernetes_is_served() {
    let config = ConfigDir::new();
    config.write(
        "core.yaml",
        "apiVersion: v1
kind: Service
metadata: {name: forecast, namespace: weather, labels: {app: forecast}}
spec:
  clusterIP: 10.0.0.1
  ports: [{name: http, port: 3002, targetPort: 3002}]
  selector: {app: forecast}
---
apiVersion: v1
kind: Endpoints
metadata: {name: forecast, namespace: weather}
subsets:
- addresses: [{ip: 10.1.0.1}]
  ports: [{name: http, port: 3002}]
---
apiVersion: v1
kind: Pod
metadata: {name: forecast-v1-0, namespace: weather, labels: {app: forecast, version: v1}}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Node
metadata: {name: machine}
---
apiVersion: v1
kind: Namespace
metadata: {name: weather, labels: {istio-injection: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: forecast-v1, namespace: weather}
",
    );
    let galley = Galley::start(config.path());
    let mut sink = TestSink::start(galley.mcp, Kind::ALL);
    tokio::time::timeout(std::time::Duration::from_secs(30), async {
        for _ in Kind::ALL {
            sink.next().await;
        }
    })
    .await
    .unwrap();
    sink.handle.synced().await;
    let served: Vec<_> = Kind::ALL
        .iter()
        .filter_map(|&kind| sink.names(kind))
        .flatten()
        .collect();
    assert_eq!(
        served,
        [
            "weather/forecast",
            "weather/forecast",
            "weather/forecast-v1-0",
            "machine",
            "weather"
        ],
        "all that is ours, and not the Deployment"
    );
    assert_eq!(galley.errors().await, [""; 0]);
    let service = &sink.configs(Kind::Service)[0];
    assert_eq!(service.meta.labels["app"], "forecast");
    assert!(service.meta.created.seconds > 1_600_000_000, "first seen now");

    // The debug page shows the same.
    let page = galley.json("/debug/configz").await;
    let collections = page.as_array().unwrap();
    let mesh = collections.last().unwrap();
    assert_eq!(mesh["collection"], "istio/mesh/v1alpha1/MeshConfig");
    assert_eq!(collections.len(), Kind::ALL.len() + 1);
    let services = collections
        .iter()
        .find(|page| page["collection"] == "k8s/core/v1/services")
        .unwrap();
    assert_eq!(services["objects"][0]["name"], "weather/forecast");
    assert_eq!(services["objects"][0]["version"], service.meta.version);
    let page = galley
        .json("/debug/configz?collection=k8s/core/v1/services")
        .await;
    assert_eq!(page[0]["objects"][0]["spec"]["clusterIP"], "10.0.0.1");
    assert_eq!(galley.get("/debug/configz?collection=nonsense").await.0, 404);
}

#[tokio::test]
async fn changes_reach_sinks_of_full_states_and_of_changes_alike() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 1) + &gateway("b", 1));
    let galley = Galley::start(config.path());
    let options = SinkOptions {
        incremental: true,
        ..SinkOptions::new("changes", [Kind::Gateway])
    };
    let mut sinks = [
        TestSink::start(galley.mcp, &[Kind::Gateway]),
        TestSink::start_with(galley.mcp, options),
    ];
    for sink in &mut sinks {
        sink.expect(Kind::Gateway, &["weather/a", "weather/b"]).await;
    }
    config.write("a.yaml", gateway("b", 1));
    config.write("deep/er/c.yaml", gateway("c", 1));
    for sink in &mut sinks {
        sink.expect(Kind::Gateway, &["weather/b", "weather/c"]).await;
    }
    config.remove("deep/er/c.yaml");
    for sink in &mut sinks {
        sink.expect(Kind::Gateway, &["weather/b"]).await;
    }
}

#[tokio::test]
async fn a_killed_galley_comes_back_and_what_changed_meanwhile_is_delivered() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 1));
    let galley = Galley::start(config.path());
    let address = galley.mcp;
    let mut sink = TestSink::start(address, &[Kind::Gateway]);
    sink.expect(Kind::Gateway, &["weather/a"]).await;
    let version = sink.configs(Kind::Gateway)[0].meta.version.clone();

    galley.kill();
    config.write("b.yaml", gateway("b", 1));
    within("loss", async || (!sink.handle.status().connected).then_some(())).await;
    assert_eq!(
        sink.names(Kind::Gateway).unwrap(),
        ["weather/a"],
        "the last state stays"
    );
    let _galley = Galley::start_with(config.path(), &address.to_string(), &[]);
    sink.expect(Kind::Gateway, &["weather/a", "weather/b"]).await;
    assert_eq!(
        sink.configs(Kind::Gateway)[0].meta.version,
        version,
        "what has not changed has its version"
    );
}

#[tokio::test]
async fn more_objects_at_the_start_than_1_1_survived() {
    // 1.1 hung with more than 1023 (spec 07 §3).
    let config = ConfigDir::new();
    for file in 0..30 {
        let text: String = (0..100)
            .map(|object| gateway(&format!("g-{file}-{object}"), 1))
            .collect();
        config.write(&format!("{file}.yaml"), text);
    }
    let galley = Galley::start(config.path());
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway]);
    sink.expect_where(Kind::Gateway, |configs| configs.len() == 3000)
        .await;
}
