//! What Mixer says to an adapter, over real connections.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod garbage;
mod parameters;
mod process;
mod sessions;
mod world;
