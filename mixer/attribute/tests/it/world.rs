//! Attributes and messages for the tests.

use std::sync::Arc;

use mesh_api::istio::mixer::v1::CompressedAttributes;
use mixer_attribute::{
    Bag, Compressed, DecodeError, Decoder, Undecodable, Value, ValueType, Vocabulary, Words,
};
use prost::Message;

/// One attribute of every type, and one that is in no dictionary.
pub(crate) const ATTRIBUTES: [(&str, ValueType); 13] = [
    ("source.uid", ValueType::String),
    ("source.ip", ValueType::IpAddress),
    ("destination.port", ValueType::Int64),
    ("request.time", ValueType::Timestamp),
    ("response.duration", ValueType::Duration),
    ("connection.mtls", ValueType::Bool),
    ("request.headers", ValueType::StringMap),
    ("test.double", ValueType::Double),
    ("test.email", ValueType::EmailAddress),
    ("test.uri", ValueType::Uri),
    ("destination.service.host", ValueType::DnsName),
    ("origin.ip", ValueType::IpAddress),
    ("request.path", ValueType::String),
];

pub(crate) fn decoder() -> Decoder {
    let mut vocabulary = Vocabulary::default();
    for (name, value_type) in ATTRIBUTES {
        vocabulary.add(name, value_type).expect("each is there once");
    }
    Decoder::new(Arc::new(vocabulary))
}

/// A value that a decoder found, without the loan.
pub(crate) fn get(decoder: &Decoder, bag: &Bag<'_>, name: &str) -> Option<Value<'static>> {
    let id = decoder.vocabulary().id(name).expect("it is in the vocabulary");
    bag.get(id).cloned().map(Value::into_owned)
}

/// Values by name, and why others are not there.
pub(crate) type Found = (Vec<(&'static str, Value<'static>)>, Vec<Undecodable>);

/// Reads a complete set: the values that are there, and why others are not.
pub(crate) fn read(set: &CompressedAttributes) -> Result<Found, DecodeError> {
    read_bytes(&set.encode_to_vec())
}

/// As [`read`], from any bytes.
pub(crate) fn read_bytes(bytes: &[u8]) -> Result<Found, DecodeError> {
    let decoder = decoder();
    let words = Words::default();
    let mut reader = decoder.reader(&words);
    let mut bag = Bag::new(decoder.vocabulary());
    reader.read(&mut bag, Compressed(bytes))?;
    let values = ATTRIBUTES
        .iter()
        .filter_map(|(name, _)| Some((*name, get(&decoder, &bag, name)?)))
        .collect();
    Ok((values, reader.absent().to_vec()))
}

/// Words of a message.
pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}
