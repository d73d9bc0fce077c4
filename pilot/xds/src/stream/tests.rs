//! Behaviour of streams.

mod client;
mod delta;
mod mesh;
mod ordering;
mod random;
mod server;
mod sotw;
