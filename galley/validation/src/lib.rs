//! The validation webhook without its server (spec 04 G8): a request of the API server in, an answer out.
//!
//! ```text
//! HTTP request ─Webhook::answer─> Answer { status, body, outcome }
//!                    └ review::Request ─pilot or mixer─> Verdict ─> review::Response
//! ```
//!
//! Pure: sockets, certificates and metrics are those of the server. [`Outcome`] is what it counts.

mod answer;
mod mixer;
mod object;
mod outcome;
mod pilot;
mod review;
mod service;
mod verdict;
mod warnings;

pub use answer::{Answer, MAX_BODY_BYTES, Webhook};
pub use outcome::{Outcome, Reason, Resource};
pub use warnings::{NoWarnings, Warnings};
