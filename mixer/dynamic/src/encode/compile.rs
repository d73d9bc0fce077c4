//! From parameters to parts of a message.

use std::collections::BTreeMap;

use mesh_api::Any;
use mixer_attribute::{Value, ValueType, Vocabulary};
use mixer_template::FieldError;
use prost::Message as _;
use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _,
    Value as Reflected,
};
use serde_json::Value as Json;

use super::constant::{fits, needs, of_json, quoted};
use super::form::{Form, Int, is_any, wrapped};
use super::{Leaf, NAME_FIELD, Part, push, put_bytes};
use crate::template::Template;

/// The fields of an entry of a map.
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// Compiles the parameters of one instance.
pub(super) struct Compiler<'a> {
    vocabulary: &'a Vocabulary,
    errors: Vec<FieldError>,
}

/// What a field turned out to be.
enum Compiled {
    Part(Part),
    /// A `Value`, and the type that it has.
    Typed(Part, ValueType),
    /// A message, and the types in it.
    Message(Part, Option<DynamicMessage>),
}

// === impl Compiler ===

impl<'a> Compiler<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary) -> Self {
        Self {
            vocabulary,
            errors: Vec::new(),
        }
    }

    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }

    /// The parts of an instance, and the types of its fields that may be of any.
    pub(super) fn instance(&mut self, template: &Template, params: &Json) -> (Vec<Part>, Option<Any>) {
        let (parts, types) = self.message(&template.instance, template.types.as_ref(), params, "");
        let types = types.map(|types| Any {
            type_url: format!("type.googleapis.com/{}", types.descriptor().full_name()),
            value: types.encode_to_vec().into(),
        });
        (parts, types)
    }

    fn refuse(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.errors.push(FieldError {
            field: field.into(),
            reason: reason.into(),
        });
    }

    /// Fields in the order of their numbers.
    fn message(
        &mut self,
        descriptor: &MessageDescriptor,
        types: Option<&MessageDescriptor>,
        given: &Json,
        path: &str,
    ) -> (Vec<Part>, Option<DynamicMessage>) {
        let mut parts = Vec::new();
        let mut types = types.map(|types| DynamicMessage::new(types.clone()));
        let given = match given {
            Json::Null => return (parts, types),
            Json::Object(given) => given,
            _ => {
                self.refuse(path, "is not an object");
                return (parts, types);
            }
        };
        let mut fields: BTreeMap<u32, (FieldDescriptor, &Json)> = BTreeMap::new();
        for (name, value) in given {
            let field = descriptor
                .get_field_by_name(name)
                .or_else(|| descriptor.get_field_by_json_name(name));
            let path = join(path, name);
            match field {
                None => self.refuse(path, format!("{} has no such field", descriptor.name())),
                Some(field) if field.number() == NAME_FIELD => {
                    self.refuse(path, "instances are called as their objects are");
                }
                Some(field) => {
                    if fields.insert(field.number(), (field, value)).is_some() {
                        self.refuse(path, "the field is there twice");
                    }
                }
            }
        }
        for (field, value) in fields.values() {
            let path = join(path, field.json_name());
            self.field(field, value, &path, &mut parts, types.as_mut());
        }
        (parts, types)
    }

    fn field(
        &mut self,
        field: &FieldDescriptor,
        given: &Json,
        path: &str,
        parts: &mut Vec<Part>,
        types: Option<&mut DynamicMessage>,
    ) {
        let type_field = types
            .as_ref()
            .and_then(|types| types.descriptor().get_field_by_name(field.name()));
        let known = match (field.kind(), given) {
            (_, Json::Null) => None,
            (Kind::Message(entry), Json::Object(entries)) if field.is_map() => {
                self.map(field, &entry, entries, path, parts, type_field.as_ref())
            }
            (Kind::Message(entry), Json::String(_)) if field.is_map() && is_string_map(&entry) => {
                let map = self.leaf(Some(field.number()), Form::StringMap, true, given, path);
                add(map, parts)
            }
            _ if field.is_map() => {
                self.refuse(path, "is not a map");
                None
            }
            (_, Json::Array(items)) if field.cardinality() == Cardinality::Repeated => {
                self.list(field, items, path, parts);
                None
            }
            _ if field.cardinality() == Cardinality::Repeated => {
                self.refuse(path, "is not a list");
                None
            }
            _ => {
                let implicit = !field.supports_presence();
                let inner = type_field.as_ref().and_then(message_of);
                let place = (Some(field.number()), implicit);
                let single = self.single(place, &field.kind(), inner.as_ref(), given, path);
                add(single, parts)
            }
        };
        if let (Some(types), Some(type_field), Some(known)) = (types, type_field, known) {
            // A `Type` of another shape than its template says nothing that could be told.
            let _other_shape = types.try_set_field(&type_field, known);
        }
    }

    /// A field that is no list: a message, or an expression.
    fn single(
        &mut self,
        (number, implicit): (Option<u32>, bool),
        kind: &Kind,
        types: Option<&MessageDescriptor>,
        given: &Json,
        path: &str,
    ) -> Option<Compiled> {
        let form = match kind {
            Kind::String => Form::Text,
            Kind::Bool => Form::Bool,
            Kind::Double => Form::Double,
            Kind::Float => Form::Float,
            Kind::Enum(known) => Form::Enum(known.clone()),
            Kind::Bytes => {
                self.refuse(path, "no expression gives bytes");
                return None;
            }
            Kind::Message(message) if !given.is_object() => match wrapped(message) {
                Some(value_type) => Form::Wrapper(value_type),
                None if is_any(message) => Form::Any(ValueType::String),
                None => {
                    self.refuse(path, "is not an object");
                    return None;
                }
            },
            Kind::Message(message) => {
                let (parts, types) = self.message(message, types, given, path);
                return Some(Compiled::Message(whole(number.unwrap_or_default(), parts), types));
            }
            number => Form::Int(Int::of(number)?),
        };
        self.leaf(number, form, implicit, given, path)
    }

    /// An expression, or a value that needs none. Nothing where nothing is given (`spec 02` §6.2).
    fn leaf(
        &mut self,
        number: Option<u32>,
        form: Form,
        implicit: bool,
        given: &Json,
        path: &str,
    ) -> Option<Compiled> {
        let text = match given {
            Json::String(text) if text.trim().is_empty() => return None,
            Json::String(text) => text.trim(),
            _ => {
                let Some((value, value_type)) = of_json(&form, given) else {
                    self.refuse(path, format!("{given} is not {}", needs(&form)));
                    return None;
                };
                return self.constant(number, &form, implicit, &value, value_type, path);
            }
        };
        let known = match &form {
            // Text in quotes is text, also where it could be a duration.
            Form::Text => quoted(text),
            Form::Any(_) => quoted(text).filter(|_| text.starts_with('\'')),
            Form::Enum(known) => quoted(text).or_else(|| {
                let value = known.get_value_by_name(text)?;
                Some(value.name().to_owned())
            }),
            _ => None,
        };
        if let Some(known) = known {
            let value = Value::from(known.as_str());
            return self.constant(number, &form, implicit, &value, ValueType::String, path);
        }
        let program = match mixer_expr::compile(text, self.vocabulary) {
            Ok(program) => program,
            Err(error) => {
                self.refuse(path, error.to_string());
                return None;
            }
        };
        let value_type = program.value_type();
        if !fits(&form, value_type) {
            let needs = needs(&form);
            self.refuse(
                path,
                format!("{text} typeError got {value_type}, expected {needs}"),
            );
            return None;
        }
        if let Some(value) = program.constant() {
            return self.constant(number, &form, implicit, &value, value_type, path);
        }
        let is_any = matches!(form, Form::Any(_));
        let part = Part::Leaf(Box::new(Leaf {
            path: path.into(),
            number,
            implicit,
            form: if is_any { Form::Any(value_type) } else { form },
            program,
        }));
        Some(if is_any {
            Compiled::Typed(part, value_type)
        } else {
            Compiled::Part(part)
        })
    }

    fn constant(
        &mut self,
        number: Option<u32>,
        form: &Form,
        implicit: bool,
        value: &Value<'_>,
        value_type: ValueType,
        path: &str,
    ) -> Option<Compiled> {
        let mut bytes = Vec::new();
        let any = Form::Any(value_type);
        let is_any = matches!(form, Form::Any(_));
        let form = if is_any { &any } else { form };
        if let Err(reason) = form.write(number, implicit, value, &mut bytes) {
            self.refuse(path, reason);
            return None;
        }
        let part = Part::Constant(bytes);
        Some(if is_any {
            Compiled::Typed(part, value_type)
        } else {
            Compiled::Part(part)
        })
    }

    fn list(&mut self, field: &FieldDescriptor, items: &[Json], path: &str, parts: &mut Vec<Part>) {
        let kind = field.kind();
        let scalar = !matches!(kind, Kind::String | Kind::Bytes | Kind::Message(_));
        if scalar && !field.is_packed() {
            return self.refuse(path, "lists of numbers that are not packed are not supported");
        }
        let number = (!scalar).then_some(field.number());
        let mut elements = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if item.is_null() || item.as_str().is_some_and(|text| text.trim().is_empty()) {
                self.refuse(path, "is empty");
                continue;
            }
            let element = self.single((number, false), &kind, None, item, &path);
            let _lists_have_no_types = add(element, &mut elements);
        }
        if !scalar {
            for element in elements {
                push(parts, element);
            }
        } else if !elements.is_empty() {
            push(parts, whole(field.number(), elements));
        }
    }

    /// Keys are no expressions.
    fn map(
        &mut self,
        field: &FieldDescriptor,
        entry: &MessageDescriptor,
        entries: &serde_json::Map<String, Json>,
        path: &str,
        parts: &mut Vec<Part>,
        type_field: Option<&FieldDescriptor>,
    ) -> Option<Reflected> {
        let value_kind = entry.map_entry_value_field().kind();
        let key_kind = entry.map_entry_key_field().kind();
        let type_entry = type_field.filter(|field| field.is_map()).and_then(message_of);
        let inner = type_entry.and_then(|entry| message_of(&entry.map_entry_value_field()));
        let mut types = std::collections::HashMap::new();
        let sorted: BTreeMap<&String, &Json> = entries.iter().collect();
        for (key, given) in sorted {
            let path = format!("{path}[{key}]");
            let mut head = Vec::new();
            let Some(map_key) = self.key(&key_kind, key, &path, &mut head) else {
                continue;
            };
            let value = self.single((Some(VALUE), false), &value_kind, inner.as_ref(), given, &path);
            let mut entry = vec![Part::Constant(head)];
            if value.is_none() && wrapped_or_any(&value_kind) {
                // What has no value is not there.
                continue;
            }
            let known = add(value, &mut entry);
            if let (Some(map_key), Some(known)) = (map_key, known) {
                types.insert(map_key, known);
            }
            push(parts, whole(field.number(), entry));
        }
        (!types.is_empty()).then_some(Reflected::Map(types))
    }

    /// Writes a key. What is returned is the key for the types, of which only those of text have any.
    fn key(&mut self, kind: &Kind, key: &str, path: &str, out: &mut Vec<u8>) -> Option<Option<MapKey>> {
        let (form, value) = match kind {
            Kind::String => (Some(Form::Text), Some(Value::from(key))),
            Kind::Bool => (Some(Form::Bool), key.parse().ok().map(Value::Bool)),
            kind => (Int::of(kind).map(Form::Int), key.parse().ok().map(Value::Int64)),
        };
        let written = form
            .zip(value)
            .map(|(form, value)| form.write(Some(KEY), false, &value, out));
        match written {
            Some(Ok(())) => Some((*kind == Kind::String).then(|| MapKey::String(key.to_owned()))),
            Some(Err(reason)) => {
                self.refuse(path, reason);
                None
            }
            None => {
                self.refuse(path, "the key is of another type");
                None
            }
        }
    }
}

