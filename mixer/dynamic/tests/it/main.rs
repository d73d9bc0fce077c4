//! Tests of templates known by descriptors, and of adapters in processes of their own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod backend;
mod descriptors;
mod encoding;
mod fuzz;
mod oauth;
mod security;
mod sessions;
mod world;
