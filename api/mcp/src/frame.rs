//! `Resources` with shared content: what is the same for every stream is encoded once and copied as bytes.
//!
//! On the wire a [`Frame`] is `istio.mcp.v1alpha1.Resources`, field by field, or `MeshConfigResponse` for sinks of the
//! generation before.

use std::marker::PhantomData;

use bytes::{BufMut, Bytes, BytesMut};
use mesh_api::istio::mcp::v1alpha1::Resource;
use prost::Message;
use prost::encoding::{self, WireType};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

const VERSION: u32 = 1;
const COLLECTION: u32 = 2;
const RESOURCES: u32 = 3;
const REMOVED: u32 = 4;
const NONCE: u32 = 5;
const INCREMENTAL: u32 = 6;

/// The fields of the legacy `MeshConfigResponse`; the version has the same number.
mod legacy {
    pub(super) const RESOURCES: u32 = 2;
    pub(super) const TYPE_URL: u32 = 3;
    pub(super) const NONCE: u32 = 4;
}

/// A response whose resources are encoded already.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    pub(crate) version: String,
    pub(crate) collection: String,
    /// Records of the `resources` field.
    pub(crate) records: Vec<Bytes>,
    pub(crate) removed: Vec<String>,
    pub(crate) nonce: String,
    pub(crate) incremental: bool,
    /// To be written as `MeshConfigResponse`. Then each of the records is a single resource.
    pub(crate) legacy: bool,
}

/// The codec of the source: frames out, requests in.
#[derive(Debug)]
pub(crate) struct FrameCodec<Q>(PhantomData<fn() -> Q>);

/// Writes frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameEncoder;

/// A resource as a record of the `resources` field: key, length, content.
pub(crate) fn resource_record(resource: &Resource) -> Bytes {
    let mut record = BytesMut::with_capacity(encoding::message::encoded_len(RESOURCES, resource));
    encoding::message::encode(RESOURCES, resource, &mut record);
    record.freeze()
}

// === impl Frame ===

impl Frame {
    /// Length of the encoded response in bytes, which is the same in both generations.
    pub(crate) fn encoded_len(&self) -> usize {
        string_len(VERSION, &self.version)
            + string_len(COLLECTION, &self.collection)
            + self.records.iter().map(Bytes::len).sum::<usize>()
            + encoding::string::encoded_len_repeated(REMOVED, &self.removed)
            + string_len(NONCE, &self.nonce)
            + if self.incremental {
                encoding::bool::encoded_len(INCREMENTAL, &true)
            } else {
                0
            }
    }

    fn encode(&self, buf: &mut impl BufMut) {
        if self.legacy {
            return self.encode_legacy(buf);
        }
        encode_string(VERSION, &self.version, buf);
        encode_string(COLLECTION, &self.collection, buf);
        for record in &self.records {
            buf.put_slice(record);
        }
        encoding::string::encode_repeated(REMOVED, &self.removed, buf);
        encode_string(NONCE, &self.nonce, buf);
        if self.incremental {
            encoding::bool::encode(INCREMENTAL, &true, buf);
        }
    }

    /// Records stand under another number here, which is their first byte.
    fn encode_legacy(&self, buf: &mut impl BufMut) {
        encode_string(VERSION, &self.version, buf);
        for record in &self.records {
            encoding::encode_key(legacy::RESOURCES, WireType::LengthDelimited, buf);
            buf.put_slice(record.get(1..).unwrap_or_default());
        }
        encode_string(legacy::TYPE_URL, &self.collection, buf);
        encode_string(legacy::NONCE, &self.nonce, buf);
    }
}

// proto3 leaves out fields that have their default value.

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

// === impl FrameCodec ===

impl<Q> Default for FrameCodec<Q> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Q: Message + Default + Send + 'static> Codec for FrameCodec<Q> {
    type Encode = Frame;
    type Decode = Q;
    type Encoder = FrameEncoder;
    type Decoder = ProstDecoder<Q>;

    fn encoder(&mut self) -> Self::Encoder {
        FrameEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(frame.encoded_len());
        frame.encode(buf);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::istio::mcp::v1alpha1::{MeshConfigResponse, Metadata, Resources};

    use super::*;

    #[test]
    fn a_frame_is_the_generated_message_byte_for_byte() {
        let resource = |name: &str| Resource {
            metadata: Some(Metadata {
                name: name.to_owned(),
                ..Metadata::default()
            }),
            body: None,
        };
        let full = Resources {
            system_version_info: "7".to_owned(),
            collection: "c".to_owned(),
            resources: vec![resource("a/b"), resource("a/c")],
            removed_resources: vec!["x/y".to_owned(), String::new()],
            nonce: "12".to_owned(),
            incremental: true,
        };
        for message in [full, Resources::default()] {
            let frame = Frame {
                version: message.system_version_info.clone(),
                collection: message.collection.clone(),
                records: message.resources.iter().map(resource_record).collect(),
                removed: message.removed_resources.clone(),
                nonce: message.nonce.clone(),
                incremental: message.incremental,
                legacy: false,
            };
            let mut encoded = Vec::new();
            frame.encode(&mut encoded);
            assert_eq!(encoded, message.encode_to_vec());
            assert_eq!(encoded.len(), frame.encoded_len());
        }
    }

    #[test]
    fn g2_a_legacy_frame_is_the_generated_message_byte_for_byte() {
        let resources: Vec<_> = ["a/b", "a/c"]
            .map(|name| Resource {
                metadata: Some(Metadata {
                    name: name.to_owned(),
                    ..Metadata::default()
                }),
                body: None,
            })
            .into();
        let frame = Frame {
            version: "7".to_owned(),
            collection: "c".to_owned(),
            records: resources.iter().map(resource_record).collect(),
            nonce: "12".to_owned(),
            legacy: true,
            ..Frame::default()
        };
        let message = MeshConfigResponse {
            version_info: "7".to_owned(),
            resources,
            type_url: "c".to_owned(),
            nonce: "12".to_owned(),
        };
        let mut encoded = Vec::new();
        frame.encode(&mut encoded);
        assert_eq!(encoded, message.encode_to_vec());
        assert_eq!(encoded.len(), frame.encoded_len());
    }
}
