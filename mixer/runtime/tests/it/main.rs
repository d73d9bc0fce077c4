//! Tests of the engine with an adapter that does what its parameters say.

mod adapter;
mod configuration;
mod dispatching;
mod handlers;
mod world;
