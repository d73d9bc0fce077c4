//! Calls whose requests are encoded already.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::uri::PathAndQuery;
use mesh_api::istio::mixer::v1::CheckResponse;
use mesh_runtime::grpc::BytesCodec;
use prost::Message as _;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::Channel;

use super::workload::Call;

/// What a worker calls with.
pub(super) struct Caller {
    client: Grpc<Channel>,
    call: Call,
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
        let answer = self.client.unary(Request::new(request), path, BytesCodec).await?;
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
