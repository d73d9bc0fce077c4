//! What every object has: `apiVersion`, `kind` and `metadata`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::wire::{Fault, expected, shortened};
use super::{scalar, suggest, time};
use crate::path::Path;
use crate::{ConfigKey, Kind, Meta, Scope, Timestamp};

/// Where objects of namespaced kinds live that name no namespace.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// Longest name in Kubernetes.
const MAX_NAME: usize = 253;

/// Versions that are read beside the one that is served, by group.
const OTHER_VERSIONS: &[(&str, &[&str])] = &[
    ("networking.istio.io", &["v1beta1", "v1"]),
    ("networking.k8s.io", &["v1beta1"]),
];

/// Groups that once held a kind of another group.
const FORMER_GROUPS: &[(&str, &str, &str)] = &[("extensions", "Ingress", "networking.k8s.io")];

/// The kinds of Kubernetes' two oldest groups, to tell a spelling error from a kind that is not ours.
const KUBERNETES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "Binding",
            "ComponentStatus",
            "ConfigMap",
            "Endpoints",
            "Event",
            "LimitRange",
            "List",
            "Namespace",
            "Node",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
            "Secret",
            "Service",
            "ServiceAccount",
        ],
    ),
    (
        "apps",
        &[
            "ControllerRevision",
            "DaemonSet",
            "Deployment",
            "ReplicaSet",
            "StatefulSet",
        ],
    ),
];

/// `apiVersion` and `kind`.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) api_version: String,
    pub(super) kind_name: String,
    /// `None` for kinds that are not ours.
    pub(super) kind: Option<Kind>,
}

impl Header {
    /// Reads the header; an object may leave it out when `hint` says what it is.
    pub(super) fn read(value: &Value, hint: Option<Kind>) -> Result<Self, Fault> {
        let root = Path::Root;
        let object = value
            .as_object()
            .ok_or_else(|| expected(&root, "an object", value))?;
        if let (Some(kind), None, None) = (hint, object.get("apiVersion"), object.get("kind")) {
            let schema = kind.schema();
            let api_version = format!("{}/{}", schema.group, schema.version);
            return Ok(Self {
                api_version,
                kind_name: schema.kind.to_owned(),
                kind: Some(kind),
            });
        }
        let text = |name: &'static str| match object.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.as_str()),
            None | Some(Value::Null | Value::String(_)) => Err(Fault::new(&root.field(name), "missing")),
            Some(other) => Err(expected(&root.field(name), "a string", other)),
        };
        let (api_version, kind_name) = (text("apiVersion")?, text("kind")?);
        let (group, version) = split(api_version);
        let group = FORMER_GROUPS
            .iter()
            .find(|(former, kind, _)| *former == group && *kind == kind_name)
            .map_or(group, |(.., now)| now);
        let kind = Kind::by_name(group, kind_name);
        match kind {
            None if is_ours(group) && !is_kubernetes(group, kind_name) => {
                return Err(unknown_kind(group, kind_name));
            }
            Some(kind) if !is_version(kind, version) => {
                return Err(Fault::new(
                    &root.field("apiVersion"),
                    unknown_version(kind, version),
                ));
            }
            _ => {}
        }
        Ok(Self {
            api_version: api_version.to_owned(),
            kind_name: kind_name.to_owned(),
            kind,
        })
    }

    /// The version without the group.
    pub(super) fn version(&self) -> &str {
        split(&self.api_version).1
    }

    /// Reads `metadata`. Fields that we have no use for are left out.
    pub(super) fn metadata(&self, kind: Kind, value: &Value) -> Result<Meta, Fault> {
        let root = Path::Root;
        let path = root.field("metadata");
        let metadata = match value.get("metadata") {
            None | Some(Value::Null) => return Err(Fault::new(&path.field("name"), "missing")),
            Some(Value::Object(metadata)) => metadata,
            Some(other) => return Err(expected(&path, "an object", other)),
        };
        let text = |name: &'static str| match metadata.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let text = scalar::string(value).map_err(|reason| Fault::new(&path.field(name), reason))?;
                Ok(Some(text).filter(|text| !text.is_empty()))
            }
        };
        let name = text("name")?.ok_or_else(|| Fault::new(&path.field("name"), "missing"))?;
        let namespace = match kind.schema().scope {
            Scope::Namespace => text("namespace")?.unwrap_or(DEFAULT_NAMESPACE),
            Scope::Cluster => "",
        };
        for (field, text) in [("name", name), ("namespace", namespace)] {
            if text.len() > MAX_NAME
                || text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
            {
                let reason = format!("{:?} is not a name", shortened(text));
                return Err(Fault::new(&path.field(field), reason));
            }
        }
        let created = match metadata.get("creationTimestamp") {
            None | Some(Value::Null) => Timestamp::default(),
            Some(value) => {
                let (seconds, nanos) = time::timestamp(value)
                    .map_err(|reason| Fault::new(&path.field("creationTimestamp"), reason))?;
                Timestamp { seconds, nanos }
            }
        };
        Ok(Meta {
            key: ConfigKey::new(kind, namespace, name),
            labels: strings(metadata, "labels", &path)?,
            annotations: strings(metadata, "annotations", &path)?,
            created,
            version: text("resourceVersion")?.unwrap_or_default().to_owned(),
        })
    }
}

