//! `reviews`: what readers say; from version v2 on with stars of `ratings`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;

use super::{Rating, Ratings, Review, Reviews};
use crate::sample::client::{BaseUrl, Client};
use crate::sample::forward::forwarded;
use crate::sample::identity::Identity;
use crate::sample::server;

/// Flags of the role.
#[derive(Debug, Args)]
pub(in crate::sample) struct ReviewsArgs {
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 9080)]
    pub(in crate::sample) port: u16,
    /// Where ratings is
    #[arg(
        long,
        env = "RATINGS_URL",
        value_name = "URL",
        default_value = "http://ratings:9080"
    )]
    pub(super) ratings_url: BaseUrl,
}

struct Service {
    identity: Identity,
    client: Client,
    ratings: BaseUrl,
    stars: Option<Stars>,
}

/// How a version shows stars.
#[derive(Clone, Copy)]
struct Stars {
    color: &'static str,
    /// How long this version waits for ratings: the difference is an exercise of Istio's documentation.
    timeout: Duration,
}

const BLACK: Stars = Stars {
    color: "black",
    timeout: Duration::from_secs(10),
};
const RED: Stars = Stars {
    color: "red",
    timeout: Duration::from_millis(2500),
};

// === impl ReviewsArgs ===

impl ReviewsArgs {
    pub(in crate::sample) fn router(self, identity: &Identity) -> Router {
        let stars = match identity.version.as_str() {
            "v1" => None,
            "v2" => Some(BLACK),
            _ => Some(RED),
        };
        let service = Service {
            identity: identity.clone(),
            client: Client::new(),
            ratings: self.ratings_url,
            stars,
        };
        let routes = Router::new()
            .route("/reviews/{id}", get(reviews))
            .with_state(Arc::new(service));
        server::finish(routes, identity)
    }
}

async fn reviews(
    State(service): State<Arc<Service>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Json<Reviews> {
    let ratings = match service.stars {
        Some(stars) => Some((stars, service.ratings(id, &headers, stars.timeout).await)),
        None => None,
    };
    let review = |reviewer: &str, text: &str| {
        let rating = ratings.as_ref().map(|(stars, ratings)| {
            match ratings.as_ref().and_then(|ratings| ratings.ratings.get(reviewer)) {
                Some(given) => Rating::Stars {
                    stars: *given,
                    color: stars.color.to_owned(),
                },
                None => Rating::Unavailable {
                    error: "Ratings service is currently unavailable".to_owned(),
                },
            }
        });
        Review {
            reviewer: reviewer.to_owned(),
            text: text.to_owned(),
            rating,
        }
    };
    Json(Reviews {
        id: id.to_string(),
        podname: service.identity.pod.clone(),
        version: service.identity.version.clone(),
        reviews: vec![
            review(
                "Reviewer1",
                "Two pairs of twins, one day, and not a dull page. I laughed all the way through.",
            ),
            review(
                "Reviewer2",
                "Great fun, though lighter than the later plays and sometimes hard to follow.",
            ),
        ],
    })
}

// === impl Service ===

impl Service {
    /// The stars, or nothing when ratings did not give any.
    async fn ratings(&self, id: u64, headers: &HeaderMap, timeout: Duration) -> Option<Ratings> {
        let path = format!("/ratings/{id}");
        let reply = self
            .client
            .get(&self.ratings, &path, forwarded(headers), timeout)
            .await
            .ok()?;
        reply
            .status
            .is_success()
            .then(|| serde_json::from_slice(&reply.body).ok())
            .flatten()
    }
}
