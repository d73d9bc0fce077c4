//! Where the JSON of Kubernetes differs from proto JSON.
//!
//! Its messages were made after its Go types, whose JSON came first: a few are bare strings and numbers in JSON, and
//! embedded structs stand in their parent's object. We declare only the parts that a mesh reads, so what is unknown is
//! skipped.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as FieldKind, MessageDescriptor, ReflectMessage};
use prost_reflect::{MapKey, Value as Field};
use serde_json::{Map, Value, json};

use super::scalar::{self, Scalar};
use super::wire::{Fault, Reader, expected, mismatch, put_bytes};
use super::{base64, time, well_known};
use crate::path::Path;

const INT_OR_STRING: &str = "k8s.io.apimachinery.pkg.util.intstr.IntOrString";
const QUANTITY: &str = "k8s.io.apimachinery.pkg.api.resource.Quantity";
const TIME: &str = "k8s.io.apimachinery.pkg.apis.meta.v1.Time";
const FIELDS: &str = "k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1";

/// Message fields that have no name in JSON.
const INLINE: &[&str] = &[
    "k8s.io.api.core.v1.ConfigMapKeySelector.localObjectReference",
    "k8s.io.api.core.v1.SecretKeySelector.localObjectReference",
    "k8s.io.api.core.v1.Probe.handler",
    "k8s.io.api.networking.v1.IngressRule.ingressRuleValue",
];

/// Whether the message is one of Kubernetes'.
pub(super) fn is_message(descriptor: &MessageDescriptor) -> bool {
    descriptor.full_name().starts_with("k8s.io.")
}

/// Whether the fields of this message field stand in the object around it.
pub(super) fn is_inline(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), FieldKind::Message(_)) && INLINE.contains(&field.full_name())
}

/// Encodes a message that is no object in JSON. `None` when the message is none of them.
pub(super) fn read(
    descriptor: &MessageDescriptor,
    value: &Value,
    path: &Path<'_>,
) -> Option<Result<Vec<u8>, Fault>> {
    let fault = |reason: String| Fault::new(path, reason);
    let mut out = Vec::new();
    Some(match descriptor.full_name() {
        INT_OR_STRING => int_or_string(value, &mut out).map(|()| out).map_err(fault),
        QUANTITY => match value {
            Value::String(text) => {
                put_bytes(1, text.as_bytes(), &mut out);
                Ok(out)
            }
            Value::Number(number) => {
                put_bytes(1, number.to_string().as_bytes(), &mut out);
                Ok(out)
            }
            _ => Err(expected(path, "an amount", value)),
        },
        TIME => time::timestamp(value)
            .map(|time| well_known::seconds_and_nanos(Reader::default(), time))
            .map_err(fault),
        FIELDS => {
            put_bytes(1, value.to_string().as_bytes(), &mut out);
            Ok(out)
        }
        _ => return None,
    })
}

/// `type` = 1 (0: number, 1: string), `intVal` = 2, `strVal` = 3.
fn int_or_string(value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match value {
        Value::String(text) => {
            Scalar::Varint(1).put(1, out);
            put_bytes(3, text.as_bytes(), out);
        }
        Value::Number(_) => {
            Scalar::Varint(0).put(1, out);
            scalar::read(&FieldKind::Int32, value)?.put(2, out);
        }
        _ => return Err(mismatch("a number or a name", value)),
    }
    Ok(())
}

/// The JSON of a message as Kubernetes writes it.
pub(super) fn to_json(message: &DynamicMessage) -> Value {
    let field = |name: &str| message.get_field_by_name(name).map(std::borrow::Cow::into_owned);
    match message.descriptor().full_name() {
        INT_OR_STRING => match (field("type"), field("intVal"), field("strVal")) {
            (Some(Field::I64(1)), _, Some(Field::String(text))) => Value::String(text),
            (_, Some(Field::I32(number)), _) => number.into(),
            _ => Value::Null,
        },
        QUANTITY => match field("string") {
            Some(Field::String(text)) => Value::String(text),
            _ => Value::Null,
        },
        TIME => match (field("seconds"), field("nanos")) {
            (Some(Field::I64(seconds)), Some(Field::I32(nanos))) => {
                time::format_timestamp(seconds, nanos).map_or(Value::Null, Value::String)
            }
            _ => Value::Null,
        },
        FIELDS => match field("Raw") {
            Some(Field::Bytes(text)) => serde_json::from_slice(&text).unwrap_or_default(),
            _ => Value::Null,
        },
        _ => {
            let mut object = Map::new();
            for (field, value) in message.fields() {
                let value = field_to_json(value);
                if !is_inline(&field) {
                    object.insert(field.json_name().to_owned(), value);
                } else if let Value::Object(inner) = value {
                    object.extend(inner);
                }
            }
            Value::Object(object)
        }
    }
}

fn field_to_json(value: &Field) -> Value {
    match value {
        Field::Bool(value) => Value::Bool(*value),
        Field::I32(value) => (*value).into(),
        Field::I64(value) => (*value).into(),
        Field::U32(value) => (*value).into(),
        Field::U64(value) => (*value).into(),
        Field::F32(value) => (*value).into(),
        Field::F64(value) => (*value).into(),
        Field::String(value) => Value::String(value.clone()),
        Field::Bytes(value) => Value::String(base64::encode(value)),
        Field::EnumNumber(value) => (*value).into(),
        Field::Message(message) => to_json(message),
        Field::List(items) => items.iter().map(field_to_json).collect(),
        Field::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key_text(key), field_to_json(value)));
            Value::Object(entries.collect())
        }
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// Turns the `spec` of an Ingress of the versions before `v1` into the shape of `v1`.
///
/// `backend` became `defaultBackend`; `serviceName` and `servicePort` became `service.name` and
/// `service.port.{name,number}`.
pub(super) fn modern_ingress(spec: &mut Value) {
    let Some(spec) = spec.as_object_mut() else { return };
    if let Some(mut backend) = spec.remove("backend") {
        modern_backend(&mut backend);
        spec.entry("defaultBackend").or_insert(backend);
    }
    let rules = spec.get_mut("rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        let paths = rule.pointer_mut("/http/paths").and_then(Value::as_array_mut);
        for path in paths.into_iter().flatten() {
            if let Some(backend) = path.get_mut("backend") {
                modern_backend(backend);
            }
        }
    }
}

fn modern_backend(backend: &mut Value) {
    let Some(backend) = backend.as_object_mut() else {
        return;
    };
    let (name, port) = (backend.remove("serviceName"), backend.remove("servicePort"));
    if name.is_none() && port.is_none() {
        return;
    }
    let port = match port {
        Some(Value::String(port)) => json!({ "name": port }),
        Some(port) => json!({ "number": port }),
        None => Value::Null,
    };
    backend.insert("service".to_owned(), json!({ "name": name, "port": port }));
}
