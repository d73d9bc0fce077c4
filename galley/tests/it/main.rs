//! The real `galley` over its real protocol.

mod advice;
mod bad_input;
mod foreign;
mod harness;
mod hostile;
mod kube;
mod latency;
mod operation;
mod secured;
mod serving;
mod validation;
