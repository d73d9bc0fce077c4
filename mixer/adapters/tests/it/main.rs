//! The adapters, by their contract. These tests need all features.

mod bypass;
mod denier;
mod listchecker;
mod memquota;
mod noop;
mod rbac;
mod support;
