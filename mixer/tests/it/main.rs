//! Tests of the running `mixs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod baseline;
mod commands;
mod defaults;
mod examples;
mod fluentd;
mod harness;
mod kubernetesenv;
mod logs;
mod policies;
mod serving;
mod startup;
mod stores;
mod zipkin;
