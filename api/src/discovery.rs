//! The two discovery responses, written by hand so that their resources are framed once and shared by all streams.
//!
//! Encoding a thousand clusters for a thousand proxies one by one costs 200 times as much as handing out the bytes of
//! the whole `resources` field again. On the wire the messages are Envoy's own, byte for byte.

use bytes::{BufMut, Bytes, BytesMut};
use prost::DecodeError;
use prost::Message;
use prost::Name;
use prost::bytes::Buf;
use prost::encoding::{self, DecodeContext, WireType};

use crate::envoy::config::core::v3::ControlPlane;

/// The number of the `resources` field, the same in both responses.
const RESOURCES: u32 = 2;

/// A repeated message field in encoded form: a sequence of records (key, length, body).
///
/// Chunks are shared; cloning costs a reference count each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Framed {
    chunks: Vec<Bytes>,
    len: usize,
}

/// `envoy.service.discovery.v3.DiscoveryResponse`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiscoveryResponse {
    /// Version of this response for its type, opaque to the client (field 1).
    pub version_info: String,
    /// The resources, each an encoded [`crate::Any`] (field 2).
    pub resources: Framed,
    /// Type of all resources (field 4).
    pub type_url: String,
    /// Identifies this response in the answer to it (field 5).
    pub nonce: String,
    /// Who answers (field 6).
    pub control_plane: Option<ControlPlane>,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeltaDiscoveryResponse {
    /// Version of the whole set, for humans (field 1).
    pub system_version_info: String,
    /// Added and changed resources, each an encoded `envoy.service.discovery.v3.Resource` (field 2).
    pub resources: Framed,
    /// Type of all resources (field 4).
    pub type_url: String,
    /// Identifies this response in the answer to it (field 5).
    pub nonce: String,
    /// Names of resources that are gone (field 6).
    pub removed_resources: Vec<String>,
    /// Who answers (field 7).
    pub control_plane: Option<ControlPlane>,
}

// === impl Framed ===

impl Framed {
    /// Frames encoded message bodies.
    pub fn new<'a>(bodies: impl IntoIterator<Item = &'a Bytes>) -> Self {
        let mut buffer = BytesMut::new();
        for body in bodies {
            Self::put(&mut buffer, body);
        }
        Self::from_records(buffer.freeze())
    }

    /// Takes records that were framed before.
    pub fn from_records(records: Bytes) -> Self {
        let mut framed = Self::default();
        framed.push(records);
        framed
    }

    /// Appends the records of another sequence; nothing is copied.
    pub fn extend(&mut self, other: &Self) {
        self.chunks.extend(other.chunks.iter().cloned());
        self.len += other.len;
    }

    /// Writes one body as a record.
    pub fn put(buffer: &mut BytesMut, body: &Bytes) {
        encoding::bytes::encode(RESOURCES, body, buffer);
    }

    /// Length of all records in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The message bodies, in order.
    ///
    /// # Errors
    ///
    /// When the records are malformed, which decoding has ruled out for responses that came from a peer.
    pub fn bodies(&self) -> Result<Vec<Bytes>, DecodeError> {
        let mut bodies = Vec::new();
        for chunk in &self.chunks {
            let mut chunk = chunk.clone();
            while chunk.has_remaining() {
                let (_, wire_type) = encoding::decode_key(&mut chunk)?;
                let mut body = Bytes::new();
                encoding::bytes::merge(wire_type, &mut body, &mut chunk, DecodeContext::default())?;
                bodies.push(body);
            }
        }
        Ok(bodies)
    }

    fn push(&mut self, records: Bytes) {
        if !records.is_empty() {
            self.len += records.len();
            self.chunks.push(records);
        }
    }

    fn encode(&self, buf: &mut impl BufMut) {
        for chunk in &self.chunks {
            buf.put_slice(chunk);
        }
    }

    fn merge(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut body = Bytes::new();
        encoding::bytes::merge(wire_type, &mut body, buf, ctx)?;
        let mut record = BytesMut::with_capacity(body.len() + 6);
        Self::put(&mut record, &body);
        self.push(record.freeze());
        Ok(())
    }
}

// === impl DiscoveryResponse ===

