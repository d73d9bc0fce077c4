//! The clients and Envoy, against the real other side.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]
#![allow(
    clippy::disallowed_methods,
    reason = "the tasks of a test end with its runtime"
)]

mod ads;
mod envoy;
#[cfg(feature = "kube")]
mod kube;
