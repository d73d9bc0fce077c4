//! The HTTP interface that every process offers: `/metrics`, `/version`, `/ready`, `/live`, `/scopez`.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, put};
use serde::Deserialize;
use tracing::info;

use crate::args::{HostPort, ListenAddr};
use crate::http::Peer;
use crate::log::{Level, ScopeInfo};
use crate::metrics::Metrics;
use crate::readiness::Status;
use crate::runtime::Runtime;
use crate::version::BuildInfo;

/// Where a process shows itself. The flags of Pilot (`--monitoringAddr`), of Mixer and Galley
/// (`--monitoringPort`) and of ControlZ (P6.3, P6.4, G9.2).
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Administration")]
pub struct AdminArgs {
    /// Address of the monitoring server; empty switches it off.
    #[arg(long = "monitoringAddr", value_name = "ADDRESS", default_value = ":15014")]
    pub monitoring_addr: ListenAddr,

    /// Port of the monitoring server on every address.
    #[arg(
        long = "monitoringPort",
        value_name = "PORT",
        conflicts_with = "monitoring_addr"
    )]
    pub monitoring_port: Option<u16>,

    /// Address of the control server; empty switches it off.
    #[arg(long = "ctrlz_address", value_name = "HOST", default_value = "127.0.0.1")]
    pub ctrlz_address: String,

    /// Port of the control server.
    #[arg(long = "ctrlz_port", value_name = "PORT", default_value_t = 9876)]
    pub ctrlz_port: u16,
}

/// The body of `PUT /scopez/{scope}` as ControlZ takes it; other fields are ignored.
#[derive(Deserialize)]
struct NewLevel {
    output_level: Level,
}

/// An answer of the admin interface that is not a success.
struct Refusal(StatusCode, String);

// === impl AdminArgs ===

impl Default for AdminArgs {
    fn default() -> Self {
        Self {
            monitoring_addr: HostPort::any(15014).into(),
            monitoring_port: None,
            ctrlz_address: "127.0.0.1".to_owned(),
            ctrlz_port: 9876,
        }
    }
}

impl AdminArgs {
    /// The flag that holds the monitoring address, and the address.
    #[must_use]
    pub fn monitoring(&self) -> (&'static str, ListenAddr) {
        match self.monitoring_port {
            Some(port) => ("--monitoringPort", HostPort::any(port).into()),
            None => ("--monitoringAddr", self.monitoring_addr.clone()),
        }
    }

    /// The address of the control server.
    #[must_use]
    pub fn ctrlz(&self) -> ListenAddr {
        if self.ctrlz_address.is_empty() {
            return ListenAddr::DISABLED;
        }
        HostPort {
            host: Some(self.ctrlz_address.clone()),
            port: self.ctrlz_port,
        }
        .into()
    }
}

/// The routes of every process; a service merges its own into them.
///
/// | route | answer |
/// |---|---|
/// | `GET /metrics` | Prometheus' text format |
/// | `GET /version` | [`BuildInfo`] as JSON |
/// | `GET /ready` | 200, or 503 and one line for each thing that is pending |
/// | `GET /live` | 200 as long as the process can answer |
/// | `GET /scopez`, `GET /scopez/{scope}` | log scopes as JSON |
/// | `PUT /scopez/{scope}` | sets the level; the body is a level, or JSON with `output_level`; from this machine only |
pub fn router(runtime: &Runtime) -> Router {
    let scope = put(set_scope).layer(middleware::from_fn(local_only)).get(scope);
    Router::new()
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .route("/ready", get(ready))
        .route("/live", get(async || "live\n"))
        .route("/scopez", get(scopes))
        .route("/scopez/{scope}", scope)
        .with_state(runtime.clone())
}

async fn metrics(State(runtime): State<Runtime>) -> Result<Response, Refusal> {
    let text = runtime
        .metrics()
        .encode()
        .map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, crate::error_chain(&error)))?;
    Ok(([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], text).into_response())
}

async fn version(State(runtime): State<Runtime>) -> Json<BuildInfo> {
    Json(runtime.build_info().clone())
}

async fn ready(State(runtime): State<Runtime>) -> (StatusCode, String) {
    match runtime.readiness().status() {
        Status::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Status::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
        Status::Pending(tasks) => {
            let lines = tasks.iter().map(|task| format!("pending: {task}\n")).collect();
            (StatusCode::SERVICE_UNAVAILABLE, lines)
        }
    }
}

async fn scopes(State(runtime): State<Runtime>) -> Json<Vec<ScopeInfo>> {
    Json(runtime.log().scopes())
}

async fn scope(State(runtime): State<Runtime>, Path(name): Path<String>) -> Result<Json<ScopeInfo>, Refusal> {
    let scope = runtime.log().scope(&name);
    scope
        .map(Json)
        .map_err(|error| Refusal(StatusCode::NOT_FOUND, error.to_string()))
}

async fn set_scope(
    State(runtime): State<Runtime>,
    Path(name): Path<String>,
    body: String,
) -> Result<Json<ScopeInfo>, Refusal> {
    let bad = |reason: String| Refusal(StatusCode::BAD_REQUEST, reason);
    let level = if body.trim_start().starts_with('{') {
        let parsed: NewLevel = serde_json::from_str(&body).map_err(|error| bad(error.to_string()))?;
        parsed.output_level
    } else {
        body.trim()
            .parse()
            .map_err(|error: crate::log::LevelError| bad(error.to_string()))?
    };
    let not_found = |error: crate::log::UnknownScope| Refusal(StatusCode::NOT_FOUND, error.to_string());
    runtime.log().set_level(&name, level).map_err(not_found)?;
    info!(scope = name, %level, "log level changed");
    runtime.log().scope(&name).map(Json).map_err(not_found)
}

/// Lets only this machine change the process: the monitoring port is open to the whole network.
async fn local_only(request: Request, next: Next) -> Response {
    let local = request
        .extensions()
        .get::<Peer>()
        .is_some_and(|peer| peer.remote.ip().is_loopback());
    if local {
        next.run(request).await
    } else {
        Refusal(
            StatusCode::FORBIDDEN,
            "allowed from the loopback interface only".to_owned(),
        )
        .into_response()
    }
}

// === impl Refusal ===

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, reason) = self;
        (status, format!("{reason}\n")).into_response()
    }
}

#[cfg(test)]
mod tests;
