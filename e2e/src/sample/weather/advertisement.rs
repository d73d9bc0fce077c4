//! `advertisement`: a picture.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;

use crate::sample::html::Escaped;
use crate::sample::identity::Identity;
use crate::sample::random::Numbers;
use crate::sample::server;

/// Flags of the role.
#[derive(Debug, Args)]
pub(in crate::sample) struct AdvertisementArgs {
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 3003)]
    pub(in crate::sample) port: u16,
    /// Share of the requests to /ad that fail with status 500, in percent
    #[arg(long, env = "ERROR_PERCENT", default_value_t = 0)]
    pub(super) error_percent: u8,
}

struct Advertisement {
    picture: String,
    error_percent: u8,
}

/// The picture; `{from}` and `{to}` are the colours of its ground.
const PICTURE: &str = include_str!("ad.svg");

// === impl AdvertisementArgs ===

impl AdvertisementArgs {
    pub(in crate::sample) fn router(self, identity: &Identity) -> Router {
        // Each release has its own colours, so that a canary can be seen.
        let (from, to) = match identity.version.as_str() {
            "v1" => ("#ff8a3d", "#e0386b"),
            "v2" => ("#2f80ed", "#6a3de8"),
            _ => ("#2fa36b", "#0f6f78"),
        };
        let picture = PICTURE
            .replace("{from}", from)
            .replace("{to}", to)
            .replace("{version}", &Escaped(&identity.version).to_string());
        let state = Arc::new(Advertisement {
            picture,
            error_percent: self.error_percent,
        });
        server::finish(Router::new().route("/ad", get(ad)).with_state(state), identity)
    }
}

async fn ad(State(state): State<Arc<Advertisement>>) -> Response {
    if Numbers::fresh().below(100) < u64::from(state.error_percent) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "no advertisement today\n").into_response();
    }
    ([(header::CONTENT_TYPE, "image/svg+xml")], state.picture.clone()).into_response()
}
