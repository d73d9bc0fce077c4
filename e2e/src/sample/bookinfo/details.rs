//! `details`: facts about a book.

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;

use super::Details;
use crate::sample::identity::Identity;
use crate::sample::server;

/// Flags of the role.
#[derive(Debug, Args)]
pub(in crate::sample) struct DetailsArgs {
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 9080)]
    pub(in crate::sample) port: u16,
}

// === impl DetailsArgs ===

impl DetailsArgs {
    pub(in crate::sample) fn router(self, identity: &Identity) -> Router {
        server::finish(Router::new().route("/details/{id}", get(details)), identity)
    }
}

async fn details(Path(id): Path<u64>) -> Json<Details> {
    Json(Details {
        id,
        author: "William Shakespeare".to_owned(),
        year: 1595,
        binding: "paperback".to_owned(),
        pages: 200,
        publisher: "PublisherA".to_owned(),
        language: "English".to_owned(),
        isbn_10: "1234567890".to_owned(),
        isbn_13: "123-1234567890".to_owned(),
    })
}
