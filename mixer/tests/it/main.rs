//! Tests of the running `mixs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod baseline;
mod commands;
mod defaults;
mod envoy;
mod examples;
mod explain;
mod flags;
mod fluentd;
mod fuzz;
mod harness;
mod kubernetesenv;
mod logs;
mod metrics;
mod opa;
mod policies;
mod remembered;
mod serving;
mod spans;
mod startup;
mod stores;
mod storm;
mod zipkin;
