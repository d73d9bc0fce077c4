//! Shared test support: golden folders, the Envoy locator and validator, waiting for conditions.

pub mod provision;
