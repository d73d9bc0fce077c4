//! The messages of `google.protobuf` that have a JSON form of their own.

use prost_reflect::{FieldDescriptor, Kind as FieldKind, MessageDescriptor};
use serde_json::{Map, Value};

use super::time;
use super::wire::{Fault, Reader, expected, put_bytes};
use super::{scalar, suggest};
use crate::path::Path;

/// How deep free-form values may be nested. Each level is three messages, and protobuf decoders stop at a hundred.
const MAX_DEPTH: usize = 28;

/// Encodes a well-known message. `None` when the message is none of them.
pub(super) fn read(
    reader: Reader,
    descriptor: &MessageDescriptor,
    value: &Value,
    path: &Path<'_>,
) -> Option<Result<Vec<u8>, Fault>> {
    let name = descriptor.full_name().strip_prefix("google.protobuf.")?;
    let fault = |reason: String| Fault::new(path, reason);
    if matches!(name, "Struct" | "Value" | "ListValue") && deeper_than(value, MAX_DEPTH) {
        return Some(Err(fault(format!("nested more than {MAX_DEPTH} levels deep"))));
    }
    Some(match name {
        "Struct" => match value.as_object() {
            Some(fields) => Ok(structure(fields)),
            None => Err(expected(path, "an object", value)),
        },
        "Value" => Ok(any_value(value)),
        "ListValue" => match value.as_array() {
            Some(items) => Ok(list_value(items)),
            None => Err(expected(path, "a list", value)),
        },
        "Duration" => time::duration(value)
            .map(|it| seconds_and_nanos(reader, it))
            .map_err(fault),
        "Timestamp" => time::timestamp(value)
            .map(|it| seconds_and_nanos(reader, it))
            .map_err(fault),
        "FieldMask" => field_mask(value).map_err(fault),
        "Any" => packed(reader, descriptor, value, path),
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
        | "BoolValue" | "StringValue" | "BytesValue" => {
            let kind = descriptor.get_field(1)?.kind();
            scalar::read(&kind, value)
                .map(|scalar| {
                    let mut out = Vec::new();
                    if reader.keep_defaults || !scalar.is_default() {
                        scalar.put(1, &mut out);
                    }
                    out
                })
                .map_err(fault)
        }
        _ => return None,
    })
}

/// Whether `null` is a value of this field rather than its absence.
pub(super) fn accepts_null(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), FieldKind::Message(message) if is_value(&message))
        && !field.is_list()
        && !field.is_map()
}

/// Whether this is `google.protobuf.Value`, of which `null` is one.
pub(super) fn is_value(descriptor: &MessageDescriptor) -> bool {
    descriptor.full_name() == "google.protobuf.Value"
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    let deeper = |inner: &Value| levels == 0 || deeper_than(inner, levels - 1);
    match value {
        Value::Array(items) => items.iter().any(deeper),
        Value::Object(fields) => fields.values().any(deeper),
        _ => false,
    }
}

/// `google.protobuf.Struct` { map<string, Value> fields = 1 }.
fn structure(fields: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        let mut entry = Vec::new();
        if !name.is_empty() {
            put_bytes(1, name.as_bytes(), &mut entry);
        }
        put_bytes(2, &any_value(value), &mut entry);
        put_bytes(1, &entry, &mut out);
    }
    out
}

/// `google.protobuf.Value`: one of null = 1, number = 2, string = 3, bool = 4, struct = 5, list = 6.
fn any_value(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Null => scalar::Scalar::Varint(0).put(1, &mut out),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            scalar::Scalar::Fixed64(number.to_le_bytes()).put(2, &mut out);
        }
        Value::String(text) => put_bytes(3, text.as_bytes(), &mut out),
        Value::Bool(value) => scalar::Scalar::Varint(u64::from(*value)).put(4, &mut out),
        Value::Object(fields) => put_bytes(5, &structure(fields), &mut out),
        Value::Array(items) => put_bytes(6, &list_value(items), &mut out),
    }
    out
}

/// `google.protobuf.ListValue` { repeated Value values = 1 }.
fn list_value(items: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        put_bytes(1, &any_value(item), &mut out);
    }
    out
}

/// Duration and Timestamp: int64 seconds = 1, int32 nanos = 2.
pub(super) fn seconds_and_nanos(reader: Reader, (seconds, nanos): (i64, i32)) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, value) in [(1, seconds), (2, i64::from(nanos))] {
        if reader.keep_defaults || value != 0 {
            #[allow(
                clippy::cast_sign_loss,
                reason = "two's complement, as protobuf encodes negative numbers"
            )]
            scalar::Scalar::Varint(value as u64).put(number, &mut out);
        }
    }
    out
}

/// `"user.displayName,photo"`: repeated string paths = 1, in snake case.
fn field_mask(value: &Value) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for path in scalar::string(value)?.split(',').filter(|path| !path.is_empty()) {
        let mut snake = String::with_capacity(path.len() + 4);
        for letter in path.chars() {
            if letter.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        put_bytes(1, snake.as_bytes(), &mut out);
    }
    Ok(out)
}

/// `{"@type": url, fields…}`; well-known messages stand in the field `value`.
fn packed(
    reader: Reader,
    descriptor: &MessageDescriptor,
    value: &Value,
    path: &Path<'_>,
) -> Result<Vec<u8>, Fault> {
    let object = value
        .as_object()
        .ok_or_else(|| expected(path, "an object", value))?;
    if object.is_empty() {
        return Ok(Vec::new());
    }
    let type_path = path.field("@type");
    let url = object.get("@type").unwrap_or(&Value::Null);
    let url = scalar::string(url).map_err(|reason| Fault::new(&type_path, reason))?;
    let name = url.rsplit('/').next().unwrap_or_default();
    let message = descriptor
        .parent_pool()
        .get_message_by_name(name)
        .ok_or_else(|| Fault::new(&type_path, suggest::unknown("message", name, [])))?;
    let special = read(
        reader,
        &message,
        object.get("value").unwrap_or(&Value::Null),
        &path.field("value"),
    );
    let encoded = match special {
        Some(encoded) => encoded?,
        None => {
            let mut fields = object.clone();
            fields.remove("@type");
            reader.message(&message, &Value::Object(fields), path)?
        }
    };
    let mut out = Vec::new();
    put_bytes(1, url.as_bytes(), &mut out);
    if !encoded.is_empty() {
        put_bytes(2, &encoded, &mut out);
    }
    Ok(out)
}
