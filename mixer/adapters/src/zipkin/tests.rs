//! What is sent, and what becomes of it while nobody takes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use mesh_runtime::Spawner;
use mesh_runtime::task::AbortOnDrop;
use mesh_testing::eventually;
use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_template::TraceSpan;
use prost_types::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Zipkin;
use crate::testing::{Built, build, now};

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes batches, or refuses them with a status.
#[derive(Clone, Default)]
struct Collected {
    spans: Arc<Mutex<Vec<Value>>>,
    refuses: Arc<Mutex<Option<StatusCode>>>,
}

async fn collector(address: &str, collected: &Collected) -> (SocketAddr, AbortOnDrop) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let take = async |State(collected): State<Collected>, body: String| {
        if let Some(status) = *collected.refuses.lock().unwrap() {
            return (status, "not now");
        }
        let spans: Vec<Value> = serde_json::from_str(&body).unwrap();
        collected.spans.lock().unwrap().extend(spans);
        (StatusCode::ACCEPTED, "")
    };
    let router = Router::new().fallback(post(take)).with_state(collected.clone());
    let task = Spawner::default().spawn("collector", async move { axum::serve(listener, router).await });
    (address, task.abort_on_drop())
}

async fn start(params: Value) -> Built {
    build(&Zipkin::default(), params).await.unwrap()
}

fn send(handler: &Built, spans: &[TraceSpan<'_>]) -> Result<(), String> {
    now(handler.trace_span().handle_trace_span(spans))
}

fn span<'a>(trace: &'a str, id: &'a str) -> TraceSpan<'a> {
    TraceSpan {
        name: "span.tracespan.ns",
        trace_id: trace.into(),
        span_id: id.into(),
        span_name: "/forecast".into(),
        ..TraceSpan::default()
    }
}

/// A span with everything.
fn whole(client: bool) -> TraceSpan<'static> {
    let time = |nanos| {
        Some(Timestamp {
            seconds: 1_552_989_600,
            nanos,
        })
    };
    TraceSpan {
        parent_span_id: "000000000000000a".into(),
        start_time: time(0),
        end_time: time(2_500_000),
        span_tags: vec![
            ("path", "/a".into()),
            ("number", mixer_attribute::Value::Int64(7)),
        ],
        http_status_code: 503,
        client_span: client,
        source_name: "frontend".into(),
        source_ip: "10.0.0.1".parse().ok(),
        destination_name: "forecast".into(),
        destination_ip: "2001:db8::1".parse().ok(),
        request_size: 10,
        response_total_size: 200,
        ..span("463ac35c9f6413ad48485a3953bb6124", "0020000000000001")
    }
}

