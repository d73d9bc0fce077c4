//! Calls to backends.

use std::error::Error;
use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use axum::http::uri::Scheme;
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// An HTTP/1.1 client with a connection pool. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: legacy::Client<HttpConnector, Empty<Bytes>>,
}

/// What a backend answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("cannot call {url}: {reason}")]
    Failed { url: String, reason: String },
}

/// Where a backend is: `http://name:port`, without a path.
#[derive(Debug, Clone)]
pub(super) struct BaseUrl(String);

/// The largest answer that a role reads.
const MAX_BODY: usize = 1 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

// === impl Client ===

impl Client {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(32)
            .build(connector);
        Self { http }
    }

    /// `GET base + path` with these headers; the answer must be complete within `timeout`.
    pub(super) async fn get(
        &self,
        base: &BaseUrl,
        path: &str,
        headers: HeaderMap,
        timeout: Duration,
    ) -> Result<Reply, CallError> {
        let url = format!("{base}{path}", base = base.0);
        match tokio::time::timeout(timeout, self.exchange(&url, headers)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(CallError::Failed {
                url,
                reason: with_causes(error.as_ref()),
            }),
            Err(_elapsed) => Err(CallError::Timeout(timeout)),
        }
    }

    async fn exchange(&self, url: &str, headers: HeaderMap) -> Result<Reply, Box<dyn Error + Send + Sync>> {
        let mut request = Request::get(url).body(Empty::new())?;
        *request.headers_mut() = headers;
        let (parts, body) = self.http.request(request).await?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }
}

/// The message and its causes: hyper alone says no more than "client error (Connect)".
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {next}");
        cause = next.source();
    }
    text
}

// === impl Reply ===

impl Reply {
    /// The answer as text, for people.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// A header as text; empty when it is missing.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

// === impl CallError ===

impl CallError {
    /// The status by which a gateway would report this error.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Failed { .. } => StatusCode::BAD_GATEWAY,
        }
    }
}

// === impl BaseUrl ===

impl FromStr for BaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
        if uri.scheme() != Some(&Scheme::HTTP) || uri.authority().is_none() {
            return Err("must be http://host[:port]".to_owned());
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err("must not have a path".to_owned());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}
