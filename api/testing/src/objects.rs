//! Configuration objects as anybody might write them: by the descriptors of their messages, so that no field is forgotten.
//!
//! Most values are sensible, some are odd, few are wrong. What a test needs is decided by [`Choices`], which come from a
//! seed or from the bytes of a fuzzer: equal choices make equal objects.

mod choices;
mod filters;
mod kubernetes;
#[cfg(test)]
mod tests;
mod texts;
mod tidy;
mod values;
mod whole;

use mesh_config::{Body, Config, Kind, Scope, decode, mesh, validation};
use prost_reflect::{FieldDescriptor, Kind as FieldKind, MessageDescriptor};
use serde_json::{Map, Value, json};

pub use self::choices::Choices;
pub use self::whole::{admitted_mesh, base};

/// The kinds of Istio's networking.
pub const KINDS: [Kind; 6] = [
    Kind::VirtualService,
    Kind::DestinationRule,
    Kind::Gateway,
    Kind::ServiceEntry,
    Kind::Sidecar,
    Kind::EnvoyFilter,
];

/// Authentication policies, with the names that some of them must have.
pub const POLICIES: [(Kind, &str); 3] = [
    (Kind::MeshPolicy, "default"),
    (Kind::Policy, "default"),
    (Kind::Policy, "a"),
];

/// The kinds of Kubernetes that say what there is.
pub const KUBERNETES: [Kind; 3] = [Kind::Service, Kind::Endpoints, Kind::Pod];

/// How often an object is tried until one is valid.
const TRIES: usize = 40;
/// How deep messages are nested before only what is needed is written.
const DEPTH: usize = 7;

/// An object that validation admits; `None` when the choices lead to none.
pub fn admitted(kind: Kind, name: &str, choices: &mut Choices<'_>) -> Option<Config> {
    (0..TRIES)
        .map(|_| object(kind, name, choices))
        .find_map(|object| {
            let config = decode::from_json(None, &object).ok()?;
            validation::validate(&config).is_empty().then_some(config)
        })
}

/// An object as JSON, which need not be valid.
pub fn object(kind: Kind, name: &str, choices: &mut Choices<'_>) -> Value {
    let schema = kind.schema();
    let descriptor = mesh_api::descriptors()
        .get_message_by_name(schema.message)
        .expect("every kind has a message");
    let mut content = message(&descriptor, 0, choices);
    tidy::tidy(kind, &mut content, choices);
    let namespace = *choices.one_of(&["weather", "weather", "weather", "istio-system", "other"]);
    let created = choices.below(5);
    let mut object = match schema.body {
        Body::Spec => json!({ "spec": content }),
        Body::Whole => content,
    };
    let version = [schema.group, schema.version];
    object["apiVersion"] = version.join("/").trim_start_matches('/').into();
    object["kind"] = schema.kind.into();
    let mut metadata = json!({
        "name": name,
        "namespace": namespace,
        "creationTimestamp": format!("2020-01-0{}T00:00:00Z", created + 1),
        "labels": { "app": choices.one_of(&["web", "api", ""]), "version": choices.one_of(&["v1", "v2"]) },
    });
    if schema.scope == Scope::Cluster
        && let Some(fields) = metadata.as_object_mut()
    {
        fields.remove("namespace");
    }
    object["metadata"] = metadata;
    object
}

/// A message of ours as JSON, which need not be valid; `None` where there is no such message.
pub fn content(message: &str, choices: &mut Choices<'_>) -> Option<Value> {
    let descriptor = mesh_api::descriptors().get_message_by_name(message)?;
    Some(self::message(&descriptor, 0, choices))
}

/// A mesh configuration that is admitted, as its file; empty when the choices lead to none.
pub fn mesh(choices: &mut Choices<'_>) -> String {
    file("istio.mesh.v1alpha1.MeshConfig", choices, |text| {
        mesh::parse(text).is_ok()
    })
}

