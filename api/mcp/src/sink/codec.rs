//! What goes between a sink and its source, without more work than it is worth.

use bytes::Buf as _;
use mesh_api::istio::mcp::v1alpha1::{MeshConfigRequest, MeshConfigResponse, RequestResources, Resources};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

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

/// A request.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) request: RequestResources,
    /// The version of the collection that was applied last; only the generation before says it.
    pub(super) in_force: String,
}

/// Requests out, responses in.
#[derive(Clone, Copy, Debug)]
pub(super) struct SinkCodec {
    /// Largest response in bytes.
    pub(super) limit: usize,
    /// Speaks the generation before.
    pub(super) legacy: bool,
}

/// `Resources` without what makes it large; other fields are skipped.
#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(string, tag = "2")]
    collection: String,
    #[prost(string, tag = "5")]
    nonce: String,
}

/// The same of `MeshConfigResponse`.
#[derive(Clone, PartialEq, Message)]
struct LegacyHead {
    #[prost(string, tag = "3")]
    type_url: String,
    #[prost(string, tag = "4")]
    nonce: String,
}

// === impl SinkCodec ===

impl Codec for SinkCodec {
    type Encode = Outgoing;
    type Decode = Incoming;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        *self
    }

    fn decoder(&mut self) -> Self::Decoder {
        *self
    }
}

impl Encoder for SinkCodec {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, item: Outgoing, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let Outgoing { request, in_force } = item;
        let encoded = if self.legacy {
            legacy_request(request, in_force).encode(buf)
        } else {
            request.encode(buf)
        };
        encoded.map_err(|error| Status::internal(format!("request not writable: {error}")))
    }
}

impl Decoder for SinkCodec {
    type Item = Incoming;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Incoming>, Status> {
        let bytes = buf.remaining();
        let incoming = match (bytes <= self.limit, self.legacy) {
            (true, false) => Resources::decode(buf).map(Incoming::Response),
            (true, true) => MeshConfigResponse::decode(buf).map(|old| Incoming::Response(resources(old))),
            (false, false) => Head::decode(buf)
                .map(|Head { collection, nonce }| Incoming::too_large(collection, nonce, bytes)),
            (false, true) => LegacyHead::decode(buf)
                .map(|LegacyHead { type_url, nonce }| Incoming::too_large(type_url, nonce, bytes)),
        };
        incoming
            .map(Some)
            .map_err(|error| Status::internal(format!("response not readable: {error}")))
    }
}

fn legacy_request(request: RequestResources, in_force: String) -> MeshConfigRequest {
    let RequestResources {
        sink_node,
        collection,
        response_nonce,
        error_detail,
        ..
    } = request;
    MeshConfigRequest {
        version_info: in_force,
        sink_node,
        type_url: collection,
        response_nonce,
        error_detail,
    }
}

fn resources(response: MeshConfigResponse) -> Resources {
    let MeshConfigResponse {
        version_info,
        resources,
        type_url,
        nonce,
    } = response;
    Resources {
        system_version_info: version_info,
        collection: type_url,
        resources,
        nonce,
        ..Resources::default()
    }
}

// === impl Incoming ===

impl Incoming {
    fn too_large(collection: String, nonce: String, bytes: usize) -> Self {
        Self::TooLarge(TooLarge {
            collection,
            nonce,
            bytes,
        })
    }
}