impl Message for DiscoveryResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encode_string(1, &self.version_info, buf);
        self.resources.encode(buf);
        encode_string(4, &self.type_url, buf);
        encode_string(5, &self.nonce, buf);
        encode_message(6, self.control_plane.as_ref(), buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::string::merge(wire_type, &mut self.version_info, buf, ctx),
            RESOURCES => self.resources.merge(wire_type, buf, ctx),
            4 => encoding::string::merge(wire_type, &mut self.type_url, buf, ctx),
            5 => encoding::string::merge(wire_type, &mut self.nonce, buf, ctx),
            6 => encoding::message::merge(wire_type, self.control_plane.get_or_insert_default(), buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        string_len(1, &self.version_info)
            + self.resources.len
            + string_len(4, &self.type_url)
            + string_len(5, &self.nonce)
            + message_len(6, self.control_plane.as_ref())
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Name for DiscoveryResponse {
    const NAME: &'static str = "DiscoveryResponse";
    const PACKAGE: &'static str = "envoy.service.discovery.v3";
}

// === impl DeltaDiscoveryResponse ===

impl Message for DeltaDiscoveryResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encode_string(1, &self.system_version_info, buf);
        self.resources.encode(buf);
        encode_string(4, &self.type_url, buf);
        encode_string(5, &self.nonce, buf);
        encoding::string::encode_repeated(6, &self.removed_resources, buf);
        encode_message(7, self.control_plane.as_ref(), buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::string::merge(wire_type, &mut self.system_version_info, buf, ctx),
            RESOURCES => self.resources.merge(wire_type, buf, ctx),
            4 => encoding::string::merge(wire_type, &mut self.type_url, buf, ctx),
            5 => encoding::string::merge(wire_type, &mut self.nonce, buf, ctx),
            6 => encoding::string::merge_repeated(wire_type, &mut self.removed_resources, buf, ctx),
            7 => encoding::message::merge(wire_type, self.control_plane.get_or_insert_default(), buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        string_len(1, &self.system_version_info)
            + self.resources.len
            + string_len(4, &self.type_url)
            + string_len(5, &self.nonce)
            + encoding::string::encoded_len_repeated(6, &self.removed_resources)
            + message_len(7, self.control_plane.as_ref())
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Name for DeltaDiscoveryResponse {
    const NAME: &'static str = "DeltaDiscoveryResponse";
    const PACKAGE: &'static str = "envoy.service.discovery.v3";
}

fn encode_string(tag: u32, value: &String, buf: &mut impl BufMut) {
    if !value.is_empty() {
        encoding::string::encode(tag, value, buf);
    }
}

fn string_len(tag: u32, value: &String) -> usize {
    if value.is_empty() {
        0
    } else {
        encoding::string::encoded_len(tag, value)
    }
}

fn encode_message(tag: u32, value: Option<&impl Message>, buf: &mut impl BufMut) {
    if let Some(value) = value {
        encoding::message::encode(tag, value, buf);
    }
}

fn message_len(tag: u32, value: Option<&impl Message>) -> usize {
    value.map_or(0, |value| encoding::message::encoded_len(tag, value))
}

#[cfg(test)]
mod tests {
    use prost_reflect::{DynamicMessage, ReflectMessage};

    use super::*;
    use crate::envoy::service::discovery::v3::Resource;
    use crate::{Any, descriptors, type_url};

    fn any(body: &'static str) -> Bytes {
        let any = Any {
            type_url: type_url::CLUSTER.to_owned(),
            value: Bytes::from_static(body.as_bytes()),
        };
        any.encode_to_vec().into()
    }

    /// Reads `encoded` through Envoy's own descriptor and writes it again.
    fn by_descriptor(name: &str, encoded: &[u8]) -> DynamicMessage {
        let descriptor = descriptors().get_message_by_name(name).expect("known message");
        let message = DynamicMessage::decode(descriptor, encoded).expect("decodes");
        assert_eq!(
            message.unknown_fields().count(),
            0,
            "{name} has fields that Envoy does not know"
        );
        assert_eq!(message.encode_to_vec(), encoded);
        assert_eq!(message.descriptor().full_name(), name);
        message
    }

    #[test]
    fn discovery_response_is_envoys_byte_for_byte() {
        let mut resources = Framed::new([&any("a"), &any("b")]);
        resources.extend(&Framed::new([&any("c")]));
        let response = DiscoveryResponse {
            version_info: "v1".into(),
            resources,
            type_url: type_url::CLUSTER.into(),
            nonce: "n".into(),
            control_plane: Some(ControlPlane {
                identifier: "pilot".into(),
            }),
        };
        let encoded = response.encode_to_vec();
        assert_eq!(encoded.len(), response.encoded_len());
        by_descriptor("envoy.service.discovery.v3.DiscoveryResponse", &encoded);

        let decoded = DiscoveryResponse::decode(&encoded[..]).expect("decodes");
        assert_eq!(
            decoded.resources.bodies().expect("bodies"),
            [any("a"), any("b"), any("c")]
        );
        assert_eq!(decoded.encode_to_vec(), encoded);
    }

    #[test]
    fn delta_discovery_response_is_envoys_byte_for_byte() {
        let resource = Resource {
            name: "a".into(),
            version: "1".into(),
            resource: Some(Any {
                type_url: type_url::CLUSTER.to_owned(),
                value: Bytes::new(),
            }),
            ..Resource::default()
        };
        let resource = Bytes::from(resource.encode_to_vec());
        let response = DeltaDiscoveryResponse {
            system_version_info: "v1".into(),
            resources: Framed::new([&resource]),
            type_url: type_url::CLUSTER.into(),
            nonce: "n".into(),
            removed_resources: vec!["gone".into(), "too".into()],
            control_plane: None,
        };
        let encoded = response.encode_to_vec();
        assert_eq!(encoded.len(), response.encoded_len());
        by_descriptor("envoy.service.discovery.v3.DeltaDiscoveryResponse", &encoded);
        let decoded = DeltaDiscoveryResponse::decode(&encoded[..]).expect("decodes");
        assert_eq!(decoded.removed_resources, ["gone", "too"]);
        assert_eq!(decoded.encode_to_vec(), encoded);
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        for length in 0..16 {
            let garbage = vec![0x12; length];
            let _ = DiscoveryResponse::decode(&garbage[..]);
            let _ = Framed::from_records(garbage.into()).bodies();
        }
    }
}
