//! Bookinfo: a page about a book, from four services.
//!
//! ```text
//! productpage ──> details                GET /details/{id}
//!             ├─> reviews                GET /reviews/{id}
//!             │     └─(v2, v3)─> ratings     GET /ratings/{id}
//!             └─> ratings                only for /api/v1/products/{id}/ratings
//! ```
//! Paths, fields and time limits are those of Istio's sample, which its documentation leans on.

mod details;
mod page;
mod productpage;
mod ratings;
mod reviews;
#[cfg(test)]
mod tests;

pub(super) use details::DetailsArgs;
pub(super) use productpage::ProductpageArgs;
pub(super) use ratings::RatingsArgs;
pub(super) use reviews::ReviewsArgs;

use serde::{Deserialize, Serialize};

/// What `details` answers.
#[derive(Debug, Serialize, Deserialize)]
struct Details {
    id: u64,
    author: String,
    year: u16,
    #[serde(rename = "type")]
    binding: String,
    pages: u16,
    publisher: String,
    language: String,
    #[serde(rename = "ISBN-10")]
    isbn_10: String,
    #[serde(rename = "ISBN-13")]
    isbn_13: String,
}

/// What `reviews` answers.
#[derive(Debug, Serialize, Deserialize)]
struct Reviews {
    id: String,
    podname: String,
    #[serde(default)]
    version: String,
    reviews: Vec<Review>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Review {
    reviewer: String,
    text: String,
    /// Absent in version v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rating: Option<Rating>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Rating {
    Stars { stars: u8, color: String },
    Unavailable { error: String },
}

/// What `ratings` answers: stars by reviewer.
#[derive(Debug, Serialize, Deserialize)]
struct Ratings {
    id: u64,
    ratings: std::collections::BTreeMap<String, u8>,
}
