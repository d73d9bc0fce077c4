//! What an API server says.

use mesh_config::{Config, ConfigKey};

use super::{ObjectName, Slice};

/// One thing that an API server says about its cluster.
#[derive(Debug)]
pub enum KubeEvent {
    /// An object of [`super::KubeRegistry::KINDS`] is new or has changed.
    Set(Box<Config>),
    /// Such an object is gone.
    Gone(ConfigKey),
    /// An EndpointSlice is new or has changed.
    Slice(ObjectName, Box<Slice>),
    /// An EndpointSlice is gone.
    SliceGone(ObjectName),
    /// An object has changed and cannot be read: what it was before stays. `None` for an EndpointSlice.
    Rejected(Option<ConfigKey>, String),
    /// A cluster is followed from now on, or followed anew. What was known of it stays until everything was said again.
    Began,
    /// Every kind was asked for once, with or without an answer: there is no use in waiting any longer.
    Attempted,
    /// Everything that there was at first has been said.
    Synced,
    /// The cluster is no longer followed.
    ClusterGone,
}

/// What happened to an object, for those who count.
pub(crate) struct Happened {
    /// The kind, as Kubernetes calls it.
    pub(crate) kind: &'static str,
    /// The object is there after it.
    pub(crate) is_there: bool,
}

impl KubeEvent {
    /// What it says of an object; `None` when it is about none, or says nothing that is followed.
    pub(crate) fn happened(&self) -> Option<Happened> {
        let (kind, is_there) = match self {
            Self::Set(config) => (config.meta.key.kind.schema().kind, true),
            Self::Gone(key) => (key.kind.schema().kind, false),
            Self::Slice(..) => (super::SLICES, true),
            Self::SliceGone(_) => (super::SLICES, false),
            _ => return None,
        };
        Some(Happened { kind, is_there })
    }
}
