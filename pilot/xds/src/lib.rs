//! Serving Envoy: what is generated is encoded once, cached, and pushed to each stream when its bytes change.
//!
//! ```text
//! Published ─watch─> connection ─┬─ Generator: view → plan → keys → cache → ResourceSet (shared by equal scopes)
//!                                └─ StreamState (sans-IO): what the client holds, what it acknowledged, what is next
//! ```
//!
//! This package knows neither where configuration comes from nor how a message is made from it: it sees
//! [`pilot_model::Published`] on one side and [`pilot_networking::Generate`] on the other.

mod audit;
mod cache;
mod connection;
mod discovery;
mod generator;
mod memo;
mod messages;
mod metrics;
mod name_list;
mod names;
mod resource;
mod status;
pub mod stream;
mod throttle;
mod transport;
mod wire;

pub use audit::Divergence;
pub use discovery::{Discovery, DiscoveryOptions};
pub use generator::{Generator, ProxyContext};
pub use metrics::XdsMetrics;
pub use names::Names;
pub use resource::{Encoded, ResourceSet};
pub use status::{ClientStatus, TypeStatus};
pub use throttle::PushLimit;
pub use transport::AdsService;
