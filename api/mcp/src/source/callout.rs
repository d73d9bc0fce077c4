//! The reversed direction: the source calls a sink that waits for it (`ResourceSink`, G3.2).

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use http::uri::PathAndQuery;
use mesh_api::istio::mcp::v1alpha1::RequestResources;
use mesh_runtime::Drain;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tracing::{debug, warn};

use super::Source;
use super::stream::Requests;
use crate::frame::{Frame, FrameCodec};

const METHOD: &str = "/istio.mcp.v1alpha1.ResourceSink/EstablishResourceStream";

/// Time between the starts of two attempts to reach the sink.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);

/// Calls one sink and serves it like those that call.
#[derive(Debug)]
pub struct Callout {
    source: Source,
    channel: Channel,
    sink: String,
    metadata: MetadataMap,
}

// === impl Callout ===

impl Callout {
    /// A call to the sink behind `channel`, which should connect lazily and again after a loss
    /// ([`mesh_runtime::grpc::connect`]). `sink` is its address for logs and debug pages, `metadata` goes with the call
    /// (`--sinkMeta`).
    pub fn new(source: Source, channel: Channel, sink: impl Into<String>, metadata: MetadataMap) -> Self {
        Self {
            source,
            channel,
            sink: sink.into(),
            metadata,
        }
    }

    /// Serves the sink, and calls it again when the stream ends, until the process leaves.
    pub async fn run(self, drain: Drain) {
        let mut told = String::new();
        loop {
            let next_attempt = Instant::now() + RECONNECT_INTERVAL;
            let Some(ended) = drain.cancel(self.follow()).await else {
                return;
            };
            match ended {
                Ok(()) => told.clear(),
                // The same trouble once a second is told once.
                Err(status) if told == status.message() => {
                    debug!(sink = self.sink, error = status.message(), "still no sink");
                }
                Err(status) => {
                    warn!(sink = self.sink, code = ?status.code(), error = status.message(), "no stream to the sink");
                    status.message().clone_into(&mut told);
                }
            }
            if drain
                .cancel(tokio::time::sleep_until(next_attempt))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// One stream from its opening to its end.
    async fn follow(&self) -> Result<(), Status> {
        let (hand_over, requests) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let mut request = Request::new(self.frames(requests, end));
        *request.metadata_mut() = self.metadata.clone();
        let mut grpc = Grpc::new(self.channel.clone())
            .max_decoding_message_size(self.source.max_request_bytes())
            .max_encoding_message_size(usize::MAX);
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(mesh_runtime::error_chain(&error)))?;
        let codec = FrameCodec::<RequestResources>::default();
        let response = grpc
            .streaming(request, PathAndQuery::from_static(METHOD), codec)
            .await?;
        // Nobody takes them when the stream is over already.
        let _over = hand_over.send(response.into_inner());
        // Dropped with the frames.
        let _ended = ended.await;
        Ok(())
    }

    /// What is sent: first a response that names no collection, as servers do not answer before they heard something;
    /// then what the sink asks for.
    fn frames(
        &self,
        requests: oneshot::Receiver<Streaming<RequestResources>>,
        end: oneshot::Sender<()>,
    ) -> impl Stream<Item = Frame> + Send + use<> {
        let (source, sink) = (self.source.clone(), self.sink.clone());
        let served = futures::stream::once(requests)
            .filter_map(async |requests| requests.ok())
            .flat_map(move |requests| {
                let requests: Requests = Box::pin(requests);
                Box::pin(source.open(requests, &sink, false))
            });
        // A client cannot send a status: the stream just ends after it.
        let served = served.filter_map(async |frame| frame.ok());
        let all = futures::stream::once(async { Frame::default() }).chain(served);
        all.map(move |frame| {
            let _open = &end;
            frame
        })
    }
}
