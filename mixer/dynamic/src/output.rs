//! What an adapter put out (`spec 02` §10.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use mixer_attribute::{StringMap, Value, ValueType};
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value as Reflected};

use crate::template::Template;

/// Values in the order of [`Template::outputs`]; what the adapter did not set is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output(Vec<Option<Value<'static>>>);

// === impl Output ===

impl Output {
    /// Reads the message that the template calls its output.
    ///
    /// # Errors
    ///
    /// When the bytes are not that message.
    pub fn read(template: &Template, encoded: &[u8]) -> Result<Self, prost::DecodeError> {
        let Some(descriptor) = &template.output else {
            return Ok(Self::default());
        };
        let message = DynamicMessage::decode(descriptor.clone(), encoded)?;
        let value = |(field, value_type): &(prost_reflect::FieldDescriptor, ValueType)| {
            let is_set = message.has_field(field);
            is_set
                .then(|| value(&message.get_field(field), *value_type))
                .flatten()
        };
        Ok(Self(template.outputs.iter().map(value).collect()))
    }

    /// The values.
    #[must_use]
    pub fn into_values(self) -> Vec<Option<Value<'static>>> {
        self.0
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &[Option<Value<'static>>] {
        &self.0
    }
}

fn value(value: &Reflected, value_type: ValueType) -> Option<Value<'static>> {
    Some(match value {
        Reflected::Bool(value) => Value::Bool(*value),
        Reflected::I32(value) | Reflected::EnumNumber(value) => Value::Int64(i64::from(*value)),
        Reflected::I64(value) => Value::Int64(*value),
        Reflected::U32(value) => Value::Int64(i64::from(*value)),
        Reflected::U64(value) => Value::Int64(i64::try_from(*value).ok()?),
        Reflected::F32(value) => Value::Double(f64::from(*value)),
        Reflected::F64(value) => Value::Double(*value),
        Reflected::String(text) => Value::String(text.clone().into()),
        Reflected::Message(message) => wrapped(message, value_type)?,
        Reflected::Map(entries) => {
            let entries: BTreeMap<Arc<str>, Arc<str>> = entries
                .iter()
                .filter_map(|(key, value)| Some((key.as_str()?.into(), value.as_str()?.into())))
                .collect();
            Value::StringMap(StringMap::from(Arc::new(entries)))
        }
        Reflected::Bytes(_) | Reflected::List(_) => return None,
    })
}

/// The value of a message that wraps one. A wrapper around nothing is absent, and so is what no attribute can be.
fn wrapped(message: &DynamicMessage, value_type: ValueType) -> Option<Value<'static>> {
    let field = message.descriptor().get_field_by_name("value")?;
    if !message.has_field(&field) {
        return None;
    }
    let inner = message.get_field(&field);
    match value_type {
        ValueType::IpAddress => Value::address(inner.as_bytes()?),
        ValueType::Timestamp => {
            let (seconds, nanos) = time(inner.as_message()?)?;
            Value::timestamp(seconds, nanos)
        }
        ValueType::Duration => {
            let (seconds, nanos) = time(inner.as_message()?)?;
            Value::duration(seconds, nanos)
        }
        ValueType::EmailAddress | ValueType::DnsName | ValueType::Uri => {
            Some(Value::String(inner.as_str()?.to_owned().into()))
        }
        _ => None,
    }
}

fn time(message: &DynamicMessage) -> Option<(i64, i32)> {
    let seconds = message.get_field_by_name("seconds")?.as_i64()?;
    let nanos = message.get_field_by_name("nanos")?.as_i32()?;
    Some((seconds, nanos))
}
