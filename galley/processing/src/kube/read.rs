//! One object of the API server to configuration.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mesh_config::{Config, ConfigError, ConfigKey, Kind};
use mesh_kube::ObjectName;
use mesh_kube::config::{DynamicObject, decode};

use super::status::Seen;
use crate::object::checked;

/// What became of an object: itself, or everything that is wrong with it.
pub(super) type Outcome = Result<Config, Vec<ConfigError>>;

/// An object as it was read.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) outcome: Outcome,
    /// What its status says, where that is ours to write.
    pub(super) seen: Option<Seen>,
}

/// Reads and checks an object.
///
/// A fault in our reading costs this object only: a configuration server must not be brought down by an object.
pub(super) fn read(kind: Kind, object: DynamicObject) -> Object {
    let seen = Seen::of(kind, &object);
    let outcome = outcome(kind, object);
    Object { outcome, seen }
}

fn outcome(kind: Kind, object: DynamicObject) -> Outcome {
    let key = key(
        kind,
        object.metadata.namespace.as_deref(),
        object.metadata.name.as_deref(),
    );
    catch_unwind(AssertUnwindSafe(|| {
        let config = decode(kind, object).map_err(|error| vec![error])?;
        checked(config, |_| None)
    }))
    .unwrap_or_else(|_| {
        let reason = "cannot be read because of a defect of this program".to_owned();
        Err(vec![unreadable(&key, reason)])
    })
}

/// The error of an object of which no field can be named.
pub(super) fn unreadable(key: &ConfigKey, reason: String) -> ConfigError {
    ConfigError {
        location: None,
        object: key.to_string(),
        field: String::new(),
        reason,
    }
}

/// The key of an object that a watch names.
pub(super) fn named(kind: Kind, name: &ObjectName) -> ConfigKey {
    ConfigKey::new(kind, &*name.namespace, &*name.name)
}

fn key(kind: Kind, namespace: Option<&str>, name: Option<&str>) -> ConfigKey {
    ConfigKey::new(kind, namespace.unwrap_or_default(), name.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn gateway(metadata: &Value, spec: &Value) -> Outcome {
        let object = json!({
            "apiVersion": "networking.istio.io/v1alpha3", "kind": "Gateway", "metadata": metadata, "spec": spec,
        });
        read(Kind::Gateway, serde_json::from_value(object).unwrap()).outcome
    }

    fn servers(port: u32) -> Value {
        json!({ "servers": [{ "hosts": ["*"], "port": { "number": port, "name": "http", "protocol": "HTTP" } }] })
    }

    #[test]
    fn g5_the_version_follows_what_the_user_says_and_nothing_else() {
        let metadata = |more: Value| {
            let mut metadata = json!({
                "name": "a", "namespace": "weather", "creationTimestamp": "2019-03-19T00:00:00Z",
            });
            metadata
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            metadata
        };
        let version = |metadata: &Value, port: u32| gateway(metadata, &servers(port)).unwrap().meta.version;
        let first = version(&metadata(json!({ "resourceVersion": "1", "uid": "x" })), 80);
        let same = metadata(json!({
            "resourceVersion": "2",
            "generation": 7,
            "managedFields": [{ "manager": "kubectl" }],
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}" },
        }));
        assert_eq!(version(&same, 80), first);
        assert_ne!(version(&metadata(json!({})), 81), first);
        assert_ne!(version(&metadata(json!({ "labels": { "a": "b" } })), 80), first);
    }

    #[test]
    fn g6_2_everything_that_is_wrong_is_told_with_its_object_and_field() {
        let metadata = json!({ "name": "a", "namespace": "weather" });
        let errors = gateway(&metadata, &servers(70_000)).unwrap_err();
        assert!(errors[0].field.contains("port"), "{errors:?}");
        assert_eq!(errors[0].object, "Gateway weather/a");
        let errors = gateway(&metadata, &json!({ "serverz": [] })).unwrap_err();
        assert_eq!((errors.len(), errors[0].field.as_str()), (1, "serverz"));
        let errors = gateway(&metadata, &json!({})).unwrap_err();
        assert_eq!(errors[0].object, "Gateway weather/a");
    }
}
