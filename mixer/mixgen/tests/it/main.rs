//! `mixgen` as authors run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod author;
mod call;
mod projects;
mod resources;
mod support;
