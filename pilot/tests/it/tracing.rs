//! Spans of requests, as a Zipkin collector gets them from every supported Envoy (P12.5).

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use mesh_testing::{envoys, eventually};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::PATIENCE;
use crate::proxy::{Answer, Node, Proxy};
use crate::upstream::{entry, mesh};

const API: &str = "api.example.com";

type Spans = Arc<Mutex<Vec<Value>>>;

/// A server that shows the headers of requests in its answers, and takes spans as Zipkin does.
struct Server {
    port: u16,
    spans: Spans,
    _task: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let spans = Spans::default();
        let routes = Router::new()
            .route("/api/v2/spans", post(collect))
            .fallback(get(headers))
            .with_state(Arc::clone(&spans));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            port,
            spans,
            _task: task,
        }
    }

    fn spans(&self) -> Vec<Value> {
        self.spans.lock().unwrap().clone()
    }

    /// A span of this trace, once it has been reported.
    async fn span(&self, trace: &Value) -> Value {
        let span = eventually(PATIENCE, async || {
            let spans = self.spans();
            let span = spans.iter().find(|span| &span["traceId"] == trace).cloned();
            span.ok_or(format!("{} spans, none of {trace}", spans.len()))
        });
        span.await.unwrap_or_else(|error| panic!("{error}"))
    }
}

async fn collect(State(spans): State<Spans>, Json(reported): Json<Vec<Value>>) -> StatusCode {
    spans.lock().unwrap().extend(reported);
    StatusCode::ACCEPTED
}

async fn headers(headers: HeaderMap) -> Json<Value> {
    let headers = headers.iter();
    Json(
        headers
            .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap_or_default())))
            .collect(),
    )
}

/// A request with headers that its client had already.
async fn ask(proxy: &Proxy, headers: &str) -> Answer {
    let request = format!("GET /cities HTTP/1.1\r\nhost: {API}\r\n{headers}connection: close\r\n\r\n");
    proxy.send(proxy.port(), &request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_5_tel_12_requests_are_reported_to_the_collector_of_the_proxy() {
    for envoy in envoys() {
        let server = Server::start().await;
        let node = || Node {
            metadata: vec![("TRACER", "zipkin".to_owned())],
            collector: Some(server.port),
            ..Node::default()
        };
        let objects = [entry(API, "", &[(server.port, "")])];
        let (_galley, _pilot, proxy) = mesh(&envoy, &objects, "", &[], &node()).await;
        proxy.expect(API, 200).await;

        // A request that nobody has traced begins a trace.
        let answer = ask(&proxy, "").await;
        let trace = answer.field("x-b3-traceid");
        assert_eq!(trace.as_str().map(str::len), Some(32), "{answer:?}");
        assert_eq!(answer.field("x-b3-sampled"), json!("1"));
        let span = server.span(&trace).await;
        assert_eq!(span["id"], answer.field("x-b3-spanid"));
        assert_eq!(span.get("parentId"), None, "{span}");
        assert_eq!(span["localEndpoint"]["serviceName"], "edge");
        let tags = &span["tags"];
        assert_eq!(
            (&tags["http.method"], &tags["http.status_code"]),
            (&json!("GET"), &json!("200"))
        );
        assert!(
            tags["http.url"]
                .as_str()
                .is_some_and(|url| url.ends_with("/cities")),
            "{span}"
        );

        // One that comes with a trace goes on with it, in a span of its own.
        let trace = "463ac35c9f6413ad48485a3953bb6124";
        let parent = "a2fb4a1d1a96d312";
        let b3 = format!("x-b3-traceid: {trace}\r\nx-b3-spanid: {parent}\r\nx-b3-sampled: 1\r\n");
        let answer = ask(&proxy, &b3).await;
        assert_eq!(answer.field("x-b3-traceid"), json!(trace));
        let span = server.span(&json!(trace)).await;
        assert_eq!(span["parentId"], json!(parent), "{span}");

        // Without a share, only what somebody has decided to trace is reported.
        let flags = ["--traceSampling=0"];
        let (_galley, _pilot, proxy) = mesh(&envoy, &objects, "", &flags, &node()).await;
        proxy.expect(API, 200).await;
        let before = ask(&proxy, "").await.field("x-b3-traceid");
        let decided = b3.replace("463ac35c", "563ac35c");
        ask(&proxy, &decided).await;
        server.span(&json!(trace.replace("463ac35c", "563ac35c"))).await;
        assert!(server.spans().iter().all(|span| span["traceId"] != before));

        // Nobody traces where the mesh says so.
        let (_galley, _pilot, proxy) = mesh(&envoy, &objects, "enableTracing: false", &[], &node()).await;
        proxy.expect(API, 200).await;
        let untraced = |answer: &Answer| !answer.body.contains("x-b3-traceid");
        proxy.until(API, "untraced", untraced).await;
    }
}
