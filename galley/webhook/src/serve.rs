//! What is answered on the port of the webhook (G8.2, G8.3).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use galley_validation::{MAX_BODY_BYTES, Warnings, Webhook};
use tokio::sync::Semaphore;
use tracing::{error, warn};

use crate::call;
use crate::metrics::ValidationMetrics;

/// How long a client may take to send the body of a request: as long as the API server may wait for an answer.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests whose bodies are held at once; others wait for their turn. Bounds the memory that clients can take.
const REQUESTS_AT_ONCE: usize = 32;

/// What requests are answered with.
#[derive(Clone)]
struct Answers {
    warnings: Arc<dyn Warnings>,
    metrics: ValidationMetrics,
    turns: Arc<Semaphore>,
}

/// The pages of the webhook: `/admitpilot`, `/admitmixer`, `/admitservice`, `/ready`, and the one that our own calls come back to.
pub(crate) fn router(warnings: Arc<dyn Warnings>, metrics: ValidationMetrics) -> Router {
    let answers = Answers {
        warnings,
        metrics,
        turns: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
    };
    let webhook = |webhook: Webhook| {
        any(
            move |State(answers): State<Answers>, request: Request| async move {
                answers.admit(webhook, request).await
            },
        )
    };
    Router::new()
        .route(Webhook::Pilot.path(), webhook(Webhook::Pilot))
        .route(Webhook::Mixer.path(), webhook(Webhook::Mixer))
        .route(Webhook::Service.path(), webhook(Webhook::Service))
        .route(call::PATH, any(come_back))
        .route("/ready", get(async || StatusCode::OK))
        .with_state(answers)
}

/// A call of our own that arrived is answered with what it carries.
async fn come_back(State(answers): State<Answers>, request: Request) -> Response {
    match answers.body(request).await {
        Ok(body) => match call::answer(&body) {
            Some(answer) => json(StatusCode::OK, answer),
            None => (StatusCode::BAD_REQUEST, "this is none of our own calls").into_response(),
        },
        Err(response) => response,
    }
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

// === impl Answers ===

impl Answers {
    async fn admit(self, webhook: Webhook, request: Request) -> Response {
        let content_type = request.headers().get(CONTENT_TYPE).cloned();
        let Ok(_turn) = self.turns.clone().acquire_owned().await else {
            // Nobody closes it.
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let body = match self.body(request).await {
            Ok(body) => body,
            Err(response) => return response,
        };
        let warnings = Arc::clone(&self.warnings);
        // Looking at a large object takes milliseconds, and other connections should not wait for it.
        let answer = tokio::task::spawn_blocking(move || {
            let content_type = content_type.as_ref().and_then(|value| value.to_str().ok());
            webhook.answer_with(content_type, &body, &*warnings)
        })
        .await;
        match answer {
            Ok(answer) => {
                self.metrics.count(&answer.outcome);
                let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                if status == StatusCode::OK {
                    return json(status, answer.body);
                }
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                if status.is_server_error() {
                    error!(path = webhook.path(), %status, text, "a request could not be answered");
                } else {
                    warn!(path = webhook.path(), %status, text, "a request held no review");
                }
                (status, text).into_response()
            }
            Err(_) => self.refuse(StatusCode::INTERNAL_SERVER_ERROR, "no answer was found"),
        }
    }

    /// The body of a request, or what is answered when there is none that will be looked at.
    async fn body(&self, request: Request) -> Result<Vec<u8>, Response> {
        let too_long = || self.refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long");
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > MAX_BODY_BYTES) {
            return Err(too_long());
        }
        let body: Body = request.into_body();
        match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES)).await {
            Ok(Ok(body)) => Ok(body.into()),
            // Either that, or the connection is gone and nobody reads the answer.
            Ok(Err(_)) => Err(too_long()),
            Err(_) => Err(self.refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
        }
    }

    fn refuse(&self, status: StatusCode, text: &'static str) -> Response {
        self.metrics.http_error(status.as_u16());
        (status, text).into_response()
    }
}
