//! Objects from the API server of Kubernetes (G6.2).
//!
//! - Every kind is followed by a watch of its own ([`mesh_kube::Watch`]); what happens to all of them comes in one order.
//! - Objects are read and checked as those in files are, and have the digest of their content as version: a new status, a
//!   restart of Galley or another API server with the same objects changes nothing.
//! - An object that cannot be read or breaks a rule is reported, and what it was before stays in force. Nothing is known of
//!   what it was before Galley started.
//! - What is wrong with an object of Istio's kinds stands in its status too ([`StatusReporter`]).
//! - A kind that is not served or that we may not read has no objects. When its definition goes, so do its objects.
//! - While the API server does not answer everything stays as it was; nothing is served before it answered for every kind.

mod read;
mod reporter;
mod source;
mod status;
mod tally;

pub use reporter::StatusReporter;
pub use source::{KubeSource, KubeSourceHandle, WatchRow};

use mesh_config::Kind;

/// Kinds that are not followed unless somebody asks for them (G6.2): nobody subscribes to them at Galley, and there are many.
pub const EXCLUDED_BY_DEFAULT: [Kind; 4] = [Kind::Service, Kind::Node, Kind::Pod, Kind::Endpoints];
