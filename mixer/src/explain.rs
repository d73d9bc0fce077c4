//! What the rules make of one request: `POST /debug/explain` with an encoded `CheckRequest`, for `mixc explain`.
//!
//! Handlers are asked for it, and quotas allocated, so that it is served where ControlZ is and not at the port that shows
//! metrics to everybody.

use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::post;
use mixer_attribute::{CheckRequest, dictionary};
use mixer_runtime::dispatch::Patience;
use mixer_runtime::{Engine, Report};
use serde_json::{Value, json};
use tokio::sync::watch;

#[derive(Clone)]
struct Explainer {
    reports: watch::Receiver<Arc<Report>>,
    /// The page outlives the service, whose end closes handlers.
    engine: Weak<Engine>,
    call_limit: Duration,
}

type Refusal = (StatusCode, String);

/// The page.
pub(crate) fn router(
    reports: watch::Receiver<Arc<Report>>,
    engine: &Arc<Engine>,
    call_limit: Duration,
) -> Router {
    Router::new()
        .route("/debug/explain", post(explain))
        .with_state(Explainer {
            reports,
            engine: Arc::downgrade(engine),
            call_limit,
        })
}

/// The explanation, and what is left out of the configuration.
async fn explain(State(explainer): State<Explainer>, message: Bytes) -> Result<Json<Value>, Refusal> {
    let gone = || {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the engine is at its end".to_owned(),
        )
    };
    let engine = explainer.engine.upgrade().ok_or_else(gone)?;
    let request = CheckRequest::read(&message).map_err(bad)?;
    dictionary::check_word_count(request.global_word_count).map_err(bad)?;
    let patience = Patience {
        call_limit: explainer.call_limit,
        deadline: None,
    };
    let table = engine.table();
    let explanation = engine.explain(&table, &request, patience).await.map_err(bad)?;
    let report = Arc::clone(&explainer.reports.borrow());
    let left_out: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    Ok(Json(json!({ "explanation": explanation, "leftOut": left_out })))
}

#[allow(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn bad(error: impl ToString) -> Refusal {
    (StatusCode::BAD_REQUEST, error.to_string())
}
