//! Behaviour of streams.
