//! `ratings`: stars of a book.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;

use super::Ratings;
use crate::sample::identity::Identity;
use crate::sample::server;

/// Flags of the role.
#[derive(Debug, Args)]
pub(in crate::sample) struct RatingsArgs {
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 9080)]
    pub(in crate::sample) port: u16,
}

/// Stars that were posted, by book.
type Posted = Arc<Mutex<BTreeMap<u64, BTreeMap<String, u8>>>>;

/// Books with posted stars; the pod keeps no more.
const MAX_BOOKS: usize = 1000;

// === impl RatingsArgs ===

impl RatingsArgs {
    pub(in crate::sample) fn router(self, identity: &Identity) -> Router {
        let routes = Router::new()
            .route("/ratings/{id}", get(show).post(rate))
            .with_state(Posted::default());
        server::finish(routes, identity)
    }
}

async fn show(State(posted): State<Posted>, Path(id): Path<u64>) -> Json<Ratings> {
    let ratings = lock(&posted).get(&id).cloned();
    let ratings =
        ratings.unwrap_or_else(|| [("Reviewer1".to_owned(), 5), ("Reviewer2".to_owned(), 4)].into());
    Json(Ratings { id, ratings })
}

async fn rate(
    State(posted): State<Posted>,
    Path(id): Path<u64>,
    Json(ratings): Json<BTreeMap<String, u8>>,
) -> Json<Ratings> {
    let ratings: BTreeMap<_, _> = ratings
        .into_iter()
        .map(|(reviewer, stars)| (reviewer, stars.min(5)))
        .collect();
    let mut posted = lock(&posted);
    if posted.len() >= MAX_BOOKS {
        posted.clear();
    }
    posted.insert(id, ratings.clone());
    Json(Ratings { id, ratings })
}

fn lock(posted: &Posted) -> MutexGuard<'_, BTreeMap<u64, BTreeMap<String, u8>>> {
    posted.lock().unwrap_or_else(PoisonError::into_inner)
}
