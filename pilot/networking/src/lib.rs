//! From views to Envoy messages: clusters, endpoints, listeners, routes.
//!
//! Every type has two halves. A *plan* reads a [`pilot_model::ScopedView`] and decides which resources a proxy gets; its
//! result is a list of keys. A *build* makes one message from one key and sees nothing else ([`Generate::build`] has no
//! other argument), so that equal keys are equal bytes: what two proxies share is found by comparing keys, nothing ever
//! has to be invalidated, and an input that was forgotten does not compile.
//!
//! Pure: the only inputs are views, keys and the endpoint index.

mod authentication;
pub mod cluster;
mod destination;
mod egress;
pub mod endpoint;
mod envoy;
mod envoy_filter;
mod features;
mod filter;
#[cfg(test)]
mod fixture;
mod gateway;
mod generate;
mod instance;
mod l4;
pub mod listener;
pub mod name;
mod origin;
mod ports;
pub mod route;
mod service;
#[cfg(feature = "simulate")]
pub mod simulate;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod vantage;

pub use features::{Features, TraceSampling};
pub use filter::replaces_access_log_format;
pub use generate::{Built, Generate, Plan, XdsType};
pub use origin::Origin;
pub use tls::client::{ClientTls, client_tls};
pub use vantage::Vantage;
