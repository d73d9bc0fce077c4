//! Many objects, large objects, and how long a change takes. Prints figures; `--nocapture` shows them.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use kube::api::{DeleteParams, PostParams};
use mesh_config::Kind;
use mesh_kube::config::{DynamicObject, api};
use serde_json::{Value, json};

use super::{galley, names, shared};
use crate::harness::TestSink;

/// Changes that are measured.
const CHANGES: usize = 50;

fn object(kind: Kind, name: &str, spec: &Value) -> DynamicObject {
    let schema = kind.schema();
    serde_json::from_value(json!({
        "apiVersion": format!("{}/{}", schema.group, schema.version),
        "kind": schema.kind,
        "metadata": { "name": name },
        "spec": spec,
    }))
    .unwrap()
}

fn entry(number: usize) -> DynamicObject {
    let spec = json!({
        "hosts": [format!("svc-{number}.example.com")],
        "ports": [{ "number": 80, "name": "http", "protocol": "HTTP" }],
        "resolution": "STATIC",
        "location": "MESH_INTERNAL",
        "endpoints": [{ "address": "10.1.0.1", "labels": { "version": "v1" } }, { "address": "10.1.0.2" }],
    });
    object(Kind::ServiceEntry, &format!("svc-{number}"), &spec)
}

/// `GALLEY_TEST_OBJECTS` is another number of objects than 5,000.
#[allow(clippy::print_stdout, reason = "the figures are the point")]
#[tokio::test]
async fn g6_2_5000_objects_at_once_all_arrive() {
    let count: usize = std::env::var("GALLEY_TEST_OBJECTS")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(5000);
    let server = shared().await;
    let namespace = server.namespace("many").await.unwrap();
    let first = galley(server.admin(), &[]);
    let mut sink = TestSink::start(first.mcp, &[Kind::ServiceEntry]);
    let entries = api(
        server.client().await.unwrap(),
        Kind::ServiceEntry,
        Some(&namespace),
    );
    let start = Instant::now();
    stream::iter(0..count)
        .map(|number| {
            let entries = entries.clone();
            async move { entries.create(&PostParams::default(), &entry(number)).await }
        })
        .buffer_unordered(32)
        .for_each(|created| async move {
            created.unwrap();
        })
        .await;
    let applied = start.elapsed();
    sink.expect_where(Kind::ServiceEntry, |configs| {
        names(configs, &namespace).len() == count
    })
    .await;
    println!(
        "{count} objects: applied in {applied:.1?}, served {:.1?} after the last; {} snapshots, {:.0} MiB resident",
        start.elapsed() - applied,
        first
            .metric("galley_runtime_processor_snapshots_published_total")
            .await,
        first.metric("process_resident_memory_bytes").await / f64::from(1 << 20),
    );

    // Whoever starts with them.
    let start = Instant::now();
    let second = galley(server.admin(), &[]);
    let mut sink = TestSink::start(second.mcp, &[Kind::ServiceEntry]);
    sink.expect_where(Kind::ServiceEntry, |configs| {
        names(configs, &namespace).len() == count
    })
    .await;
    println!(
        "{count} objects: start to full state {:.1?}, {:.0} MiB resident",
        start.elapsed(),
        second.metric("process_resident_memory_bytes").await / f64::from(1 << 20),
    );
    assert_eq!(
        second
            .metric("galley_runtime_processor_snapshots_published_total")
            .await,
        1.0
    );
    // One request for all of them would take longer than the API server has time for.
    stream::iter(0..count)
        .map(|number| {
            let entries = entries.clone();
            async move {
                let name = format!("svc-{number}");
                entries.delete(&name, &DeleteParams::default()).await
            }
        })
        .buffer_unordered(32)
        .for_each(|deleted| async move {
            deleted.unwrap();
        })
        .await;
    sink.expect_where(Kind::ServiceEntry, |configs| {
        names(configs, &namespace).is_empty()
    })
    .await;
}

#[tokio::test]
async fn g6_2_a_virtual_service_of_900_kb_is_served() {
    let server = shared().await;
    let namespace = server.namespace("large").await.unwrap();
    let route = |number: usize| {
        json!({
            "match": [{ "uri": { "exact": format!("/{number}/{}", "a".repeat(850)) } }],
            "route": [{ "destination": { "host": "forecast" } }],
        })
    };
    let routes: Vec<Value> = (0..1000).map(route).collect();
    let spec = json!({ "hosts": ["forecast"], "http": routes });
    assert!(spec.to_string().len() > 900_000);
    let services = api(
        server.client().await.unwrap(),
        Kind::VirtualService,
        Some(&namespace),
    );
    let large = object(Kind::VirtualService, "large", &spec);
    services.create(&PostParams::default(), &large).await.unwrap();
    let galley = galley(server.admin(), &[]);
    let mut sink = TestSink::start(galley.mcp, &[Kind::VirtualService]);
    sink.expect_where(Kind::VirtualService, |configs| {
        configs
            .iter()
            .any(|config| *config.meta.key.namespace == *namespace && config.body.value.len() > 800_000)
    })
    .await;
    services.delete("large", &DeleteParams::default()).await.unwrap();
}

#[allow(clippy::print_stdout, reason = "the figures are the point")]
#[tokio::test]
async fn how_long_a_change_takes() {
    let server = shared().await;
    let namespace = server.namespace("latency").await.unwrap();
    let galley = galley(server.admin(), &[]);
    let mut sink = TestSink::start(galley.mcp, &[Kind::DestinationRule]);
    let rules = api(
        server.client().await.unwrap(),
        Kind::DestinationRule,
        Some(&namespace),
    );
    sink.expect_where(Kind::DestinationRule, |_| true).await;
    let mut took: Vec<Duration> = Vec::new();
    for number in 0..CHANGES {
        let name = format!("rule-{number}");
        let rule = object(Kind::DestinationRule, &name, &json!({ "host": "a" }));
        rules.create(&PostParams::default(), &rule).await.unwrap();
        // From the answer of the API server on.
        let start = Instant::now();
        sink.expect_where(Kind::DestinationRule, |configs| {
            names(configs, &namespace).contains(&name)
        })
        .await;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    println!(
        "{CHANGES} changes: stored to delivered: median {:.1?}, p99 {:.1?}",
        took[CHANGES / 2],
        took[CHANGES - 1]
    );
}