// === impl Compiled ===

impl Compiled {
    /// The part, and what is known of its types.
    fn split(self) -> (Part, Option<Reflected>) {
        match self {
            Self::Part(part) => (part, None),
            Self::Typed(part, value_type) => (part, Some(Reflected::EnumNumber(value_type.to_wire() as i32))),
            Self::Message(part, types) => (part, types.map(Reflected::Message)),
        }
    }
}

/// Adds a part to others; returns what is known of its types.
fn add(compiled: Option<Compiled>, parts: &mut Vec<Part>) -> Option<Reflected> {
    let (part, known) = compiled?.split();
    push(parts, part);
    known
}

/// A field of parts; of constants alone it is a constant.
fn whole(number: u32, parts: Vec<Part>) -> Part {
    match parts.as_slice() {
        [] => constant(number, &[]),
        [Part::Constant(bytes)] => constant(number, bytes),
        _ => Part::Nested(number, parts),
    }
}

fn constant(number: u32, content: &[u8]) -> Part {
    let mut out = Vec::new();
    put_bytes(number, content, &mut out);
    Part::Constant(out)
}

fn wrapped_or_any(kind: &Kind) -> bool {
    matches!(kind, Kind::Message(message) if is_any(message) || wrapped(message).is_some())
}

fn is_string_map(entry: &MessageDescriptor) -> bool {
    entry.map_entry_key_field().kind() == Kind::String && entry.map_entry_value_field().kind() == Kind::String
}

fn message_of(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) => Some(message),
        _ => None,
    }
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}
