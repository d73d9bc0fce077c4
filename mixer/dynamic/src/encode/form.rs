//! How the value of an expression stands in a field.

use std::convert::Infallible;
use std::net::IpAddr;

use mixer_attribute::{Value, ValueType};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor};

use super::{nested, put_bytes};

/// Where the types of Mixer's values are.
const PACKAGE: &str = "istio.policy.v1beta1.";

/// The field of a wrapper that holds its value.
const WRAPPED: u32 = 1;

/// How a value stands in a field.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Text,
    Bool,
    Int(Int),
    Float,
    Double,
    /// A value of an enumeration, by number or by name.
    Enum(EnumDescriptor),
    /// `Value`: of any type.
    Any(ValueType),
    /// A message that wraps a value of this type.
    Wrapper(ValueType),
    /// A map of text by text.
    StringMap,
}

/// How a whole number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Int {
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
}

/// The type of value that a message wraps; `None` for all other messages.
pub(crate) fn wrapped(message: &MessageDescriptor) -> Option<ValueType> {
    Some(match message.full_name().strip_prefix(PACKAGE)? {
        "IPAddress" => ValueType::IpAddress,
        "TimeStamp" => ValueType::Timestamp,
        "Duration" => ValueType::Duration,
        "EmailAddress" => ValueType::EmailAddress,
        "DNSName" => ValueType::DnsName,
        "Uri" => ValueType::Uri,
        _ => return None,
    })
}

/// Whether a message holds a value of any type.
pub(super) fn is_any(message: &MessageDescriptor) -> bool {
    message.full_name().strip_prefix(PACKAGE) == Some("Value")
}

// === impl Int ===

impl Int {
    pub(super) fn of(kind: &Kind) -> Option<Self> {
        Some(match kind {
            Kind::Int32 => Self::Int32,
            Kind::Int64 => Self::Int64,
            Kind::Uint32 => Self::Uint32,
            Kind::Uint64 => Self::Uint64,
            Kind::Sint32 => Self::Sint32,
            Kind::Sint64 => Self::Sint64,
            Kind::Fixed32 => Self::Fixed32,
            Kind::Fixed64 => Self::Fixed64,
            Kind::Sfixed32 => Self::Sfixed32,
            Kind::Sfixed64 => Self::Sfixed64,
            _ => return None,
        })
    }

    fn write(self, number: Option<u32>, value: i64, out: &mut Vec<u8>) -> Result<(), Box<str>> {
        let fits = match self {
            Self::Int32 | Self::Sint32 | Self::Sfixed32 => i32::try_from(value).is_ok(),
            Self::Uint32 | Self::Fixed32 => u32::try_from(value).is_ok(),
            Self::Uint64 | Self::Fixed64 => value >= 0,
            Self::Int64 | Self::Sint64 | Self::Sfixed64 => true,
        };
        if !fits {
            return Err(format!("{value} does not fit in the field").into());
        }
        // Two's complement in all of them, so that widths are all there is to them.
        let bits = value.cast_unsigned();
        match self {
            Self::Int32 | Self::Int64 | Self::Uint32 | Self::Uint64 => varint(number, bits, out),
            Self::Sint32 | Self::Sint64 => {
                varint(number, ((value << 1) ^ (value >> 63)).cast_unsigned(), out);
            }
            Self::Fixed32 | Self::Sfixed32 => {
                key(number, WireType::ThirtyTwoBit, out);
                out.extend(&bits.to_le_bytes()[..4]);
            }
            Self::Fixed64 | Self::Sfixed64 => {
                key(number, WireType::SixtyFourBit, out);
                out.extend(bits.to_le_bytes());
            }
        }
        Ok(())
    }
}

// === impl Form ===

