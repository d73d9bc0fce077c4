//! `echo`: the test double. It describes each request in its answer, and fails or waits when told to.
//!
//! Told by, from strongest to weakest: the headers `x-echo-status` and `x-echo-delay-ms` of a request,
//! `POST /control` with a [`Behaviour`] in JSON (of this pod, until `DELETE /control`), the flags at start.
//! `GET /control` shows the behaviour and how many requests this pod has answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

use super::identity::Identity;
use super::random::Numbers;
use super::{server, tls};

/// Flags of the role.
#[derive(Debug, Args)]
pub(super) struct EchoArgs {
    /// Ports to listen on
    #[arg(long, env = "PORT", value_delimiter = ',', default_value = "8080")]
    pub(super) port: Vec<u16>,
    /// Status of every answer
    #[arg(long, env = "ECHO_STATUS", default_value_t = Behaviour::default().status)]
    status: u16,
    /// Time before every answer
    #[arg(long, env = "ECHO_DELAY_MS", value_name = "MILLISECONDS", default_value_t = 0)]
    delay_ms: u64,
    /// Share of the requests that get this status and delay, in percent
    #[arg(long, env = "ECHO_PERCENT", default_value_t = Behaviour::default().percent)]
    percent: u8,
    /// File with the certificate to serve HTTPS with; its key must be given too
    #[arg(long, env = "ECHO_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// File with the key of the certificate
    #[arg(long, env = "ECHO_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

/// How an `echo` pod answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Status of the answers, 200 to 599.
    pub status: u16,
    /// Milliseconds before each answer.
    pub delay_ms: u64,
    /// Share of the requests that are answered so; the others get 200 at once.
    pub percent: u8,
}

/// What an `echo` pod answers.
#[derive(Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub struct Echo {
    pub app: String,
    pub version: String,
    pub pod: String,
    #[serde(default)]
    pub namespace: String,
    pub method: String,
    pub host: String,
    pub path: String,
    /// The query, as sent.
    pub query: String,
    /// Values of a repeated header are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// The request's body, as far as it is text.
    pub body: String,
    /// The address that the request came from.
    pub remote: String,
    pub status: u16,
}

/// What `GET /control` answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Control {
    /// The behaviour in force.
    pub behaviour: Behaviour,
    /// Requests answered since start, `/control` and `/healthz` not counted.
    pub requests: u64,
}

struct Pod {
    identity: Identity,
    initial: Behaviour,
    control: Mutex<Control>,
}

const STATUS: &str = "x-echo-status";
const DELAY_MS: &str = "x-echo-delay-ms";

// === impl EchoArgs ===

impl EchoArgs {
    /// What ends TLS, when there is a certificate to show.
    pub(super) fn acceptor(&self) -> Result<Option<TlsAcceptor>> {
        let files = self.tls_certificate.as_ref().zip(self.tls_key.as_ref());
        files
            .map(|(certificate, key)| tls::acceptor(certificate, key))
            .transpose()
    }

    pub(super) fn router(self, identity: &Identity) -> Router {
        let Self {
            port: _,
            tls_certificate: _,
            tls_key: _,
            status,
            delay_ms,
            percent,
        } = self;
        router(
            identity,
            Behaviour {
                status,
                delay_ms,
                percent,
            },
        )
    }
}

// === impl Behaviour ===

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            status: 200,
            delay_ms: 0,
            percent: 100,
        }
    }
}

impl Behaviour {
    /// This behaviour with what the headers of a request say instead; they hold for the request with certainty.
    fn with_headers(self, headers: &HeaderMap) -> Self {
        let number = |name| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let status = number(STATUS).and_then(|status| u16::try_from(status).ok());
        let delay_ms = number(DELAY_MS);
        if status.is_none() && delay_ms.is_none() {
            return self;
        }
        Self {
            status: status.unwrap_or(self.status),
            delay_ms: delay_ms.unwrap_or(self.delay_ms),
            percent: 100,
        }
    }

    /// What this behaviour means for one request: status and delay.
    fn decide(self) -> (StatusCode, Duration) {
        if Numbers::fresh().below(100) >= u64::from(self.percent) {
            return (StatusCode::OK, Duration::ZERO);
        }
        // 1xx is no final answer, and beyond 599 is no status.
        let status = StatusCode::from_u16(self.status)
            .ok()
            .filter(|status| (200..600).contains(&status.as_u16()));
        (
            status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Duration::from_millis(self.delay_ms),
        )
    }
}

/// The routes of an `echo` pod, for servers inside tests.
pub fn router(identity: &Identity, behaviour: Behaviour) -> Router {
    let pod = Pod {
        identity: identity.clone(),
        initial: behaviour,
        control: Mutex::new(Control {
            behaviour,
            requests: 0,
        }),
    };
    let routes = Router::new()
        .route("/control", get(show).post(set).delete(reset))
        .fallback(echo)
        .with_state(Arc::new(pod));
    server::finish(routes, identity)
}

// === impl Pod ===

impl Pod {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) -> Response {
        Json(&*self.control()).into_response()
    }
}

