//! What a source says.

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::{Config, ConfigError, ConfigKey, Kind, Str};

/// One message of a source. Sources send them in batches, and what is in one batch is published together.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An object is new or has changed.
    Upsert(Config),
    /// An object is gone.
    Delete(ConfigKey),
    /// All problems that there are now.
    Problems(Vec<Problem>),
    /// What the mesh configuration says, or why it cannot be read; then the former one stays.
    Mesh(Result<Box<MeshConfig>, Problem>),
    /// Everything that was there at the start has been told; nothing is served before (T18).
    FullSync,
}

/// Why something is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind of the object, as far as it is known.
    pub kind: Option<Kind>,
    /// The namespace of the object, as far as it is known; empty for one that has none.
    pub namespace: Option<Str>,
    /// Everything that is wrong with it; at least one.
    pub errors: Vec<ConfigError>,
}
