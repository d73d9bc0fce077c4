//! The Kubernetes objects that the mesh itself acts on, by name. Everything else is Galley's.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Namespace and name.
pub(crate) type Key = (String, String);

/// What identifies an object among all kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    /// API group, without the version.
    pub(crate) group: String,
    pub(crate) kind: String,
    /// Empty for objects without a namespace.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// All objects of the mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Objects {
    pub(crate) namespaces: BTreeMap<String, Namespace>,
    pub(crate) services: BTreeMap<Key, Service>,
    pub(crate) endpoints: BTreeMap<Key, Endpoints>,
    pub(crate) deployments: BTreeMap<Key, Deployment>,
    pub(crate) pods: BTreeMap<Key, Pod>,
    pub(crate) config_maps: BTreeMap<Key, ConfigMap>,
    pub(crate) secrets: BTreeMap<Key, Secret>,
    pub(crate) service_accounts: BTreeMap<Key, ServiceAccount>,
}

/// Why an object was left out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ObjectError {
    #[error("{0}: {1}")]
    Shape(ObjectKey, String),
    #[error("{0}: defined twice; the first definition counts")]
    Duplicate(ObjectKey),
    #[error("{0}: metadata.name is missing")]
    Nameless(String),
}

// === impl ObjectKey ===

impl ObjectKey {
    /// Reads kind and name of any object; `None` when it has no kind or no name.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
        let api_version = text(value, "apiVersion").unwrap_or_default();
        let group = api_version
            .rsplit_once('/')
            .map_or("", |(group, _)| group)
            .to_owned();
        let kind = text(value, "kind")?;
        let metadata = value.get("metadata")?;
        let namespace = if kind == "Namespace" && group.is_empty() {
            String::new()
        } else {
            text(metadata, "namespace")
                .filter(|n| !n.is_empty())
                .unwrap_or_else(|| "default".to_owned())
        };
        Some(Self {
            group,
            kind,
            namespace,
            name: text(metadata, "name").filter(|n| !n.is_empty())?,
        })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            namespace,
            name,
            ..
        } = self;
        match namespace.as_str() {
            "" => write!(f, "{kind} {name}"),
            _ => write!(f, "{kind} {namespace}/{name}"),
        }
    }
}

/// Kinds of the mesh's own, by group. Deployments of 1.1's time have other groups than today's.
fn is_ours(group: &str, kind: &str) -> bool {
    match group {
        "" => matches!(
            kind,
            "Namespace" | "Service" | "Endpoints" | "Pod" | "ConfigMap" | "Secret" | "ServiceAccount"
        ),
        "apps" | "extensions" => kind == "Deployment",
        _ => false,
    }
}

/// Whether a document without a readable name is of a kind of ours.
pub(crate) fn kind_is_ours(value: &Value) -> bool {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let group = text("apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    is_ours(group, text("kind"))
}

// === impl Objects ===

impl Objects {
    /// Adds an object of a kind of ours.
    pub(crate) fn insert(&mut self, value: &Value) -> Result<(), ObjectError> {
        let Some(key) = ObjectKey::of(value) else {
            let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
            return Err(ObjectError::Nameless(kind.to_owned()));
        };
        let place = (key.namespace.clone(), key.name.clone());
        match key.kind.as_str() {
            "Namespace" => insert(&mut self.namespaces, key.name.clone(), read(value, &key)?, key),
            "Service" => insert(&mut self.services, place, read(value, &key)?, key),
            "Endpoints" => insert(&mut self.endpoints, place, read(value, &key)?, key),
            "Deployment" => insert(&mut self.deployments, place, read_deployment(value, &key)?, key),
            "Pod" => insert(&mut self.pods, place, read(value, &key)?, key),
            "ConfigMap" => insert(&mut self.config_maps, place, read(value, &key)?, key),
            "Secret" => insert(&mut self.secrets, place, read(value, &key)?, key),
            "ServiceAccount" => insert(&mut self.service_accounts, place, read(value, &key)?, key),
            _ => Ok(()),
        }
    }

    /// Adds the namespaces that objects are in without anybody having declared them.
    pub(crate) fn complete_namespaces(&mut self) {
        let used = (self.services.keys())
            .chain(self.deployments.keys())
            .chain(self.pods.keys())
            .map(|(namespace, _)| namespace.clone())
            .chain(["default".to_owned()]);
        for name in used {
            self.namespaces.entry(name.clone()).or_insert_with(|| Namespace {
                metadata: ObjectMeta {
                    name: Some(name),
                    ..ObjectMeta::default()
                },
                ..Namespace::default()
            });
        }
    }
}

fn insert<K: Ord, T>(
    map: &mut BTreeMap<K, T>,
    place: K,
    object: T,
    key: ObjectKey,
) -> Result<(), ObjectError> {
    if map.contains_key(&place) {
        return Err(ObjectError::Duplicate(key));
    }
    map.insert(place, object);
    Ok(())
}

fn read<T: DeserializeOwned>(value: &Value, key: &ObjectKey) -> Result<T, ObjectError> {
    let mut value = value.clone();
    if !key.namespace.is_empty() {
        value["metadata"]["namespace"] = key.namespace.clone().into();
    }
    serde_json::from_value(value).map_err(|error| ObjectError::Shape(key.clone(), error.to_string()))
}

/// Reads deployments of all times as today's.
fn read_deployment(value: &Value, key: &ObjectKey) -> Result<Deployment, ObjectError> {
    let mut value = value.clone();
    value["apiVersion"] = "apps/v1".into();
    read(&value, key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_of_the_old_group_is_read_like_a_new_one() {
        let mut objects = Objects::default();
        objects
            .insert(&json!({
                "apiVersion": "extensions/v1beta1", "kind": "Deployment", "metadata": {"name": "a"},
                "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "a", "image": "a"}]}}}
            }))
            .unwrap();
        let deployment = &objects.deployments[&("default".to_owned(), "a".to_owned())];
        assert_eq!(deployment.spec.as_ref().unwrap().replicas, Some(2));
        objects.complete_namespaces();
        assert!(objects.namespaces.contains_key("default"));
    }

    #[test]
    fn errors_name_the_object_and_the_first_definition_stays() {
        let mut objects = Objects::default();
        let bad =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": 3}});
        let text = objects.insert(&bad).unwrap_err().to_string();
        assert!(text.starts_with("Service default/a: "), "{text}");
        let good = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}});
        objects.insert(&good).unwrap();
        let text = objects.insert(&good).unwrap_err().to_string();
        assert_eq!(
            text,
            "Service default/a: defined twice; the first definition counts"
        );
        let text = objects
            .insert(&json!({"apiVersion": "v1", "kind": "Pod"}))
            .unwrap_err()
            .to_string();
        assert_eq!(text, "Pod: metadata.name is missing");
    }

    #[test]
    fn istio_kinds_and_ingresses_are_galleys() {
        for (version, kind, ours) in [
            ("v1", "Service", true),
            ("apps/v1", "Deployment", true),
            ("networking.istio.io/v1alpha3", "Gateway", false),
            ("extensions/v1beta1", "Ingress", false),
            ("config.istio.io/v1alpha2", "Service", false),
        ] {
            let value = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}});
            assert_eq!(kind_is_ours(&value), ours, "{kind}");
        }
    }
}
