//! A sink that knows nothing of our code: the real `galley` over the wire, in both generations and in both directions.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod caller;
mod legacy;
mod waiting;
pub(crate) mod wire;

use std::net::SocketAddr;

use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::harness::PATIENCE;

pub(crate) const GATEWAYS: &str = "istio/networking/v1alpha3/gateways";
pub(crate) const SIDECARS: &str = "istio/networking/v1alpha3/sidecars";

/// One end of a stream.
pub(crate) struct Ends<Q, R> {
    pub(crate) requests: mpsc::UnboundedSender<Q>,
    responses: Streaming<R>,
}

pub(crate) async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// Opens a stream of any service.
pub(crate) async fn open<Q, R>(channel: Channel, path: &'static str) -> Result<Ends<Q, R>, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    R: prost::Message + Default + Send + Sync + 'static,
{
    let (requests, outbound) = mpsc::unbounded_channel();
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<Q, R>::default();
    let outbound = Request::new(UnboundedReceiverStream::new(outbound));
    let responses = grpc.streaming(outbound, path.parse().unwrap(), codec).await?;
    Ok(Ends {
        requests,
        responses: responses.into_inner(),
    })
}

// === impl Ends ===

impl<Q, R> Ends<Q, R> {
    pub(crate) fn send(&self, request: Q) {
        assert!(self.requests.send(request).is_ok(), "the stream is open");
    }

    pub(crate) async fn next(&mut self) -> R {
        self.outcome().await.unwrap().expect("the stream goes on")
    }

    /// A response, the end of the stream, or why it broke.
    pub(crate) async fn outcome(&mut self) -> Result<Option<R>, Status> {
        tokio::time::timeout(PATIENCE, self.responses.message())
            .await
            .expect("an answer in time")
    }
}
