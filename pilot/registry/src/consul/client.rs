//! The HTTP client of an agent.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::header::HeaderValue;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use mesh_runtime::{Spawner, error_chain};

/// The largest answer that is read. An instance has about a kilobyte.
const MAX_BODY: usize = 64 << 20;
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take beyond the time that it was asked to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of the text of a refusal is kept.
const MAX_REASON: usize = 200;

/// The address of an agent: `http://host:port`, or `host:port` as in 1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsulUrl {
    /// Without a slash at the end.
    base: String,
}

/// Not the address of an agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the address of a Consul agent: give http://host:port")]
pub struct ConsulUrlError(String);

/// A question that was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there, or stopped in between.
    #[error("the agent cannot be reached: {0}")]
    Unreachable(String),
    /// The agent takes longer than it was asked to.
    #[error("the agent did not answer within {0:?}")]
    Timeout(Duration),
    /// The agent answered with something else than success.
    #[error("the agent answered {status}: {reason}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What the agent said.
        reason: String,
    },
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// `X-Consul-Index`.
    pub(super) index: Option<u64>,
    pub(super) body: Bytes,
}

/// Asks an agent. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: HttpClient<HttpConnector, Empty<Bytes>>,
    url: ConsulUrl,
    token: Option<HeaderValue>,
}

// === impl Client ===

impl Client {
    pub(super) fn new(url: ConsulUrl, token: Option<HeaderValue>, spawner: Spawner) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        Self {
            http: HttpClient::builder(spawner).build(connector),
            url,
            token,
        }
    }

    /// Asks for a resource; waits up to `wait` until it has passed `index`.
    pub(super) async fn get(
        &self,
        path: &str,
        index: Option<u64>,
        wait: Duration,
    ) -> Result<Answer, ClientError> {
        let blocking = index.map(|index| format!("?index={index}&wait={}s", wait.as_secs()));
        let uri = format!("{}{path}{}", self.url.base, blocking.unwrap_or_default());
        let mut request = Request::get(uri);
        if let Some(token) = &self.token {
            request = request.header("x-consul-token", token);
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| ClientError::Unreachable(error.to_string()))?;
        // The agent adds up to a sixteenth of its own.
        let patience = match index {
            Some(_) => wait + wait / 16 + ANSWER_TIMEOUT,
            None => ANSWER_TIMEOUT,
        };
        tokio::time::timeout(patience, self.exchange(request))
            .await
            .map_err(|_| ClientError::Timeout(patience))?
    }

    async fn exchange(&self, request: Request<Empty<Bytes>>) -> Result<Answer, ClientError> {
        let unreachable =
            |error: &(dyn std::error::Error + 'static)| ClientError::Unreachable(error_chain(error));
        let response = self
            .http
            .request(request)
            .await
            .map_err(|error| unreachable(&error))?;
        let status = response.status();
        let index = response.headers().get("x-consul-index");
        let index = index.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|error| unreachable(&*error))?
            .to_bytes();
        if status == StatusCode::OK {
            return Ok(Answer { index, body });
        }
        let reason = String::from_utf8_lossy(&body)
            .trim()
            .chars()
            .take(MAX_REASON)
            .collect();
        Err(ClientError::Refused { status, reason })
    }
}

/// A name as a segment of a path.
pub(super) fn segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for &byte in name.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

// === impl ClientError ===

impl ClientError {
    /// Whether asking again cannot help before somebody changes something: the agent is well.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { status, .. }
            if status.is_client_error() && *status != StatusCode::TOO_MANY_REQUESTS)
    }
}

// === impl ConsulUrl ===

impl FromStr for ConsulUrl {
    type Err = ConsulUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let failed = || ConsulUrlError(text.to_owned());
        let url = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let uri: http::Uri = url.parse().map_err(|_| failed())?;
        let is_plain = uri.scheme_str() == Some("http") && uri.query().is_none() && uri.path() == "/";
        if !is_plain || uri.host().is_none_or(str::is_empty) {
            return Err(failed());
        }
        let authority = uri.authority().ok_or_else(failed)?;
        Ok(Self {
            base: format!("http://{authority}"),
        })
    }
}

impl fmt::Display for ConsulUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_4_the_url_of_an_agent_is_plain_http_with_or_without_its_scheme() {
        for text in [
            "127.0.0.1:8500",
            "http://127.0.0.1:8500",
            "http://127.0.0.1:8500/",
        ] {
            let url: ConsulUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), "http://127.0.0.1:8500");
        }
        for text in [
            "",
            "https://consul:8501",
            "http://",
            "http://consul/v1",
            "consul:8500?dc=1",
            "unix:///x",
        ] {
            assert!(text.parse::<ConsulUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_services_are_segments_of_paths() {
        assert_eq!(segment("web-1.v2_x"), "web-1.v2_x");
        assert_eq!(segment("a/b c?é"), "a%2Fb%20c%3F%C3%A9");
    }
}