/// The networks of a mesh that are admitted, as their file; empty when the choices lead to none.
pub fn networks(choices: &mut Choices<'_>) -> String {
    file("istio.mesh.v1alpha1.MeshNetworks", choices, |text| {
        mesh::parse_networks(text).is_ok()
    })
}

fn file(message: &str, choices: &mut Choices<'_>, is_admitted: impl Fn(&str) -> bool) -> String {
    let descriptor = mesh_api::descriptors()
        .get_message_by_name(message)
        .expect("the message exists");
    (0..TRIES)
        .map(|_| self::message(&descriptor, 0, choices).to_string())
        .find(|text| is_admitted(text))
        .unwrap_or_default()
}

fn message(descriptor: &MessageDescriptor, depth: usize, choices: &mut Choices<'_>) -> Value {
    match descriptor.full_name() {
        "google.protobuf.Duration" => return values::duration(choices),
        "google.protobuf.BoolValue" => return choices.chance(50).into(),
        "k8s.io.apimachinery.pkg.util.intstr.IntOrString"
        | "k8s.io.apimachinery.pkg.api.resource.Quantity"
        | "k8s.io.apimachinery.pkg.apis.meta.v1.Time" => return kubernetes::bare(descriptor, choices),
        "istio.networking.v1alpha3.EnvoyFilter.Filter" => return filter(descriptor, depth, choices),
        _ => {}
    }
    let mut fields = Map::new();
    let chosen: Vec<FieldDescriptor> = descriptor
        .oneofs()
        .filter_map(|oneof| {
            let members: Vec<_> = oneof.fields().collect();
            // The deprecated and unsupported members stand behind.
            let member = choices.below(members.len() + 1).saturating_sub(1);
            members.into_iter().nth(member)
        })
        .collect();
    for field in descriptor.fields() {
        let is_written = match field.containing_oneof() {
            Some(_) => chosen.contains(&field) && choices.chance(95),
            None => choices.chance(values::frequency(&field, depth >= DEPTH)),
        };
        if is_written {
            let value = if field.is_list() {
                let count = values::count(&field, choices);
                (0..count).map(|_| single(&field, depth, choices)).collect()
            } else if field.is_map() {
                map(&field, depth, choices)
            } else {
                single(&field, depth, choices)
            };
            match value {
                Value::Object(inner) if kubernetes::is_inline(&field) => fields.extend(inner),
                value => {
                    fields.insert(field.json_name().to_owned(), value);
                }
            }
        }
    }
    Value::Object(fields)
}

fn map(field: &FieldDescriptor, depth: usize, choices: &mut Choices<'_>) -> Value {
    let FieldKind::Message(entry) = field.kind() else {
        return Value::Null;
    };
    let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
    let mut entries = Map::new();
    for _ in 0..choices.below(3) {
        let (name, value) = match values::pair(field, choices) {
            Some(pair) => pair,
            None => (
                texts::text(&key, field, choices),
                match value.kind() {
                    FieldKind::Message(inner) => message(&inner, depth + 1, choices),
                    _ => values::scalar(&value, field, choices),
                },
            ),
        };
        entries.insert(name, value);
    }
    Value::Object(entries)
}

fn single(field: &FieldDescriptor, depth: usize, choices: &mut Choices<'_>) -> Value {
    match field.kind() {
        FieldKind::Message(inner) => message(&inner, depth + 1, choices),
        _ => values::scalar(field, field, choices),
    }
}

/// Type, name and configuration of a filter belong together.
fn filter(descriptor: &MessageDescriptor, depth: usize, choices: &mut Choices<'_>) -> Value {
    let mut fields = Map::new();
    for name in ["listener_match", "insert_position"] {
        if let Some(field) = descriptor.get_field_by_name(name)
            && choices.chance(50)
        {
            fields.insert(field.json_name().to_owned(), single(&field, depth, choices));
        }
    }
    let (filter_type, name, config) = filters::filter(choices);
    fields.insert("filterType".to_owned(), filter_type.into());
    fields.insert("filterName".to_owned(), name.into());
    fields.insert("filterConfig".to_owned(), config);
    Value::Object(fields)
}
