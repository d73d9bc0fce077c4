//! Numbers, strings, booleans, bytes and enums.

use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{EnumDescriptor, Kind as FieldKind};
use serde_json::{Number, Value};

use super::wire::{mismatch, put_bytes, shortened};
use super::{base64, suggest};

/// A scalar in encoded form.
#[derive(Debug)]
pub(super) enum Scalar {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    Bytes(Vec<u8>),
}

// === impl Scalar ===

impl Scalar {
    /// Whether this is what an absent field means.
    pub(super) fn is_default(&self) -> bool {
        match self {
            Self::Varint(value) => *value == 0,
            Self::Fixed32(value) => *value == [0; 4],
            Self::Fixed64(value) => *value == [0; 8],
            Self::Bytes(value) => value.is_empty(),
        }
    }

    /// Writes a record: key and value.
    pub(super) fn put(&self, number: u32, out: &mut Vec<u8>) {
        match self {
            Self::Varint(_) => encode_key(number, WireType::Varint, out),
            Self::Fixed32(_) => encode_key(number, WireType::ThirtyTwoBit, out),
            Self::Fixed64(_) => encode_key(number, WireType::SixtyFourBit, out),
            Self::Bytes(value) => return put_bytes(number, value, out),
        }
        self.put_bare(out);
    }

    /// Writes the value without key, as packed lists have it.
    pub(super) fn put_bare(&self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(value) => encode_varint(*value, out),
            Self::Fixed32(value) => out.extend_from_slice(value),
            Self::Fixed64(value) => out.extend_from_slice(value),
            Self::Bytes(value) => out.extend_from_slice(value),
        }
    }
}

/// Reads a scalar of a field.
pub(super) fn read(kind: &FieldKind, value: &Value) -> Result<Scalar, String> {
    Ok(match kind {
        FieldKind::String => Scalar::Bytes(string(value)?.to_owned().into_bytes()),
        FieldKind::Bytes => {
            let text = value.as_str().ok_or_else(|| mismatch("base64 text", value))?;
            Scalar::Bytes(base64::decode(text).ok_or_else(|| mismatch("base64 text", value))?)
        }
        FieldKind::Bool => Scalar::Varint(u64::from(
            value.as_bool().ok_or_else(|| mismatch("true or false", value))?,
        )),
        FieldKind::Enum(descriptor) => enumeration(descriptor, value)?,
        FieldKind::Double => Scalar::Fixed64(float(value)?.to_le_bytes()),
        // What a float cannot hold exactly is rounded, as everywhere.
        #[allow(clippy::cast_possible_truncation)]
        FieldKind::Float => Scalar::Fixed32((float(value)? as f32).to_le_bytes()),
        _ => integer(kind, value)?,
    })
}

/// Reads the key of a map entry, which JSON always has as a string.
pub(super) fn read_key(kind: &FieldKind, key: &str) -> Result<Scalar, String> {
    match kind {
        FieldKind::String => Ok(Scalar::Bytes(key.as_bytes().to_vec())),
        FieldKind::Bool => match key {
            "true" => Ok(Scalar::Varint(1)),
            "false" => Ok(Scalar::Varint(0)),
            _ => Err(format!(
                "expected true or false as key, found {:?}",
                shortened(key)
            )),
        },
        _ => integer(kind, &Value::String(key.to_owned())),
    }
}

/// A string. Numbers and booleans that should be one are the most frequent mistake: the hint says how to write it.
pub(super) fn string(value: &Value) -> Result<&str, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(_) | Value::Bool(_) => {
            Err(format!("{}; put it in quotes", mismatch("a string", value)))
        }
        _ => Err(mismatch("a string", value)),
    }
}

fn integer(kind: &FieldKind, value: &Value) -> Result<Scalar, String> {
    let number = match value {
        Value::Number(number) => whole(number),
        // Canonical JSON has 64-bit numbers as strings, and accepts strings for all.
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let number: i128 = number.ok_or_else(|| mismatch("a whole number", value))?;
    let (low, high): (i128, i128) = match kind {
        FieldKind::Int32 | FieldKind::Sint32 | FieldKind::Sfixed32 => (i32::MIN.into(), i32::MAX.into()),
        FieldKind::Uint32 | FieldKind::Fixed32 => (0, u32::MAX.into()),
        FieldKind::Uint64 | FieldKind::Fixed64 => (0, u64::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    };
    if !(low..=high).contains(&number) {
        return Err(format!("{number} is out of range ({low} to {high})"));
    }
    // Within the range checked above, every cast keeps the value or is two's complement as protobuf wants it.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(match kind {
        FieldKind::Fixed32 | FieldKind::Sfixed32 => Scalar::Fixed32((number as u32).to_le_bytes()),
        FieldKind::Fixed64 | FieldKind::Sfixed64 => Scalar::Fixed64((number as u64).to_le_bytes()),
        FieldKind::Sint32 | FieldKind::Sint64 => {
            let number = number as i64;
            Scalar::Varint(((number << 1) ^ (number >> 63)) as u64)
        }
        _ => Scalar::Varint(number as i64 as u64),
    })
}

/// `80` and `80.0`, not `80.5`.
fn whole(number: &Number) -> Option<i128> {
    if let Some(number) = number.as_i64() {
        return Some(number.into());
    }
    if let Some(number) = number.as_u64() {
        return Some(number.into());
    }
    let number = number.as_f64()?;
    // Beyond 2^53 a float no longer says which whole number was meant.
    #[allow(clippy::cast_possible_truncation)]
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i128)
}

fn float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|number: &f64| number.is_finite()),
        },
        _ => None,
    }
    .ok_or_else(|| mismatch("a number", value))
}

fn enumeration(descriptor: &EnumDescriptor, value: &Value) -> Result<Scalar, String> {
    let number = match value {
        Value::String(name) => {
            let value = descriptor.get_value_by_name(name).ok_or_else(|| {
                let names: Vec<_> = descriptor.values().map(|value| value.name().to_owned()).collect();
                let mut reason = suggest::unknown("value", name, names.iter().map(String::as_str));
                if !reason.ends_with('?') {
                    reason.push_str(&format!(", expected one of {}", names.join(", ")));
                }
                reason
            })?;
            value.number()
        }
        Value::Number(number) => whole(number)
            .and_then(|number| i32::try_from(number).ok())
            .filter(|number| descriptor.get_value(*number).is_some())
            .ok_or_else(|| format!("unknown value {number}"))?,
        _ => return Err(mismatch("the name of a value", value)),
    };
    #[allow(
        clippy::cast_sign_loss,
        reason = "two's complement, as protobuf encodes enums"
    )]
    Ok(Scalar::Varint(i64::from(number) as u64))
}
