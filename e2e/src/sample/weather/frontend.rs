//! `frontend`: the page, and the same as JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::data::CITIES;
use super::{Forecast, page};
use crate::sample::client::{BaseUrl, CallError, Client, Reply};
use crate::sample::form;
use crate::sample::forward::forwarded;
use crate::sample::html::shorten;
use crate::sample::identity::Identity;
use crate::sample::server;

/// Flags of the role.
#[derive(Debug, Args)]
pub(in crate::sample) struct FrontendArgs {
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 3000)]
    pub(in crate::sample) port: u16,
    /// Where forecast is
    #[arg(
        long,
        env = "FORECAST_URL",
        value_name = "URL",
        default_value = "http://forecast:3002"
    )]
    pub(super) forecast_url: BaseUrl,
    /// Where advertisement is
    #[arg(
        long,
        env = "ADVERTISEMENT_URL",
        value_name = "URL",
        default_value = "http://advertisement:3003"
    )]
    pub(super) advertisement_url: BaseUrl,
}

/// Everything that the page shows; also the answer of `/api/weather`.
#[derive(Debug, Serialize)]
pub(super) struct View {
    pub(super) frontend: Identity,
    /// The city that was asked for.
    pub(super) city: String,
    pub(super) forecast: Panel<Forecast>,
    pub(super) advertisement: Panel<Ad>,
}

/// What a backend gave, or how it failed.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Panel<T> {
    Content(T),
    Failed { error: Failure },
}

/// The picture of `advertisement` and who drew it.
#[derive(Debug, Serialize)]
pub(super) struct Ad {
    pub(super) version: String,
    pub(super) pod: String,
    pub(super) content_type: String,
    #[serde(skip)]
    pub(super) picture: String,
}

/// A backend that did not deliver.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    /// Absent if there was no answer at all.
    pub(super) status: Option<u16>,
    /// What the status is called, or what went wrong instead of an answer.
    pub(super) reason: String,
    /// The beginning of the answer.
    pub(super) body: String,
}

struct Frontend {
    identity: Identity,
    client: Client,
    forecast: BaseUrl,
    advertisement: BaseUrl,
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default = "first_city")]
    city: String,
}

fn first_city() -> String {
    CITIES[0].name.to_owned()
}

/// Longer than any delay or timeout of the exercises, so that the mesh decides and not this program.
const TIMEOUT: Duration = Duration::from_secs(30);
const SHOWN_CHARACTERS: usize = 2000;

// === impl FrontendArgs ===

impl FrontendArgs {
    pub(in crate::sample) fn router(self, identity: &Identity) -> Router {
        let Self {
            port: _,
            forecast_url: forecast,
            advertisement_url: advertisement,
        } = self;
        let frontend = Frontend {
            identity: identity.clone(),
            client: Client::new(),
            forecast,
            advertisement,
        };
        let routes = Router::new()
            .route("/", get(page))
            .route("/api/weather", get(api))
            .with_state(Arc::new(frontend));
        server::finish(routes, identity)
    }
}

async fn page(
    State(frontend): State<Arc<Frontend>>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Html<String> {
    Html(page::render(&frontend.view(wanted.city, &headers).await))
}

async fn api(
    State(frontend): State<Arc<Frontend>>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Json<View> {
    Json(frontend.view(wanted.city, &headers).await)
}

// === impl Frontend ===

impl Frontend {
    async fn view(&self, city: String, headers: &HeaderMap) -> View {
        let path = format!("/weather?city={}", form::encode(&city));
        let (forecast, advertisement) = tokio::join!(
            self.client
                .get(&self.forecast, &path, forwarded(headers), TIMEOUT),
            self.client
                .get(&self.advertisement, "/ad", forwarded(headers), TIMEOUT),
        );
        View {
            frontend: self.identity.clone(),
            city,
            forecast: Panel::from_reply(forecast, |reply| {
                serde_json::from_slice(&reply.body).map_err(|error| error.to_string())
            }),
            advertisement: Panel::from_reply(advertisement, |reply| Ad::from_reply(&reply)),
        }
    }
}

// === impl Ad ===

impl Ad {
    fn from_reply(reply: &Reply) -> Result<Self, String> {
        let content_type = reply.header("content-type");
        if !content_type.starts_with("image/svg+xml") {
            return Err(format!("not a picture: {content_type:?}"));
        }
        Ok(Self {
            version: reply.header("x-sample-version").to_owned(),
            pod: reply.header("x-sample-pod").to_owned(),
            content_type: content_type.to_owned(),
            picture: reply.text(),
        })
    }
}

// === impl Panel ===

impl<T> Panel<T> {
    fn from_reply(reply: Result<Reply, CallError>, read: impl FnOnce(Reply) -> Result<T, String>) -> Self {
        let error = match reply {
            Err(error) => Failure {
                status: None,
                reason: error.to_string(),
                body: String::new(),
            },
            Ok(reply) => {
                let status = reply.status;
                let body = shorten(&reply.text(), SHOWN_CHARACTERS).to_owned();
                let reason = if status.is_success() {
                    match read(reply) {
                        Ok(content) => return Self::Content(content),
                        Err(reason) => reason,
                    }
                } else {
                    status.canonical_reason().unwrap_or("unknown status").to_owned()
                };
                Failure {
                    status: Some(status.as_u16()),
                    reason,
                    body,
                }
            }
        };
        Self::Failed { error }
    }
}
