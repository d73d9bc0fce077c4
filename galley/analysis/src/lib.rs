//! What is legal but surely a mistake (spec 09 §11): one object against all that is known.
//!
//! ```text
//! watches ─apply, remove, synced─> Known ─warnings(object)─> "http[0].route[0].destination.subset: …"
//! ```
//!
//! A warning is worth something as long as none is wrong. So what is said to be missing was looked for among objects
//! that are all known ([`Known::synced`]), and whatever somebody may have meant gets no warning.
//!
//! Pure: who follows the objects feeds them in.

mod destination_rule;
mod facts;
mod gateway;
mod known;
mod mixer;
mod references;
mod security;
mod service;
mod service_entry;
mod sidecar;
mod superset;
mod virtual_service;
mod warnings;

use mesh_config::Kind;

pub use known::Known;
pub use warnings::{MAX_WARNING_BYTES, MAX_WARNINGS};

/// The kinds that are worth following for the sake of warnings. Of Pods and Namespaces only names and labels are read.
pub const KINDS: &[Kind] = &[
    Kind::DestinationRule,
    Kind::Gateway,
    Kind::ServiceEntry,
    Kind::Sidecar,
    Kind::VirtualService,
    Kind::MeshPolicy,
    Kind::Policy,
    Kind::ServiceRole,
    Kind::Handler,
    Kind::Instance,
    Kind::Service,
    Kind::Namespace,
    Kind::Pod,
];