impl Form {
    /// Writes a value as a field, or as an element of a packed list. `implicit`: a zero need not be written.
    pub(super) fn write(
        &self,
        number: Option<u32>,
        implicit: bool,
        value: &Value<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Box<str>> {
        match (self, value) {
            (Self::Text, Value::String(text)) => {
                if !(implicit && text.is_empty()) {
                    put_bytes(number.unwrap_or_default(), text.as_bytes(), out);
                }
            }
            (Self::Bool, Value::Bool(value)) => {
                if !implicit || *value {
                    varint(number, u64::from(*value), out);
                }
            }
            (Self::Int(int), Value::Int64(value)) => {
                if !implicit || *value != 0 {
                    int.write(number, *value, out)?;
                }
            }
            (Self::Double, Value::Double(value)) => {
                if !implicit || value.to_bits() != 0 {
                    key(number, WireType::SixtyFourBit, out);
                    out.extend(value.to_le_bytes());
                }
            }
            (Self::Float, Value::Double(value)) => {
                let value = *value as f32;
                if !implicit || value.to_bits() != 0 {
                    key(number, WireType::ThirtyTwoBit, out);
                    out.extend(value.to_le_bytes());
                }
            }
            (Self::Enum(_), Value::Int64(value)) => {
                if !implicit || *value != 0 {
                    Int::Int32.write(number, *value, out)?;
                }
            }
            (Self::Enum(known), Value::String(name)) => {
                let found = known
                    .get_value_by_name(name)
                    .ok_or_else(|| format!("{} has no value {name:?}", known.name()))?;
                if !implicit || found.number() != 0 {
                    Int::Int32.write(number, i64::from(found.number()), out)?;
                }
            }
            (Self::Any(value_type), value) => put_any(number.unwrap_or_default(), *value_type, value, out),
            (Self::Wrapper(_), value) => put_wrapped(number.unwrap_or_default(), value, out),
            (Self::StringMap, Value::StringMap(map)) => map.for_each(|key, value| {
                message(number.unwrap_or_default(), out, |out| {
                    put_bytes(1, key.as_bytes(), out);
                    put_bytes(2, value.as_bytes(), out);
                });
            }),
            // The compiler has seen to it that there are no others.
            _ => return Err("the value is of another type".into()),
        }
        Ok(())
    }
}

/// `istio.policy.v1beta1.Value`.
fn put_any(number: u32, value_type: ValueType, value: &Value<'_>, out: &mut Vec<u8>) {
    message(number, out, |out| match value {
        Value::String(text) => match value_type {
            ValueType::EmailAddress => put_wrapped(8, value, out),
            ValueType::DnsName => put_wrapped(9, value, out),
            ValueType::Uri => put_wrapped(10, value, out),
            _ => put_bytes(1, text.as_bytes(), out),
        },
        Value::Int64(value) => varint(Some(2), value.cast_unsigned(), out),
        Value::Double(value) => {
            key(Some(3), WireType::SixtyFourBit, out);
            out.extend(value.to_le_bytes());
        }
        Value::Bool(value) => varint(Some(4), u64::from(*value), out),
        Value::IpAddress(_) => put_wrapped(5, value, out),
        Value::Timestamp(_) => put_wrapped(6, value, out),
        Value::Duration(_) => put_wrapped(7, value, out),
        // Refused when it was compiled.
        Value::StringMap(_) => {}
    });
}

/// A message with one field that holds the value.
fn put_wrapped(number: u32, value: &Value<'_>, out: &mut Vec<u8>) {
    message(number, out, |out| match value {
        Value::String(text) => put_bytes(WRAPPED, text.as_bytes(), out),
        Value::IpAddress(IpAddr::V4(address)) => put_bytes(WRAPPED, &address.octets(), out),
        Value::IpAddress(IpAddr::V6(address)) => put_bytes(WRAPPED, &address.octets(), out),
        Value::Timestamp(time) => put_bytes(WRAPPED, &time.encode_to_vec(), out),
        Value::Duration(time) => put_bytes(WRAPPED, &time.encode_to_vec(), out),
        Value::Int64(_) | Value::Double(_) | Value::Bool(_) | Value::StringMap(_) => {}
    });
}

fn message(number: u32, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let Ok(()) = nested(number, out, |out| {
        fill(out);
        Ok::<(), Infallible>(())
    });
}

fn varint(number: Option<u32>, value: u64, out: &mut Vec<u8>) {
    key(number, WireType::Varint, out);
    encode_varint(value, out);
}

fn key(number: Option<u32>, wire_type: WireType, out: &mut Vec<u8>) {
    if let Some(number) = number {
        encode_key(number, wire_type, out);
    }
}