async fn sent(path: &str, spans: &[TraceSpan<'_>]) -> Vec<Value> {
    let collected = Collected::default();
    let (address, _task) = collector("127.0.0.1:0", &collected).await;
    let url = format!("http://{address}{path}");
    let handler = start(json!({ "url": url, "sampleProbability": 1.0 })).await;
    send(&handler, spans).unwrap();
    handler.close().await;
    collected.spans.lock().unwrap().clone()
}

#[tokio::test]
async fn zipkin_complies() {
    let collected = Collected::default();
    let (address, _task) = collector("127.0.0.1:0", &collected).await;
    let url = format!("http://{address}/api/v2/spans");
    let expected = Compliance {
        accepts: vec![
            json!({ "url": url, "sample_probability": 1 }),
            json!({ "url": url }),
        ],
        rejects: vec![
            (json!({}), "url"),
            (json!({ "url": "zipkin:9411" }), "url"),
            (
                json!({ "url": url, "sampleProbability": 1.5 }),
                "sampleProbability",
            ),
            (
                json!({ "url": url, "sampleProbability": -0.1 }),
                "sampleProbability",
            ),
            (
                json!({ "url": url, "sampleProbability": "NaN" }),
                "sampleProbability",
            ),
        ],
        ..Compliance::default()
    };
    assert_compliance(&Zipkin::default(), &expected).await;
}

/// `spec 02` §7.5.
#[tokio::test]
async fn m34_a_span_of_version_2_has_everything() {
    let spans = sent("/api/v2/spans", &[whole(true), whole(false)]).await;
    let client = json!({
        "traceId": "463ac35c9f6413ad48485a3953bb6124", "id": "0020000000000001", "parentId": "000000000000000a",
        "kind": "CLIENT", "name": "/forecast", "timestamp": 1_552_989_600_000_000_u64, "duration": 2500,
        "localEndpoint": { "serviceName": "frontend", "ipv4": "10.0.0.1" },
        "remoteEndpoint": { "serviceName": "forecast", "ipv6": "2001:db8::1" },
        "annotations": [
            { "timestamp": 1_552_989_600_000_000_u64, "value": "SENT" },
            { "timestamp": 1_552_989_600_002_500_u64, "value": "RECV" },
        ],
        "tags": {
            "path": "/a", "number": "7", "http.status_code": "503", "error": "UNAVAILABLE",
            "http.request.size": "10", "response.total_size": "200",
        },
    });
    assert_eq!(spans[0], client);
    assert_eq!(spans[1]["kind"], "SERVER");
    assert_eq!(spans[1]["localEndpoint"], client["remoteEndpoint"]);
    assert_eq!(spans[1]["annotations"][0]["value"], "RECV");
}

#[tokio::test]
async fn m34_a_span_of_version_1_has_its_annotations() {
    let spans = sent(
        "/api/v1/spans",
        &[whole(false), span("00000000000000ff", "00000000000000ff")],
    )
    .await;
    let values = |list: &Value, field: &str| {
        let list = list.as_array().unwrap().iter();
        list.map(|element| element[field].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        values(&spans[0]["annotations"], "value"),
        ["sr", "ss", "RECV", "SENT"]
    );
    let keys = values(&spans[0]["binaryAnnotations"], "key");
    assert_eq!(keys.last(), Some(&json!("ca")));
    assert!(keys.contains(&json!("http.status_code")), "{keys:?}");
    assert_eq!(spans[1]["traceId"], "00000000000000ff");
    assert_eq!(spans[1]["binaryAnnotations"], json!([]));
}

#[tokio::test]
async fn ids_that_are_none_are_skipped_and_those_of_clients_may_be_rewritten() {
    let trace = "463ac35c9f6413ad";
    let rewritten = |client| TraceSpan {
        rewrite_client_span_id: true,
        ..TraceSpan {
            trace_id: trace.into(),
            ..whole(client)
        }
    };
    let spans = [
        span("", "0000000000000001"),
        span("463ac35c9f6413ad4", "0000000000000001"),
        span("+63ac35c9f6413ad", "0000000000000001"),
        span("0000000000000000", "0000000000000001"),
        span(trace, "1"),
        span(trace, "000000000000000g"),
        rewritten(true),
        rewritten(false),
    ];
    let sent = sent("/api/v2/spans", &spans).await;
    let ids: Vec<_> = sent
        .iter()
        .map(|span| [span["id"].clone(), span["parentId"].clone()])
        .collect();
    let of_client = format!("{:016x}", 0x0020_0000_0000_0001_u64 ^ 0x3f6a_2ec3_c810_c2ab);
    assert_eq!(
        ids,
        [
            [json!(of_client), json!("000000000000000a")],
            [json!("0020000000000001"), json!(of_client)],
        ]
    );
}

/// M33: a share of the traces, and every span of those.
#[tokio::test]
async fn m33_a_share_of_the_traces_is_sent_whole() {
    let traces: Vec<_> = (1_u64..=400)
        .map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    for (probability, expected) in [(0.0, 0..=0), (0.25, 60..=140), (1.0, 400..=400)] {
        let collected = Collected::default();
        let (address, _task) = collector("127.0.0.1:0", &collected).await;
        let url = format!("http://{address}/api/v2/spans");
        let handler = start(json!({ "url": url, "sampleProbability": probability })).await;
        for trace in &traces {
            send(
                &handler,
                &[span(trace, "00000000000000aa"), span(trace, "00000000000000bb")],
            )
            .unwrap();
        }
        handler.close().await;
        let mut spans: BTreeMap<String, usize> = BTreeMap::new();
        for span in collected.spans.lock().unwrap().iter() {
            *spans.entry(span["traceId"].to_string()).or_default() += 1;
        }
        assert!(expected.contains(&spans.len()), "{probability}: {}", spans.len());
        assert!(
            spans.values().all(|count| *count == 2),
            "{probability}: {spans:?}"
        );
    }
}

#[tokio::test]
async fn spans_wait_while_nobody_takes_them_and_too_many_are_dropped() {
    let port = mesh_testing::ports::unused().unwrap();
    let address = format!("127.0.0.1:{port}");
    let url = format!("http://{address}/api/v2/spans");
    let handler = start(json!({ "url": url, "sampleProbability": 1.0 })).await;
    let mut failed = 0;
    for _ in 0..2000 {
        let result = send(&handler, &[span("00000000000000ff", "00000000000000ff")]);
        failed += usize::from(result.is_err());
        tokio::task::yield_now().await;
    }
    assert!((800..=1000).contains(&failed), "{failed}");
    assert_eq!(handler.faults().of("dropped"), failed as u64);
    let kept = 2000 - failed;
    let collected = Collected::default();
    let (_, _task) = collector(&address, &collected).await;
    eventually(PATIENCE, async || match collected.spans.lock().unwrap().len() {
        count if count == kept => Ok(()),
        count => Err(format!("{count} of {kept} spans")),
    })
    .await
    .unwrap();

    // What is refused for good is not sent again, and what comes after it is.
    *collected.refuses.lock().unwrap() = Some(StatusCode::BAD_REQUEST);
    send(&handler, &[span("00000000000000ff", "00000000000000ff")]).unwrap();
    eventually(PATIENCE, async || match handler.faults().of("dropped") {
        count if count > failed as u64 => Ok(()),
        _ => Err("it is not counted"),
    })
    .await
    .unwrap();
    *collected.refuses.lock().unwrap() = None;
    send(&handler, &[span("00000000000000ff", "00000000000000ff")]).unwrap();
    let before = kept + 1;
    let faults = handler.faults();
    handler.close().await;
    assert_eq!(collected.spans.lock().unwrap().len(), before);
    assert_eq!(faults.of("dropped"), failed as u64 + 1);
}
