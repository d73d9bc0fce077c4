//! Tests of the running `mixs`.

mod commands;
mod harness;
mod serving;
