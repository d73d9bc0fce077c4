//! What comes from a source, without more work than it is worth.

use bytes::Buf as _;
use mesh_api::istio::mcp::v1alpha1::{RequestResources, Resources};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// A response above the limit of the sink is looked at only to refuse it by name, so that the other collections of the
/// stream go on. This many times the limit, and its stream is cut without a look.
pub(super) const HARD_LIMIT_FACTOR: usize = 16;

/// A response.
#[derive(Debug)]
pub(super) enum Incoming {
    /// One that may be applied.
    Response(Resources),
    /// One that is larger than the sink takes.
    TooLarge(TooLarge),
}

/// What is known of a response that is too large.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) collection: String,
    pub(super) nonce: String,
    pub(super) bytes: usize,
}

/// Requests out, responses in.
#[derive(Clone, Copy, Debug)]
pub(super) struct SinkCodec {
    /// Largest response in bytes.
    pub(super) limit: usize,
}

/// `Resources` without what makes it large; other fields are skipped.
#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(string, tag = "2")]
    collection: String,
    #[prost(string, tag = "5")]
    nonce: String,
}

// === impl SinkCodec ===

impl Codec for SinkCodec {
    type Encode = RequestResources;
    type Decode = Incoming;
    type Encoder = ProstEncoder<RequestResources>;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        *self
    }
}

impl Decoder for SinkCodec {
    type Item = Incoming;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Incoming>, Status> {
        let bytes = buf.remaining();
        let unreadable =
            |error: prost::DecodeError| Status::internal(format!("response not readable: {error}"));
        if bytes <= self.limit {
            let response = Resources::decode(buf).map_err(unreadable)?;
            return Ok(Some(Incoming::Response(response)));
        }
        let Head { collection, nonce } = Head::decode(buf).map_err(unreadable)?;
        Ok(Some(Incoming::TooLarge(TooLarge {
            collection,
            nonce,
            bytes,
        })))
    }
}
