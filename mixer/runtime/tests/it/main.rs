//! Tests of the engine with an adapter that does what its parameters say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adapter;
mod configuration;
mod dispatching;
mod explaining;
mod fuzz;
mod handlers;
mod logs;
mod references;
mod remembered;
mod remote;
mod world;
