//! Proxies as Pilot sees them: clients that ask for everything in Envoy's order and hold nothing of what they get.

mod client;
mod fleet;
mod session;
mod wire;

pub(crate) use fleet::{Fleet, Milestone, Sent};
pub use wire::Protocol;
pub(crate) use wire::XdsType;