/// Finds fields beside the ones that an Istio object has.
pub(super) fn only_known_fields(object: &Value) -> Result<(), Fault> {
    const KNOWN: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    for name in object.as_object().into_iter().flat_map(Map::keys) {
        if !KNOWN.contains(&name.as_str()) {
            return Err(Fault::new(
                &Path::Root.field(name),
                suggest::unknown("field", name, KNOWN),
            ));
        }
    }
    Ok(())
}

/// `metadata` as it is read.
pub(super) fn metadata_to_json(meta: &Meta) -> Map<String, Value> {
    let mut metadata = Map::new();
    let mut put = |name: &str, value: Value| metadata.insert(name.to_owned(), value);
    put("name", Value::String(meta.key.name.to_string()));
    if !meta.key.namespace.is_empty() {
        put("namespace", Value::String(meta.key.namespace.to_string()));
    }
    for (name, strings) in [("labels", &meta.labels), ("annotations", &meta.annotations)] {
        if !strings.is_empty() {
            let strings = strings
                .iter()
                .map(|(key, value)| (key.clone(), Value::String(value.clone())));
            put(name, Value::Object(strings.collect()));
        }
    }
    if meta.created != Timestamp::default()
        && let Some(created) = time::format_timestamp(meta.created.seconds, meta.created.nanos)
    {
        put("creationTimestamp", Value::String(created));
    }
    if !meta.version.is_empty() {
        put("resourceVersion", Value::String(meta.version.clone()));
    }
    metadata
}

fn strings(
    metadata: &Map<String, Value>,
    name: &str,
    path: &Path<'_>,
) -> Result<BTreeMap<String, String>, Fault> {
    let path = path.field(name);
    match metadata.get(name) {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(entries)) => entries
            .iter()
            .map(|(key, value)| match value {
                Value::Null => Ok((key.clone(), String::new())),
                value => scalar::string(value)
                    .map(|text| (key.clone(), text.to_owned()))
                    .map_err(|reason| Fault::new(&path.key(key), reason)),
            })
            .collect(),
        Some(other) => Err(expected(&path, "an object", other)),
    }
}

/// Group and version; the core group has none.
fn split(api_version: &str) -> (&str, &str) {
    api_version.rsplit_once('/').unwrap_or(("", api_version))
}

fn is_ours(group: &str) -> bool {
    group == "istio.io" || group.ends_with(".istio.io") || KUBERNETES.iter().any(|(known, _)| *known == group)
}

fn is_kubernetes(group: &str, kind: &str) -> bool {
    KUBERNETES
        .iter()
        .any(|(known, kinds)| *known == group && kinds.contains(&kind))
}

fn is_version(kind: Kind, version: &str) -> bool {
    version == kind.schema().version || other_versions(kind).contains(&version)
}

fn other_versions(kind: Kind) -> &'static [&'static str] {
    let group = kind.schema().group;
    OTHER_VERSIONS
        .iter()
        .find(|(known, _)| *known == group)
        .map_or(&[], |(_, versions)| *versions)
}

fn unknown_version(kind: Kind, version: &str) -> String {
    let schema = kind.schema();
    let known: Vec<_> = std::iter::once(&schema.version)
        .chain(other_versions(kind))
        .copied()
        .collect();
    let group = if schema.group.is_empty() {
        "the core group"
    } else {
        schema.group
    };
    format!(
        "unknown version `{}` of {group}, expected one of {}",
        shortened(version),
        known.join(", ")
    )
}

/// A kind that its group does not have.
fn unknown_kind(group: &str, name: &str) -> Fault {
    let of_group = Kind::ALL
        .iter()
        .map(|kind| kind.schema())
        .filter(|schema| schema.group == group);
    let kubernetes = KUBERNETES
        .iter()
        .find(|(known, _)| *known == group)
        .map_or(&[][..], |(_, kinds)| *kinds);
    let known = of_group
        .map(|schema| schema.kind)
        .chain(kubernetes.iter().copied());
    Fault::new(&Path::Root.field("kind"), suggest::unknown("kind", name, known))
}
