//! `Resources` with shared content: what is the same for every stream is encoded once and copied as bytes.
//!
//! On the wire a [`Frame`] is `istio.mcp.v1alpha1.Resources`, field by field.

use bytes::{BufMut, Bytes, BytesMut};
use mesh_api::istio::mcp::v1alpha1::{RequestResources, Resource};
use prost::encoding;
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

const VERSION: u32 = 1;
const COLLECTION: u32 = 2;
const RESOURCES: u32 = 3;
const REMOVED: u32 = 4;
const NONCE: u32 = 5;
const INCREMENTAL: u32 = 6;

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
}

/// The codec of the source: frames out, requests in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameCodec;

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
    /// Length of the encoded response in bytes.
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

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = RequestResources;
    type Encoder = FrameEncoder;
    type Decoder = ProstDecoder<RequestResources>;

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
    use mesh_api::istio::mcp::v1alpha1::{Metadata, Resources};
    use prost::Message as _;

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
            };
            let mut encoded = Vec::new();
            frame.encode(&mut encoded);
            assert_eq!(encoded, message.encode_to_vec());
            assert_eq!(encoded.len(), frame.encoded_len());
        }
    }
}
