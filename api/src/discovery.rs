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

/// Bodies of this length and more are shared rather than copied: below it, a chunk costs more than its bytes.
const SHARED: usize = 4096;

/// Writes records.
#[derive(Debug, Default)]
struct Framer {
    framed: Framed,
    buffer: BytesMut,
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

    /// Frames resources for a state-of-the-world response: each an `Any` of its type.
    ///
    /// Large bodies become chunks of their own and are shared with their resource.
    pub fn of_anys<'a>(type_url: &str, bodies: impl IntoIterator<Item = &'a Bytes>) -> Self {
        let mut framer = Framer::default();
        for body in bodies {
            let any = any_len(type_url, body);
            encoding::encode_key(RESOURCES, WireType::LengthDelimited, &mut framer.buffer);
            encoding::encode_varint(any as u64, &mut framer.buffer);
            framer.any(type_url, body);
        }
        framer.finish()
    }

    /// Frames resources for a delta response: name, version and body of each.
    ///
    /// Large bodies become chunks of their own and are shared with their resource.
    pub fn of_resources<'a>(
        type_url: &str,
        resources: impl IntoIterator<Item = (&'a str, &'a str, &'a Bytes)>,
    ) -> Self {
        let mut framer = Framer::default();
        for (name, version, body) in resources {
            let any = any_len(type_url, body);
            let len = bytes_len(version.as_bytes()) + record_len(any) + bytes_len(name.as_bytes());
            encoding::encode_key(RESOURCES, WireType::LengthDelimited, &mut framer.buffer);
            encoding::encode_varint(len as u64, &mut framer.buffer);
            // Of `envoy.service.discovery.v3.Resource`, in the order of their numbers.
            put_bytes(1, version.as_bytes(), &mut framer.buffer);
            encoding::encode_key(2, WireType::LengthDelimited, &mut framer.buffer);
            encoding::encode_varint(any as u64, &mut framer.buffer);
            framer.any(type_url, body);
            put_bytes(3, name.as_bytes(), &mut framer.buffer);
        }
        framer.finish()
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

    /// The records in chunks. A record may go from one chunk to the next.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// The message bodies, in order.
    ///
    /// # Errors
    ///
    /// When the records are malformed, which decoding has ruled out for responses that came from a peer.
    pub fn bodies(&self) -> Result<Vec<Bytes>, DecodeError> {
        let mut records = match &self.chunks[..] {
            [only] => only.clone(),
            chunks => chunks.concat().into(),
        };
        let mut bodies = Vec::new();
        while records.has_remaining() {
            let (_, wire_type) = encoding::decode_key(&mut records)?;
            let mut body = Bytes::new();
            encoding::bytes::merge(wire_type, &mut body, &mut records, DecodeContext::default())?;
            bodies.push(body);
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

// === impl Framer ===

impl Framer {
    fn any(&mut self, type_url: &str, body: &Bytes) {
        put_bytes(1, type_url.as_bytes(), &mut self.buffer);
        if body.is_empty() {
            return;
        }
        encoding::encode_key(2, WireType::LengthDelimited, &mut self.buffer);
        encoding::encode_varint(body.len() as u64, &mut self.buffer);
        if body.len() < SHARED {
            self.buffer.put_slice(body);
        } else {
            self.flush();
            self.framed.push(body.clone());
        }
    }

    fn flush(&mut self) {
        let records = self.buffer.split().freeze();
        self.framed.push(records);
    }

    fn finish(mut self) -> Framed {
        // The buffer has room to grow, and lives as long as the chunks of it.
        let rest = Bytes::copy_from_slice(&self.buffer);
        self.framed.push(rest);
        self.framed
    }
}

fn any_len(type_url: &str, body: &Bytes) -> usize {
    bytes_len(type_url.as_bytes()) + bytes_len(body)
}

/// The length of a field with a one-byte key; nothing when it is empty.
fn bytes_len(bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        0
    } else {
        record_len(bytes.len())
    }
}

fn record_len(len: usize) -> usize {
    1 + encoding::encoded_len_varint(len as u64) + len
}

fn put_bytes(tag: u32, bytes: &[u8], buffer: &mut BytesMut) {
    if !bytes.is_empty() {
        encoding::encode_key(tag, WireType::LengthDelimited, buffer);
        encoding::encode_varint(bytes.len() as u64, buffer);
        buffer.put_slice(bytes);
    }
}

/// What stands before and behind the resources of a response, and these between.
fn chunks(head: BytesMut, resources: Framed, tail: BytesMut) -> Vec<Bytes> {
    let mut chunks = vec![head.freeze()];
    chunks.extend(resources.chunks);
    chunks.push(tail.freeze());
    chunks.retain(|chunk| !chunk.is_empty());
    chunks
}

// === impl DiscoveryResponse ===

impl DiscoveryResponse {
    /// The encoded message in chunks. Those of the resources are shared, not copied.
    pub fn into_chunks(self) -> Vec<Bytes> {
        let (mut head, mut tail) = (BytesMut::new(), BytesMut::new());
        encode_string(1, &self.version_info, &mut head);
        self.encode_tail(&mut tail);
        chunks(head, self.resources, tail)
    }

    fn encode_tail(&self, buf: &mut impl BufMut) {
        encode_string(4, &self.type_url, buf);
        encode_string(5, &self.nonce, buf);
        encode_message(6, self.control_plane.as_ref(), buf);
    }
}

impl Message for DiscoveryResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encode_string(1, &self.version_info, buf);
        self.resources.encode(buf);
        self.encode_tail(buf);
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

impl DeltaDiscoveryResponse {
    /// The encoded message in chunks. Those of the resources are shared, not copied.
    pub fn into_chunks(self) -> Vec<Bytes> {
        let (mut head, mut tail) = (BytesMut::new(), BytesMut::new());
        encode_string(1, &self.system_version_info, &mut head);
        self.encode_tail(&mut tail);
        chunks(head, self.resources, tail)
    }

    fn encode_tail(&self, buf: &mut impl BufMut) {
        encode_string(4, &self.type_url, buf);
        encode_string(5, &self.nonce, buf);
        encoding::string::encode_repeated(6, &self.removed_resources, buf);
        encode_message(7, self.control_plane.as_ref(), buf);
    }
}

impl Message for DeltaDiscoveryResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encode_string(1, &self.system_version_info, buf);
        self.resources.encode(buf);
        self.encode_tail(buf);
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
    fn resources_are_framed_like_messages_and_large_ones_are_shared() {
        let small = Bytes::from_static(b"small");
        let large = Bytes::from(vec![b'x'; SHARED]);
        let bodies = [&small, &large, &Bytes::new(), &small];
        let any = |value: &Bytes| Any {
            type_url: type_url::CLUSTER.to_owned(),
            value: value.clone(),
        };

        let framed = Framed::of_anys(type_url::CLUSTER, bodies);
        assert_eq!(framed.chunks().len(), 3);
        assert_eq!(framed.chunks()[1].as_ptr(), large.as_ptr());
        let expected: Vec<Bytes> = bodies
            .iter()
            .map(|body| any(body).encode_to_vec().into())
            .collect();
        assert_eq!(framed.bodies().expect("bodies"), expected);

        let framed = Framed::of_resources(type_url::CLUSTER, bodies.map(|body| ("name", "1", body)));
        let expected = bodies.map(|body| Resource {
            name: "name".into(),
            version: "1".into(),
            resource: Some(any(body)),
            ..Resource::default()
        });
        let expected: Vec<Bytes> = expected
            .iter()
            .map(|resource| resource.encode_to_vec().into())
            .collect();
        assert_eq!(framed.bodies().expect("bodies"), expected);

        let response = DeltaDiscoveryResponse {
            system_version_info: "v1".into(),
            resources: framed.clone(),
            type_url: type_url::CLUSTER.into(),
            nonce: "n".into(),
            removed_resources: vec!["gone".into()],
            control_plane: None,
        };
        assert_eq!(response.clone().into_chunks().concat(), response.encode_to_vec());
        let response = DiscoveryResponse {
            version_info: "v1".into(),
            resources: framed,
            type_url: type_url::CLUSTER.into(),
            nonce: "n".into(),
            control_plane: Some(ControlPlane::default()),
        };
        assert_eq!(response.clone().into_chunks().concat(), response.encode_to_vec());
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
