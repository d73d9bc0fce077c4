//! A container's environment and the variables in its command (pure).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};

use crate::mesh::objects::Key;

/// What variables may refer to.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) pod: &'a Pod,
    pub(super) address: Ipv4Addr,
    pub(super) hostname: &'a str,
    pub(super) node_address: Ipv4Addr,
    pub(super) node_name: &'a str,
    pub(super) config_maps: &'a BTreeMap<Key, ConfigMap>,
    pub(super) secrets: &'a BTreeMap<Key, Secret>,
}

/// Variables in the order in which they are defined; a later one with the same name replaces an earlier one.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment(Vec<(String, String)>);

/// Builds the environment of `container` over that of its image.
pub(super) fn environment(
    container: &Container,
    image: &BTreeMap<String, String>,
    sources: Sources<'_>,
) -> Result<Environment, String> {
    let mut environment = Environment::default();
    environment.set("PATH", crate::mesh::helper::PATH);
    environment.set("HOME", "/root");
    environment.set("HOSTNAME", sources.hostname);
    for (name, value) in image {
        environment.set(name, value);
    }
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let data = if let Some(reference) = &from.config_map_ref {
            let optional = reference.optional.unwrap_or_default();
            sources
                .config_map(&reference.name, optional)?
                .map(config_map_texts)
        } else if let Some(reference) = &from.secret_ref {
            let optional = reference.optional.unwrap_or_default();
            sources.secret(&reference.name, optional)?.map(secret_texts)
        } else {
            None
        };
        for (name, value) in data.into_iter().flatten() {
            environment.set(&format!("{prefix}{name}"), &value);
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(text), _) => Some(environment.expand(text)),
            (None, Some(source)) => sources
                .value(source)
                .map_err(|reason| format!("env {}: {reason}", variable.name))?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            environment.set(&variable.name, &value);
        }
    }
    Ok(environment)
}

// === impl Environment ===

impl Environment {
    fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    /// Replaces `$(NAME)` of known variables; `$$(NAME)` is the text `$(NAME)`, unknown names stay as they are.
    pub(super) fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$$") {
                out.push('$');
                rest = after;
                continue;
            }
            let name = rest
                .strip_prefix("$(")
                .and_then(|inner| Some(&inner[..inner.find(')')?]));
            match name {
                Some(name) => {
                    let whole = &rest[..name.len() + 3];
                    out.push_str(self.get(name).unwrap_or(whole));
                    rest = &rest[whole.len()..];
                }
                None => {
                    out.push('$');
                    rest = &rest[1..];
                }
            }
        }
        out.push_str(rest);
        out
    }
}

// === impl Sources ===

impl<'a> Sources<'a> {
    fn key(&self, name: &str) -> Key {
        (
            self.pod.metadata.namespace.clone().unwrap_or_default(),
            name.to_owned(),
        )
    }

    /// A ConfigMap of the pod's namespace; missing ones are an error unless optional.
    pub(super) fn config_map(&self, name: &str, optional: bool) -> Result<Option<&'a ConfigMap>, String> {
        match self.config_maps.get(&self.key(name)) {
            None if !optional => Err(format!("ConfigMap {name} does not exist")),
            found => Ok(found),
        }
    }

    /// A Secret of the pod's namespace; missing ones are an error unless optional.
    pub(super) fn secret(&self, name: &str, optional: bool) -> Result<Option<&'a Secret>, String> {
        match self.secrets.get(&self.key(name)) {
            None if !optional => Err(format!("Secret {name} does not exist")),
            found => Ok(found),
        }
    }

    fn value(&self, source: &EnvVarSource) -> Result<Option<String>, String> {
        if let Some(field) = &source.field_ref {
            return self.field(&field.field_path).map(Some);
        }
        let missing = |kind: &str, name: &str, key: &str| Err(format!("{kind} {name} has no key {key}"));
        if let Some(reference) = &source.config_map_key_ref {
            let optional = reference.optional.unwrap_or_default();
            let map = self.config_map(&reference.name, optional)?;
            return match map.and_then(|map| map.data.as_ref()?.get(&reference.key)) {
                None if !optional => missing("ConfigMap", &reference.name, &reference.key),
                found => Ok(found.cloned()),
            };
        }
        if let Some(reference) = &source.secret_key_ref {
            let optional = reference.optional.unwrap_or_default();
            let secret = self.secret(&reference.name, optional)?;
            let found = secret.and_then(|secret| secret_texts(secret).remove(&reference.key));
            return match found {
                None if !optional => missing("Secret", &reference.name, &reference.key),
                found => Ok(found),
            };
        }
        if let Some(resource) = &source.resource_field_ref {
            // There are no limits on this machine, and 0 is how Kubernetes writes that.
            return match resource.resource.split_once('.') {
                Some(("limits" | "requests", _)) => Ok(Some("0".to_owned())),
                _ => Err(format!("resource {} is unknown", resource.resource)),
            };
        }
        Err("valueFrom names no source that is supported".to_owned())
    }

    /// A field of the pod, as the downward API names it.
    pub(super) fn field(&self, path: &str) -> Result<String, String> {
        let metadata = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        if let Some((field, key)) = subscript(path) {
            let map = match field {
                "metadata.labels" => &metadata.labels,
                "metadata.annotations" => &metadata.annotations,
                _ => return Err(format!("field {path} is unknown")),
            };
            return Ok(map
                .as_ref()
                .and_then(|map| map.get(key))
                .cloned()
                .unwrap_or_default());
        }
        Ok(match path {
            "metadata.name" => text(&metadata.name),
            "metadata.namespace" => text(&metadata.namespace),
            "metadata.uid" => text(&metadata.uid),
            "metadata.labels" => lines(metadata.labels.as_ref()),
            "metadata.annotations" => lines(metadata.annotations.as_ref()),
            "spec.nodeName" => self.node_name.to_owned(),
            "spec.serviceAccountName" => {
                let name = spec.and_then(|spec| spec.service_account_name.clone());
                name.filter(|name| !name.is_empty())
                    .unwrap_or_else(|| "default".to_owned())
            }
            "status.podIP" | "status.podIPs" => self.address.to_string(),
            "status.hostIP" | "status.hostIPs" => self.node_address.to_string(),
            _ => return Err(format!("field {path} is unknown")),
        })
    }
}

