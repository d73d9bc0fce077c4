//! Sends spans to a collector that takes Zipkin's JSON.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prometheus::IntCounterVec;
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// So many spans are sent at once.
const BATCH: usize = 100;

/// How long spans wait for others.
const DELAY: Duration = Duration::from_secs(1);

/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the second version of Zipkin's interface is.
const PATH: &str = "/api/v2/spans";

/// The URL of a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(Uri);

// === impl Endpoint ===

impl FromStr for Endpoint {
    type Err = String;

    /// The path of Zipkin's first version, which 1.1 was given, becomes that of the second.
    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
        let authority = uri.authority().ok_or("it names no host")?;
        match uri.scheme_str() {
            Some("http") => {}
            scheme => return Err(format!("{} is not http", scheme.unwrap_or("nothing"))),
        }
        let path = match uri.path() {
            "" | "/" | "/api/v1/spans" => PATH,
            "/api/traces" => {
                return Err(
                    "this is where Jaeger takes Thrift; name its endpoint for Zipkin's JSON, http://HOST:9411".to_owned(),
                );
            }
            path => path,
        };
        let uri = Uri::builder()
            .scheme("http")
            .authority(authority.clone())
            .path_and_query(path);
        uri.build().map(Self).map_err(|error| error.to_string())
    }
}

/// Sends what waits, until nobody traces any more.
pub(super) async fn send(endpoint: Endpoint, mut waiting: mpsc::Receiver<Value>, spans: IntCounterVec) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut away = false;
    while let Some(first) = waiting.recv().await {
        let mut batch = vec![first];
        let gather = async {
            while batch.len() < BATCH
                && let Some(span) = waiting.recv().await
            {
                batch.push(span);
            }
        };
        // What was gathered by then is enough.
        let _complete = tokio::time::timeout(DELAY, gather).await;
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let batch = Value::Array(batch);
        let sent = tokio::time::timeout(PATIENCE, post(&client, &endpoint, &batch)).await;
        let outcome = match sent.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}"))) {
            Ok(()) => {
                away = false;
                "sent"
            }
            Err(error) if away => {
                debug!(collector = %endpoint.0, error, "spans are lost");
                "failed"
            }
            Err(error) => {
                warn!(collector = %endpoint.0, error, "spans are lost until the collector takes them");
                away = true;
                "failed"
            }
        };
        spans.with_label_values(&[outcome]).inc_by(count);
    }
}

async fn post(
    client: &Client<HttpConnector, Full<Bytes>>,
    endpoint: &Endpoint,
    spans: &Value,
) -> Result<(), String> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(endpoint.0.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(spans.to_string()))
        .map_err(|error| error.to_string())?;
    let answer = client
        .request(request)
        .await
        .map_err(|error| mesh_runtime::error_chain(&error))?;
    match answer.status() {
        StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => Ok(()),
        status => Err(format!("the collector answers {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_02_9_2_collectors_are_named_by_urls() {
        for (text, uri) in [
            ("http://zipkin:9411", "http://zipkin:9411/api/v2/spans"),
            (
                "http://zipkin:9411/api/v1/spans",
                "http://zipkin:9411/api/v2/spans",
            ),
            (
                "http://jaeger:9411/prefix/api/v2/spans",
                "http://jaeger:9411/prefix/api/v2/spans",
            ),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().0.to_string(), uri);
        }
        for text in [
            "zipkin",
            "https://zipkin:9411",
            "http://jaeger:14268/api/traces?format=jaeger.thrift",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
