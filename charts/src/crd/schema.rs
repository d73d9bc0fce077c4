//! Structural schemas of messages, as `apiextensions.k8s.io/v1` wants them.
//!
//! They follow the JSON form of protobuf as it is read, not only as it is written: numbers and enums may be strings,
//! durations are, and names that the schema does not know (the `snake_case` alternatives among them) are kept. What is null is
//! absent, but not inside a map, where the server would drop the entry; there null stays, for validation to refuse it.

use mesh_api::{comment, descriptors};
use prost_reflect::{Cardinality, EnumDescriptor, FieldDescriptor, Kind as FieldKind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::catalog::Entry;

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// A message of which a null has a meaning: `mtls:` alone asks for mutual TLS (spec 04 G4).
const MUTUAL_TLS: &str = "istio.authentication.v1alpha1.MutualTls";

/// The schema of a whole object.
pub(super) fn object(entry: &Entry) -> Value {
    let about = entry.about();
    let mut spec = match descriptors().get_message_by_name(entry.message()) {
        Some(message) => Walk::default().message(&message),
        None => anything(),
    };
    describe(&mut spec, &about);
    let mut status = anything();
    describe(
        &mut status,
        "What was found out about the object; written by the mesh.",
    );
    let mut object = anything();
    describe(&mut object, &about);
    object.insert("properties".to_owned(), json!({ "spec": spec, "status": status }));
    Value::Object(object)
}

/// Messages that are being described, to find the one that contains itself.
#[derive(Default)]
struct Walk {
    above: Vec<String>,
}

impl Walk {
    fn message(&mut self, message: &MessageDescriptor) -> Map<String, Value> {
        if let Some(schema) = well_known(message) {
            return schema;
        }
        let mut schema = anything();
        let name = message.full_name().to_owned();
        // A structural schema is a tree; below the repetition everything is kept, and read by the decoder alone.
        if self.above.contains(&name) {
            return schema;
        }
        self.above.push(name);
        let properties: Map<String, Value> = message
            .fields()
            .map(|field| (field.json_name().to_owned(), Value::Object(self.field(&field))))
            .collect();
        self.above.pop();
        schema.insert("properties".to_owned(), Value::Object(properties));
        if message.full_name() == MUTUAL_TLS {
            schema.insert("nullable".to_owned(), true.into());
        }
        schema
    }

    fn field(&mut self, field: &FieldDescriptor) -> Map<String, Value> {
        let mut schema = Map::new();
        let map_value = match field.kind() {
            FieldKind::Message(entry) if field.is_map() => Some(entry.map_entry_value_field()),
            _ => None,
        };
        let about = description(field, map_value.as_ref());
        if let Some(value) = map_value {
            let mut values = self.value(&value.kind());
            values.insert("nullable".to_owned(), true.into());
            schema.insert("type".to_owned(), "object".into());
            schema.insert("additionalProperties".to_owned(), Value::Object(values));
        } else if field.cardinality() == Cardinality::Repeated {
            schema.insert("type".to_owned(), "array".into());
            schema.insert("items".to_owned(), Value::Object(self.value(&field.kind())));
        } else {
            schema = self.value(&field.kind());
        }
        describe(&mut schema, &about);
        schema
    }

    fn value(&mut self, kind: &FieldKind) -> Map<String, Value> {
        match kind {
            FieldKind::Message(message) => self.message(message),
            FieldKind::Enum(values) => enumeration(values),
            other => scalar(other),
        }
    }
}

/// The messages that have a JSON form of their own.
fn well_known(message: &MessageDescriptor) -> Option<Map<String, Value>> {
    Some(match message.full_name().strip_prefix("google.protobuf.")? {
        "Struct" | "Any" => anything(),
        "Value" => Map::from_iter([(PRESERVE.to_owned(), true.into())]),
        "ListValue" => {
            let item = json!({ PRESERVE: true });
            Map::from_iter([("type".to_owned(), "array".into()), ("items".to_owned(), item)])
        }
        "Duration" | "Timestamp" | "FieldMask" => typed("string"),
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
        | "BoolValue" | "StringValue" | "BytesValue" => scalar(&message.get_field(1)?.kind()),
        _ => return None,
    })
}

fn scalar(kind: &FieldKind) -> Map<String, Value> {
    match kind {
        FieldKind::Bool => typed("boolean"),
        FieldKind::Double | FieldKind::Float => typed("number"),
        FieldKind::String | FieldKind::Bytes => typed("string"),
        _ => Map::from_iter([(INT_OR_STRING.to_owned(), true.into())]),
    }
}

fn is_whole(kind: &FieldKind) -> bool {
    !matches!(
        kind,
        FieldKind::Bool
            | FieldKind::Double
            | FieldKind::Float
            | FieldKind::String
            | FieldKind::Bytes
            | FieldKind::Enum(_)
            | FieldKind::Message(_)
    )
}

/// Names first, since `kubectl explain` cuts the list; numbers are the other JSON form.
fn enumeration(descriptor: &EnumDescriptor) -> Map<String, Value> {
    let names = descriptor.values().map(|value| Value::from(value.name()));
    let numbers = descriptor.values().map(|value| Value::from(value.number()));
    Map::from_iter([
        (INT_OR_STRING.to_owned(), true.into()),
        ("enum".to_owned(), names.chain(numbers).collect()),
    ])
}

fn typed(name: &str) -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), name.into())])
}

/// An object of any fields.
fn anything() -> Map<String, Value> {
    let mut schema = typed("object");
    schema.insert(PRESERVE.to_owned(), true.into());
    schema
}

fn describe(schema: &mut Map<String, Value>, about: &str) {
    if !about.is_empty() {
        schema.insert("description".to_owned(), about.into());
    }
}

/// What `kubectl explain` says about a field: its comment, what its type does not tell there, and what it excludes.
fn description(field: &FieldDescriptor, map_value: Option<&FieldDescriptor>) -> String {
    let mut parts = Vec::new();
    let deprecated = field
        .field_descriptor_proto()
        .options
        .as_ref()
        .is_some_and(|options| options.deprecated());
    if deprecated {
        parts.push("Deprecated.".to_owned());
    }
    let kind = map_value.map_or_else(|| field.kind(), FieldDescriptor::kind);
    let of_type = match &kind {
        FieldKind::Message(message) => comment(message.full_name()),
        FieldKind::Enum(values) => comment(values.full_name()),
        _ => None,
    };
    parts.extend(comment(field.full_name()).or(of_type).map(str::to_owned));
    match &kind {
        FieldKind::Enum(values) => parts.extend(values.values().filter_map(|value| {
            let about = comment(&format!("{}.{}", values.full_name(), value.name()))?;
            Some(format!("{}: {about}", value.name()))
        })),
        FieldKind::Message(message) if message.full_name() == "google.protobuf.Duration" => {
            parts.push("A duration such as 10s, 500ms or 1h30m.".to_owned());
        }
        // `kubectl explain` has no name for what is a number or a string.
        kind if is_whole(kind) => parts.push("A whole number.".to_owned()),
        _ => {}
    }
    if let Some(oneof) = field.containing_oneof().filter(|oneof| oneof.fields().len() > 1) {
        let members: Vec<_> = oneof.fields().map(|field| field.json_name().to_owned()).collect();
        parts.push(format!("Only one of {}.", members.join(", ")));
    }
    parts.join(" ")
}