/// `metadata.labels['app']` as field and key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, rest) = path.split_once("['")?;
    Some((field, rest.strip_suffix("']")?))
}

/// Labels the way a downward API file lists them.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={v:?}"))
        .collect();
    lines.join("\n")
}

fn config_map_texts(map: &ConfigMap) -> BTreeMap<String, String> {
    map.data.clone().unwrap_or_default()
}

fn secret_texts(secret: &Secret) -> BTreeMap<String, String> {
    let bytes = secret.data.iter().flatten();
    let mut texts: BTreeMap<String, String> = bytes
        .map(|(key, ByteString(value))| (key.clone(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    texts.extend(secret.string_data.clone().unwrap_or_default());
    texts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(container: serde_json::Value) -> Result<BTreeMap<String, String>, String> {
        let container: Container = serde_json::from_value(container).unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a-0", "namespace": "weather", "labels": {"app": "a"}},
            "spec": {"containers": []}
        }))
        .unwrap();
        let map: ConfigMap = serde_json::from_value(json!({"data": {"city": "Bern"}})).unwrap();
        let secret: Secret =
            serde_json::from_value(json!({"data": {"pin": "MTIz"}, "stringData": {"word": "x"}})).unwrap();
        let key = |name: &str| ("weather".to_owned(), name.to_owned());
        let sources = Sources {
            pod: &pod,
            address: Ipv4Addr::new(10, 44, 0, 9),
            hostname: "a-0",
            node_address: Ipv4Addr::new(10, 44, 0, 1),
            node_name: "node-1",
            config_maps: &BTreeMap::from([(key("m"), map)]),
            secrets: &BTreeMap::from([(key("s"), secret)]),
        };
        let image = BTreeMap::from([("VERSION".to_owned(), "image".to_owned())]);
        environment(&container, &image, sources).map(|env| env.into_pairs().into_iter().collect())
    }

    #[test]
    fn values_come_from_text_fields_maps_and_secrets() {
        let env = run(json!({"name": "a", "env": [
            {"name": "VERSION", "value": "own"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "ACCOUNT", "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}},
            {"name": "CITY", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "city"}}},
            {"name": "PIN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pin"}}},
            {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "t", "key": "pin", "optional": true}}},
            {"name": "URL", "value": "http://$(IP):$(PORT)/$$(IP)"}
        ], "envFrom": [{"prefix": "S_", "secretRef": {"name": "s"}}]}))
        .unwrap();
        for (name, want) in [
            ("VERSION", "own"),
            ("IP", "10.44.0.9"),
            ("APP", "a"),
            ("ACCOUNT", "default"),
            ("CITY", "Bern"),
            ("PIN", "123"),
            ("S_word", "x"),
            ("URL", "http://10.44.0.9:$(PORT)/$(IP)"),
            ("HOSTNAME", "a-0"),
        ] {
            assert_eq!(env[name], want, "{name}");
        }
        assert!(!env.contains_key("NONE"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let from = |source: serde_json::Value| {
            run(json!({"name": "a", "env": [{"name": "X", "valueFrom": source}]}))
        };
        for (source, want) in [
            (
                json!({"configMapKeyRef": {"name": "n", "key": "k"}}),
                "env X: ConfigMap n does not exist",
            ),
            (
                json!({"configMapKeyRef": {"name": "m", "key": "k"}}),
                "env X: ConfigMap m has no key k",
            ),
            (
                json!({"fieldRef": {"fieldPath": "spec.nothing"}}),
                "env X: field spec.nothing is unknown",
            ),
        ] {
            assert_eq!(from(source).unwrap_err(), want);
        }
    }

    #[test]
    fn dollars_that_are_no_variables_stay() {
        let env = Environment(vec![("A".to_owned(), "1".to_owned())]);
        for (text, want) in [
            ("$A $(A", "$A $(A"),
            ("$", "$"),
            ("$$", "$"),
            ("$(B)$(A)", "$(B)1"),
        ] {
            assert_eq!(env.expand(text), want);
        }
    }
}
