//! An object: what it is called and what it says.

use std::collections::BTreeMap;
use std::fmt;

use mesh_api::Any;
use prost::Name;
use sha2::{Digest as _, Sha256};

use crate::{Kind, Scope, Str};

/// Names one object among all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigKey {
    /// What kind of object.
    pub kind: Kind,
    /// Its namespace, empty for cluster-scoped kinds.
    pub namespace: Str,
    /// Its name.
    pub name: Str,
}

/// A point in time as protobuf has it; ordered, unlike the generated message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: i32,
}

/// What an object is called and when it appeared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Names the object.
    pub key: ConfigKey,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// When the object was created; decides between competing objects (`R-N-12`).
    pub created: Timestamp,
    /// Opaque version of the content, from the source.
    pub version: String,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name, labels, version.
    pub meta: Meta,
    /// Content: the message that [`crate::Schema::message`] names.
    pub body: Any,
}

// === impl ConfigKey ===

impl ConfigKey {
    /// A key.
    pub fn new(kind: Kind, namespace: impl Into<Str>, name: impl Into<Str>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The name of the object inside its MCP collection: `namespace/name`, or `name` for cluster scope.
    pub fn resource_name(&self) -> String {
        if self.namespace.is_empty() {
            self.name.to_string()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }

    /// Reads an MCP resource name. `None` when it does not fit the scope of the kind.
    pub fn from_resource_name(kind: Kind, resource_name: &str) -> Option<Self> {
        let (namespace, name) = resource_name.split_once('/').unwrap_or(("", resource_name));
        let fits = match kind.schema().scope {
            Scope::Namespace => !namespace.is_empty(),
            Scope::Cluster => namespace.is_empty(),
        };
        (fits && !name.is_empty() && !name.contains('/')).then(|| Self::new(kind, namespace, name))
    }

    /// The path of the object in the Kubernetes API, as 1.1 writes it into Envoy's `istio.config` metadata (P3.2).
    pub fn api_path(&self) -> String {
        let schema = self.kind.schema();
        let group = match schema.group {
            "" => "/api".to_owned(),
            group => format!("/apis/{group}"),
        };
        let kind = kebab(schema.kind);
        format!(
            "{group}/{}/namespaces/{}/{kind}/{}",
            schema.version, self.namespace, self.name
        )
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.resource_name())
    }
}

// === impl Timestamp ===

impl From<prost_types::Timestamp> for Timestamp {
    fn from(timestamp: prost_types::Timestamp) -> Self {
        Self {
            seconds: timestamp.seconds,
            nanos: timestamp.nanos,
        }
    }
}

impl From<Timestamp> for prost_types::Timestamp {
    fn from(timestamp: Timestamp) -> Self {
        Self {
            seconds: timestamp.seconds,
            nanos: timestamp.nanos,
        }
    }
}

// === impl Config ===

impl Config {
    /// The content as a typed message.
    ///
    /// # Errors
    ///
    /// When the content is another message or does not decode.
    pub fn decode<M: Name + Default>(&self) -> Result<M, prost::DecodeError> {
        self.body.unpack()
    }

    /// A version that is the same as long as the object says the same, whoever reads it from wherever.
    pub fn content_version(&self) -> String {
        let Self { meta, body } = self;
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            // The length keeps neighbours apart.
            hash.update(bytes.len().to_le_bytes());
            hash.update(bytes);
        };
        part(body.type_url.as_bytes());
        part(&body.value);
        for map in [&meta.labels, &meta.annotations] {
            part(&map.len().to_le_bytes());
            for (name, value) in map {
                part(name.as_bytes());
                part(value.as_bytes());
            }
        }
        part(&meta.created.seconds.to_le_bytes());
        part(&meta.created.nanos.to_le_bytes());
        let digest = hash.finalize();
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// `VirtualService` → `virtual-service`.
fn kebab(kind: &str) -> String {
    let mut kebab = String::with_capacity(kind.len() + 4);
    let mut previous_lower = false;
    for letter in kind.chars() {
        if letter.is_ascii_uppercase() && previous_lower {
            kebab.push('-');
        }
        previous_lower = letter.is_ascii_lowercase();
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_names_round_trip_within_the_scope_of_the_kind() {
        let key = ConfigKey::new(Kind::Gateway, "istio-system", "weather-gateway");
        assert_eq!(key.resource_name(), "istio-system/weather-gateway");
        assert_eq!(
            ConfigKey::from_resource_name(Kind::Gateway, &key.resource_name()),
            Some(key)
        );

        let mesh_wide = ConfigKey::new(Kind::MeshPolicy, "", "default");
        assert_eq!(
            ConfigKey::from_resource_name(Kind::MeshPolicy, "default"),
            Some(mesh_wide)
        );

        for (kind, name) in [
            (Kind::Gateway, "weather-gateway"),
            (Kind::Gateway, "a/b/c"),
            (Kind::Gateway, "a/"),
            (Kind::Node, "a/b"),
        ] {
            assert_eq!(ConfigKey::from_resource_name(kind, name), None, "{kind} {name}");
        }
    }

    #[test]
    fn p3_2_api_path_names_the_object_in_envoys_metadata() {
        let key = ConfigKey::new(Kind::VirtualService, "weather", "forecast-route");
        assert_eq!(
            key.api_path(),
            "/apis/networking.istio.io/v1alpha3/namespaces/weather/virtual-service/forecast-route"
        );
    }
}