async fn show(State(pod): State<Arc<Pod>>) -> Response {
    pod.show()
}

async fn set(State(pod): State<Arc<Pod>>, Json(behaviour): Json<Behaviour>) -> Response {
    pod.control().behaviour = behaviour;
    pod.show()
}

async fn reset(State(pod): State<Arc<Pod>>) -> Response {
    pod.control().behaviour = pod.initial;
    pod.show()
}

async fn echo(
    State(pod): State<Arc<Pod>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let behaviour = {
        let mut control = pod.control();
        control.requests += 1;
        control.behaviour.with_headers(&headers)
    };
    let (status, delay) = behaviour.decide();
    tokio::time::sleep(delay).await;

    let mut seen = BTreeMap::<_, String>::new();
    for (name, value) in &headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        seen.entry(name.to_string())
            .and_modify(|values| {
                values.push_str(", ");
                values.push_str(&value);
            })
            .or_insert_with(|| value.to_string());
    }
    let Identity {
        app,
        version,
        pod,
        namespace,
    } = pod.identity.clone();
    let answer = Echo {
        app,
        version,
        pod,
        namespace,
        method: method.to_string(),
        host: seen.get(header::HOST.as_str()).cloned().unwrap_or_default(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers: seen,
        body: String::from_utf8_lossy(&body).into_owned(),
        remote: remote.to_string(),
        status: status.as_u16(),
    };
    (status, Json(answer)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::testing::{TestServer, identity};
    use serde_json::{Value, json};
    use std::time::Instant;

    async fn server() -> TestServer {
        TestServer::start(router(&identity("echo", "v2"), Behaviour::default())).await
    }

    #[tokio::test]
    async fn an_answer_describes_the_request_and_the_pod() {
        let server = server().await;
        let answer = server
            .send(
                "POST",
                "/some/path?a=1",
                &[("x-user", "ann"), ("x-many", "1"), ("x-many", "2")],
                "hello",
            )
            .await;
        assert_eq!(answer.status, 200);
        let echo: Echo = answer.json();
        assert_eq!(
            (echo.app.as_str(), echo.version.as_str(), echo.pod.as_str()),
            ("echo", "v2", "echo-v2-0")
        );
        assert_eq!(
            (echo.method.as_str(), echo.path.as_str(), echo.query.as_str()),
            ("POST", "/some/path", "a=1")
        );
        assert_eq!(echo.headers["x-user"], "ann");
        assert_eq!(echo.headers["x-many"], "1, 2");
        assert_eq!(echo.host, server.authority());
        assert_eq!(echo.body, "hello");
        assert!(echo.remote.starts_with("127.0.0.1:"), "{}", echo.remote);
    }

    #[tokio::test]
    async fn headers_of_a_request_decide_over_status_and_delay() {
        let server = server().await;
        let started = Instant::now();
        let answer = server
            .send(
                "GET",
                "/",
                &[("x-echo-status", "503"), ("x-echo-delay-ms", "50")],
                "",
            )
            .await;
        assert_eq!(answer.status, 503);
        assert!(started.elapsed() >= Duration::from_millis(50));
        for no_status in ["101", "700", "99999", "many"] {
            let status = server
                .send("GET", "/", &[("x-echo-status", no_status)], "")
                .await
                .status;
            assert!([200, 500].contains(&status.as_u16()), "{no_status}: {status}");
        }
    }

    #[tokio::test]
    async fn control_changes_the_pod_until_it_is_deleted() {
        let server = server().await;
        let answer = server
            .send(
                "POST",
                "/control",
                &[("content-type", "application/json")],
                r#"{"status":418}"#,
            )
            .await;
        assert_eq!(
            answer.json::<Value>()["behaviour"],
            json!({"status": 418, "delay_ms": 0, "percent": 100})
        );
        assert_eq!(server.get("/").await.status, 418);
        assert_eq!(server.get("/").await.status, 418);
        assert_eq!(server.send("DELETE", "/control", &[], "").await.status, 200);
        assert_eq!(server.get("/").await.status, 200);
        assert_eq!(server.get("/healthz").await.status, 200);
        assert_eq!(server.get("/control").await.json::<Control>().requests, 3);
    }

    #[tokio::test]
    async fn unknown_behaviour_is_refused() {
        let server = server().await;
        let answer = server
            .send(
                "POST",
                "/control",
                &[("content-type", "application/json")],
                r#"{"stat":1}"#,
            )
            .await;
        assert_eq!(answer.status, 422);
    }

    #[tokio::test]
    async fn a_share_of_the_requests_fails() {
        let behaviour = Behaviour {
            status: 500,
            percent: 50,
            ..Behaviour::default()
        };
        let server = TestServer::start(router(&identity("echo", "v1"), behaviour)).await;
        let mut failed = 0;
        for _ in 0..200 {
            failed += usize::from(server.get("/").await.status == 500);
        }
        // Ten standard deviations on either side would be 30 to 170.
        assert!((30..170).contains(&failed), "{failed} of 200");
    }
}
