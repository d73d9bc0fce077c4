//! `mixgen` as authors run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod call;
mod guide;
mod projects;
mod resources;
mod support;
