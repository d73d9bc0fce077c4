//! The real `galley` over its real protocol.

mod advice;
mod bad_input;
mod harness;
mod kube;
mod latency;
mod operation;
mod serving;
