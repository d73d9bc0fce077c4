//! The two halves of every resource type: plan and build.

use std::fmt;
use std::hash::Hash;

use mesh_api::type_url;
use pilot_model::Warning;

use crate::Origin;

/// The resource types, in the order in which they are pushed (P8.3): a route must not arrive before its clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum XdsType {
    /// Clusters.
    Cluster,
    /// Endpoints of clusters.
    Endpoint,
    /// Listeners.
    Listener,
    /// Route configurations.
    Route,
}

/// Makes resources of one type from keys.
pub trait Generate {
    /// Everything that the resource depends on. Equal keys are the same resource.
    type Key: Clone + fmt::Debug + Eq + Hash + Send + Sync + 'static;
    /// The Envoy message.
    type Message: prost::Message + prost::Name + Default;

    /// The name of the resource, unique among those of its type that a proxy gets.
    fn name(key: &Self::Key) -> &str;

    /// Makes the message. The key is the only input.
    fn build(key: &Self::Key) -> Built<Self::Message>;

    /// What the resource was made because of, in any order. Mesh-wide configuration is not mentioned.
    fn origins(key: &Self::Key) -> Vec<Origin>;
}

/// A message and what went wrong while making it.
#[derive(Clone, Debug, Default)]
pub struct Built<M> {
    /// The message, with the documented fallback wherever a warning says so.
    pub message: M,
    /// Findings for operators.
    pub warnings: Vec<Warning>,
}

/// Which resources a proxy gets, and what was left out.
#[derive(Clone, Debug)]
pub struct Plan<K> {
    /// The keys, sorted by the name of their resource; names are unique.
    pub keys: Vec<K>,
    /// Conflicts and fallbacks found on the way.
    pub warnings: Vec<Warning>,
}

// === impl XdsType ===

impl XdsType {
    /// All types in push order.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route];

    /// The type URL on the wire.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => type_url::CLUSTER,
            Self::Endpoint => type_url::ENDPOINT,
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE,
        }
    }

    /// The type of a type URL.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|xds_type| xds_type.type_url() == url)
    }

    /// The short name that metrics and debug pages use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cds",
            Self::Endpoint => "eds",
            Self::Listener => "lds",
            Self::Route => "rds",
        }
    }
}

impl fmt::Display for XdsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Plan ===

impl<K> Default for Plan<K> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

impl<M> From<M> for Built<M> {
    fn from(message: M) -> Self {
        Self {
            message,
            warnings: Vec::new(),
        }
    }
}
