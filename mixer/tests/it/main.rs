//! Tests of the running `mixs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod commands;
mod harness;
mod serving;
