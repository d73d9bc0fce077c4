//! The contracts of the mesh: generated messages of Istio, Kubernetes and Envoy, their descriptors, and the few wire
//! types that are written by hand.
//!
//! No logic lives here. Messages keep maps ordered and bytes shared, so that equal content encodes to equal bytes.

mod any;
mod descriptors;
mod discovery;
pub mod json;
pub mod type_url;

pub use any::Any;
pub use descriptors::{comment, descriptors};
pub use discovery::{DeltaDiscoveryResponse, DiscoveryResponse, Framed};

#[allow(
    clippy::all,
    clippy::large_futures,
    clippy::needless_pass_by_value,
    elided_lifetimes_in_paths,
    missing_docs,
    rustdoc::all,
    unreachable_pub,
    unused_qualifications
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

pub use generated::*;
