//! Traces of Mixer itself.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Json;
use axum::routing::post;
use mesh_runtime::Spawner;
use mesh_testing::{eventually, ports};
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::Request;

use crate::harness::{Mixer, PATIENCE};
use crate::serving::request;

const TRACE: &str = "463ac35c9f6413ad48485a3953bb6124";
const SPAN: &str = "a2fb4a1d1a96d312";

/// Takes what a collector would.
fn collect(listener: TcpListener) -> Arc<Mutex<Vec<Value>>> {
    let spans = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&spans);
    let take = move |Json(batch): Json<Vec<Value>>| {
        kept.lock().unwrap().extend(batch);
        std::future::ready(())
    };
    let router = Router::new().route("/api/v2/spans", post(take));
    Spawner::default().spawn("collector", async move {
        axum::serve(listener, router).await.unwrap()
    });
    spans
}

async fn check(mixer: &Mixer, headers: &[(&'static str, String)]) {
    let mut request = Request::new(request(&[]));
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    mixer.check_with(request).await.unwrap();
}

#[tokio::test]
async fn spec_02_9_2_calls_are_traced_if_b3_says_so() {
    let (listener, address) = ports::listen().await.unwrap();
    let spans = collect(listener);
    // The path of 1.1's charts.
    let url = format!("--trace_zipkin_url=http://{address}/api/v1/spans");
    let mixer = Mixer::start("", &[&url, "--trace_log_spans"]).await;
    check(&mixer, &[]).await;
    check(&mixer, &[("b3", format!("{TRACE}-{SPAN}-0"))]).await;
    check(&mixer, &[("b3", format!("{TRACE}-{SPAN}-1"))]).await;
    check(&mixer, &[("x-b3-sampled", "1".to_owned())]).await;
    let spans = eventually(PATIENCE, async || {
        let spans = spans.lock().unwrap().clone();
        if spans.len() < 2 {
            Err(Value::Array(spans))
        } else {
            Ok(spans)
        }
    })
    .await
    .unwrap();
    let [first, second] = &spans[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!(
        (&first["traceId"], &first["parentId"]),
        (&TRACE.into(), &SPAN.into())
    );
    assert_eq!(first["name"], "istio.mixer.v1.Mixer/Check");
    assert_eq!(first["localEndpoint"]["serviceName"], "istio-mixer");
    assert_eq!(
        (&first["kind"], &first["tags"]["grpc.status_code"]),
        (&"SERVER".into(), &"Ok".into())
    );
    assert!(first["timestamp"].as_u64() > Some(0) && first["duration"].as_u64() > Some(0));
    assert_eq!(second["parentId"], Value::Null, "a trace of its own");
    assert_ne!(second["traceId"], first["traceId"]);
    assert_ne!(second["id"], first["id"]);
    let log = mixer.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    let logged: Vec<Value> = lines.filter(|line: &Value| line["msg"] == "span").collect();
    assert_eq!(logged.len(), 2, "{log}");
    assert_eq!(logged[0]["trace"], TRACE);
    eventually(PATIENCE, async || {
        match mixer.metric("mixer_tracing_spans_total{outcome=\"sent\"}").await {
            2.0 => Ok(()),
            other => Err(other),
        }
    })
    .await
    .unwrap();
}

/// A collector that is away loses spans and nothing else.
#[tokio::test]
async fn spec_02_9_2_nobody_waits_for_a_collector() {
    let port = ports::unused().unwrap();
    let url = format!("--trace_jaeger_url=http://127.0.0.1:{port}");
    let mixer = Mixer::start("", &[&url]).await;
    for _ in 0..10 {
        check(&mixer, &[("b3", "1".to_owned())]).await;
    }
    eventually(PATIENCE, async || {
        match mixer
            .metric("mixer_tracing_spans_total{outcome=\"failed\"}")
            .await
        {
            10.0 => Ok(()),
            other => Err(other),
        }
    })
    .await
    .unwrap();
}
