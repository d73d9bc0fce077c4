//! Canonical proto JSON of any message, by its descriptor.

use prost::Name;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use crate::{Any, descriptors};

/// Why a message has no JSON form.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The message is not among [`descriptors`].
    #[error("message {0} is unknown")]
    UnknownMessage(String),
    /// The bytes are not the message they claim to be.
    #[error("message {name} does not decode: {source}")]
    Decode {
        /// Full name of the message.
        name: String,
        /// What the decoder said.
        source: prost::DecodeError,
    },
    /// The message holds something that JSON cannot carry, such as an unknown packed message.
    #[error("message {name} has no JSON form: {reason}")]
    Serialize {
        /// Full name of the message.
        name: String,
        /// What the serializer said.
        reason: String,
    },
}

/// The JSON form of a message. Packed messages (`Any`) are expanded.
///
/// # Errors
///
/// See [`JsonError`].
pub fn to_value<M: Name>(message: &M) -> Result<Value, JsonError> {
    encoded_to_value(&M::full_name(), &message.encode_to_vec())
}

/// The JSON form of a packed message, with its `@type`.
///
/// # Errors
///
/// See [`JsonError`].
pub fn any_to_value(any: &Any) -> Result<Value, JsonError> {
    let mut value = encoded_to_value(any.message_name(), &any.value)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("@type".to_owned(), Value::String(any.type_url.clone()));
    }
    Ok(value)
}

/// The JSON form of the encoded message `name`.
///
/// # Errors
///
/// See [`JsonError`].
pub fn encoded_to_value(name: &str, encoded: &[u8]) -> Result<Value, JsonError> {
    let descriptor = descriptors()
        .get_message_by_name(name)
        .ok_or_else(|| JsonError::UnknownMessage(name.to_owned()))?;
    described_to_value(descriptor, encoded)
}

/// The JSON form of an encoded message that somebody describes.
///
/// # Errors
///
/// See [`JsonError`].
pub fn described_to_value(descriptor: MessageDescriptor, encoded: &[u8]) -> Result<Value, JsonError> {
    let name = descriptor.full_name().to_owned();
    let message = DynamicMessage::decode(descriptor, encoded).map_err(|source| JsonError::Decode {
        name: name.clone(),
        source,
    })?;
    let options = SerializeOptions::new().stringify_64_bit_integers(false);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| JsonError::Serialize {
            name,
            reason: error.to_string(),
        })
}
