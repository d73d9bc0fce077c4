//! Calls whose requests are encoded already.

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use mesh_api::istio::mixer::v1::CheckResponse;
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::workload::Call;

/// Bytes in, bytes out.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

/// What a worker calls with.
pub(super) struct Caller {
    client: Grpc<Channel>,
    call: Call,
}

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

// === impl Caller ===

impl Caller {
    pub(super) fn new(channel: Channel, call: Call) -> Self {
        Self {
            client: Grpc::new(channel),
            call,
        }
    }

    /// Calls once. An answer that is an error, or a request that is not let through, is a failure: nothing that is sent
    /// is denied.
    pub(super) async fn call(&mut self, request: Bytes) -> Result<()> {
        let checks = matches!(self.call, Call::Check | Call::CheckQuota);
        let path = PathAndQuery::from_static(if checks {
            "/istio.mixer.v1.Mixer/Check"
        } else {
            "/istio.mixer.v1.Mixer/Report"
        });
        self.client.ready().await.context("no connection")?;
        let answer = self.client.unary(Request::new(request), path, Raw).await?;
        if checks {
            let answer = CheckResponse::decode(answer.into_inner())?;
            let status = answer.precondition.and_then(|precondition| precondition.status);
            if let Some(status) = status.filter(|status| status.code != 0) {
                bail!("denied with {}: {}", status.code, status.message);
            }
            if self.call == Call::CheckQuota && answer.quotas.len() != 1 {
                bail!("the answer has no quota");
            }
        }
        Ok(())
    }
}
