//! The adapters, by their contract. These tests need all features.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bypass;
mod denier;
mod kubernetesenv;
mod listchecker;
mod memquota;
mod noop;
mod opa;
mod rbac;
mod redisquota;
mod support;
