//! JSON to the encoded form of a message, by its descriptor.
//!
//! Canonical proto JSON, read strictly: an unknown field, a wrong type, two members of one `oneof` are errors that
//! name their place. The encoding is the one of the generated messages (fields by number, maps by key), so equal
//! content has equal bytes. Kubernetes' messages are read as its API server does ([`super::kubernetes`]).

use std::collections::BTreeMap;

use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{Cardinality, FieldDescriptor, Kind as FieldKind, MessageDescriptor};
use serde_json::Value;

use super::{kubernetes, scalar, well_known};
use crate::path::{Path, Segment};

/// What is wrong with a value, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) path: Vec<Segment>,
    pub(crate) reason: String,
}

/// How text is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reader {
    /// Skip fields that the message does not have.
    pub(crate) ignore_unknown: bool,
    /// Write fields even when they hold their default, so that merging overrides what was there before.
    pub(crate) keep_defaults: bool,
}

impl Fault {
    pub(crate) fn new(path: &Path<'_>, reason: impl Into<String>) -> Self {
        Self {
            path: path.segments(),
            reason: reason.into(),
        }
    }
}

// === impl Reader ===

impl Reader {
    /// Encodes `value` as the message `descriptor`.
    pub(crate) fn message(
        self,
        descriptor: &MessageDescriptor,
        value: &Value,
        path: &Path<'_>,
    ) -> Result<Vec<u8>, Fault> {
        if let Some(encoded) = well_known::read(self, descriptor, value, path) {
            return encoded;
        }
        if let Some(encoded) = kubernetes::read(descriptor, value, path) {
            return encoded;
        }
        let object = value
            .as_object()
            .ok_or_else(|| expected(path, "an object", value))?;

        let mut fields: BTreeMap<u32, (FieldDescriptor, Option<&str>, &Value)> = BTreeMap::new();
        // The fields of these messages stand directly in this object.
        for field in descriptor.fields().filter(kubernetes::is_inline) {
            fields.insert(field.number(), (field, None, value));
        }
        let mut chosen: BTreeMap<String, &str> = BTreeMap::new();
        for (name, value) in object {
            let Some(field) = field_by_name(descriptor, name) else {
                if self.ignore_unknown || kubernetes::is_message(descriptor) {
                    continue;
                }
                return Err(Fault::new(&path.field(name), unknown_field(descriptor, name)));
            };
            if value.is_null() && !well_known::accepts_null(&field) {
                continue;
            }
            if let Some(oneof) = field.containing_oneof().filter(|oneof| oneof.fields().len() > 1)
                && let Some(other) = chosen.insert(oneof.name().to_owned(), name)
            {
                let reason = format!("`{other}` and `{name}` exclude one another");
                return Err(Fault::new(&path.field(name), reason));
            }
            if let Some((_, Some(other), _)) = fields.insert(field.number(), (field, Some(name), value)) {
                let reason = format!("`{other}` and `{name}` are the same field");
                return Err(Fault::new(&path.field(name), reason));
            }
        }

        let mut out = Vec::new();
        for (field, name, value) in fields.values() {
            match (name, field.kind()) {
                (Some(name), _) => self.field(field, value, &path.field(name), &mut out)?,
                (None, FieldKind::Message(inner)) => {
                    let encoded = self.message(&inner, value, path)?;
                    if !encoded.is_empty() {
                        put_bytes(field.number(), &encoded, &mut out);
                    }
                }
                (None, _) => {}
            }
        }
        Ok(out)
    }

    fn field(
        self,
        field: &FieldDescriptor,
        value: &Value,
        path: &Path<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if field.is_map() {
            self.map(field, value, path, out)
        } else if field.cardinality() == Cardinality::Repeated {
            self.list(field, value, path, out)
        } else if let FieldKind::Message(message) = field.kind() {
            let encoded = self.message(&message, value, path)?;
            put_bytes(field.number(), &encoded, out);
            Ok(())
        } else {
            let scalar = scalar::read(&field.kind(), value).map_err(|reason| Fault::new(path, reason))?;
            if field.supports_presence() || self.keep_defaults || !scalar.is_default() {
                scalar.put(field.number(), out);
            }
            Ok(())
        }
    }

    fn list(
        self,
        field: &FieldDescriptor,
        value: &Value,
        path: &Path<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let items = value.as_array().ok_or_else(|| expected(path, "a list", value))?;
        let mut packed = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            if let FieldKind::Message(message) = field.kind() {
                if item.is_null() && !well_known::is_value(&message) {
                    return Err(expected(&path, "an object", item));
                }
                put_bytes(field.number(), &self.message(&message, item, &path)?, out);
            } else {
                let scalar = scalar::read(&field.kind(), item).map_err(|reason| Fault::new(&path, reason))?;
                if field.is_packed() {
                    scalar.put_bare(&mut packed);
                } else {
                    scalar.put(field.number(), out);
                }
            }
        }
        if !packed.is_empty() {
            put_bytes(field.number(), &packed, out);
        }
        Ok(())
    }

    fn map(
        self,
        field: &FieldDescriptor,
        value: &Value,
        path: &Path<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let FieldKind::Message(entry) = field.kind() else {
            return Err(Fault::new(path, "expected an object"));
        };
        let (key_field, value_field) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let object = value
            .as_object()
            .ok_or_else(|| expected(path, "an object", value))?;
        for (key, value) in object {
            let path = path.key(key);
            let key = scalar::read_key(&key_field.kind(), key).map_err(|reason| Fault::new(&path, reason))?;
            let mut encoded = Vec::new();
            if !key.is_default() {
                key.put(1, &mut encoded);
            }
            if let FieldKind::Message(message) = value_field.kind() {
                if value.is_null() && !well_known::is_value(&message) {
                    return Err(expected(&path, "an object", value));
                }
                let value = self.message(&message, value, &path)?;
                if !value.is_empty() {
                    put_bytes(2, &value, &mut encoded);
                }
            } else {
                let value =
                    scalar::read(&value_field.kind(), value).map_err(|reason| Fault::new(&path, reason))?;
                if !value.is_default() {
                    value.put(2, &mut encoded);
                }
            }
            put_bytes(field.number(), &encoded, out);
        }
        Ok(())
    }
}

/// Writes a length-delimited record: a message, string, bytes or packed list.
pub(super) fn put_bytes(number: u32, body: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(body.len() as u64, out);
    out.extend_from_slice(body);
}

/// `expected a string, found the number 5`.
pub(super) fn expected(path: &Path<'_>, what: &str, found: &Value) -> Fault {
    Fault::new(path, mismatch(what, found))
}

/// The reason of [`expected`].
pub(super) fn mismatch(what: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(value) => format!("the string {:?}", shortened(value)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    format!("expected {what}, found {found}")
}

/// At most 60 characters of a text from a stranger.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn field_by_name(descriptor: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    descriptor
        .get_field_by_json_name(name)
        .or_else(|| descriptor.get_field_by_name(name))
        .filter(|field| !kubernetes::is_inline(field))
}

fn unknown_field(descriptor: &MessageDescriptor, name: &str) -> String {
    let fields: Vec<_> = descriptor.fields().collect();
    super::suggest::unknown("field", name, fields.iter().map(FieldDescriptor::json_name))
}
