//! The kinds of configuration, as the API server has them.

use kube::Api;
use kube::Client;
use kube::api::ApiResource;
pub use kube::api::DynamicObject;
use kube::discovery;
use mesh_config::{Config, ConfigError, ConfigKey, Kind, Scope};
use serde_json::Value;

use crate::{Watch, WatchOptions, strip};

/// What the API server calls a kind.
#[must_use]
pub fn resource(kind: Kind) -> ApiResource {
    let schema = kind.schema();
    let api_version = if schema.group.is_empty() {
        schema.version.to_owned()
    } else {
        format!("{}/{}", schema.group, schema.version)
    };
    ApiResource {
        group: schema.group.to_owned(),
        version: schema.version.to_owned(),
        api_version,
        kind: schema.kind.to_owned(),
        plural: schema.plural.to_owned(),
    }
}

/// The objects of a kind, of one namespace or of all.
#[must_use]
pub fn api(client: Client, kind: Kind, namespace: Option<&str>) -> Api<DynamicObject> {
    let scope = match kind.schema().scope {
        Scope::Namespace => discovery::Scope::Namespaced,
        Scope::Cluster => discovery::Scope::Cluster,
    };
    Api::dynamic(client, &resource(kind), &scope).constrain(namespace.unwrap_or_default())
}

/// Follows a kind of configuration in one namespace or in all. Objects are decoded strictly (`P5.2`): what has an unknown
/// field is rejected.
#[must_use]
pub fn watch(client: Client, kind: Kind, namespace: Option<&str>, options: WatchOptions) -> Watch<Config> {
    watch_as(client, kind, namespace, options, move |object| {
        decode(kind, object).map_err(|error| error.to_string())
    })
}

/// As [`watch`], for those who make something else of the objects; the reason where that cannot be.
#[must_use]
pub fn watch_as<T: Send + 'static>(
    client: Client,
    kind: Kind,
    namespace: Option<&str>,
    options: WatchOptions,
    read: impl Fn(DynamicObject) -> Result<T, String> + Clone + Send + 'static,
) -> Watch<T> {
    let schema = kind.schema();
    let name = format!("{}.{}", schema.plural, schema.group);
    let name = name.trim_end_matches('.').to_owned();
    Watch::decoding(name, api(client, kind, namespace), options, read)
}

/// Reads an object of a kind that the API server delivered.
///
/// # Errors
/// Which field is wrong, and why.
pub fn decode(kind: Kind, mut object: DynamicObject) -> Result<Config, ConfigError> {
    strip(&mut object.metadata);
    let metadata = &object.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let key = ConfigKey::new(kind, namespace, metadata.name.as_deref().unwrap_or_default());
    let named = |field: String, reason: String| ConfigError {
        location: None,
        object: key.to_string(),
        field,
        reason,
    };
    let value: Value =
        serde_json::to_value(object).map_err(|error| named(String::new(), error.to_string()))?;
    // Inside lists the objects do not say what they are.
    mesh_config::decode::from_json(Some(kind), &value).map_err(|error| named(error.field, error.reason))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn g4_every_kind_has_a_place_in_the_api() {
        for &kind in Kind::ALL {
            let resource = resource(kind);
            assert_eq!(resource.plural, resource.plural.to_lowercase());
            assert!(
                resource.api_version == "v1" || resource.api_version.contains('/'),
                "{}",
                resource.api_version
            );
        }
    }

    #[test]
    fn p5_2_an_unknown_field_is_an_error() {
        let rule = |spec: Value| {
            decode(
                Kind::VirtualService,
                object(json!({
                    "metadata": { "name": "weather", "namespace": "default", "managedFields": [{}] }, "spec": spec,
                })),
            )
        };
        let config = rule(json!({ "hosts": ["weather"] })).unwrap();
        assert_eq!(config.meta.key.to_string(), "VirtualService default/weather");
        let error = rule(json!({ "hostz": ["weather"] })).unwrap_err();
        assert_eq!(error.object, "VirtualService default/weather");
        assert!(error.to_string().contains("hostz"), "{error}");
    }
}
