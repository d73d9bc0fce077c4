//! The status server (port 15020): readiness of the proxy, and probes of the application.

mod probes;
mod readiness;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::routing::get;
use mesh_runtime::Drain;
use tracing::{info, warn};

use crate::admin::Admin;
use crate::config::Config;

pub use probes::{Prober, ProberError, Probers};
pub use readiness::{NotReady, Wanted};

/// How long the admin interface may take to answer a readiness probe.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What the handlers share.
#[derive(Debug)]
struct Shared {
    admin: Admin,
    wanted: Wanted,
    probers: Probers,
    drain: Drain,
    /// The last answer, to log changes only: why not ready, `None` if ready.
    last: Mutex<Option<String>>,
}

/// The routes of the status server. It must answer until the very end: once `drain` has begun, that is
/// what it says.
pub fn router(config: &Config, drain: Drain) -> Router {
    let shared = Shared {
        admin: Admin::new(config.admin_port, ADMIN_TIMEOUT),
        wanted: Wanted::of(config),
        probers: config.status.probers.clone(),
        drain,
        last: Mutex::new(Some(String::new())),
    };
    Router::new()
        .route("/healthz/ready", get(ready))
        .fallback(probe)
        .with_state(Arc::new(shared))
}

async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    let state = match shared.drain.is_draining() {
        true => Err(NotReady::Draining),
        false => readiness::check(&shared.admin, &shared.wanted).await,
    };
    let reason = state.err().map(|reason| reason.to_string());
    let last = {
        let mut last = shared.last.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *last, reason.clone())
    };
    match reason {
        None => {
            if last.is_some() {
                info!("envoy is ready");
            }
            (StatusCode::OK, "ready\n".to_owned())
        }
        Some(reason) => {
            if last.as_ref() != Some(&reason) {
                info!(reason, "envoy is not ready");
            }
            (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"))
        }
    }
}

/// Answers with the application's status and nothing else.
async fn probe(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
) -> (StatusCode, &'static str) {
    let Some(prober) = shared.probers.get(uri.path()) else {
        return (StatusCode::BAD_REQUEST, "app prober config does not exists\n");
    };
    match prober.probe(headers.get(header::USER_AGENT)).await {
        Ok(status) => (status, ""),
        Err(error) => {
            warn!(
                path = uri.path(),
                error = &error as &dyn std::error::Error,
                "the application does not answer"
            );
            (StatusCode::INTERNAL_SERVER_ERROR, "")
        }
    }
}
