//! The reversed direction: a sink that waits for its source to call (`ResourceSink`, G3.2).
//!
//! The stream is polled only when the connection can take more bytes, and a response is read only then: who applies slowly
//! holds the source up, and nothing queues.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt as _};
use mesh_api::istio::mcp::v1alpha1::resource_sink_server;
use mesh_runtime::Drain;
use mesh_runtime::tls::PeerCertificates;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::codec::{HARD_LIMIT_FACTOR, Incoming, Outgoing, SinkCodec};
use super::session::Session;
use super::{Apply, SinkHandle, SinkOptions};
use crate::metrics::McpMetrics;
use crate::source::Access;

const METHOD: &str = "/istio.mcp.v1alpha1.ResourceSink/EstablishResourceStream";

/// The gRPC service `istio.mcp.v1alpha1.ResourceSink` for a tonic router: a sink that is called by one source at a time.
/// Cheap to clone.
pub struct SinkServer<A> {
    receiver: Arc<Mutex<Receiver<A>>>,
    access: Arc<dyn Access>,
    codec: SinkCodec,
    drain: Drain,
}

/// What the stream that is open has for itself.
struct Receiver<A> {
    session: Session,
    consumer: A,
}

/// The sink's side of the stream that is open.
struct SinkStream<A: Apply> {
    receiver: OwnedMutexGuard<Receiver<A>>,
    responses: Streaming<Incoming>,
    subscriptions: VecDeque<Outgoing>,
    drain: Drain,
    ended: bool,
}

type Requests = Pin<Box<dyn Stream<Item = Result<Outgoing, Status>> + Send>>;

// === impl SinkServer ===

impl<A: Apply + 'static> SinkServer<A> {
    /// A sink whose changes go to `consumer`. `access` says who may call, `name` is how the callers are called in logs and
    /// on debug pages. Streams end when `drain` starts. [`SinkOptions::legacy`] is for sinks that call.
    pub fn new(
        name: impl Into<String>,
        options: SinkOptions,
        metrics: McpMetrics,
        consumer: A,
        access: Arc<dyn Access>,
        drain: Drain,
    ) -> (Self, SinkHandle) {
        let options = SinkOptions {
            legacy: false,
            ..options
        };
        let codec = SinkCodec {
            limit: options.max_message_bytes,
            legacy: false,
        };
        let (session, handle) = Session::new(name.into(), options, metrics);
        let receiver = Receiver { session, consumer };
        let server = Self {
            receiver: Arc::new(Mutex::new(receiver)),
            access,
            codec,
            drain,
        };
        (server, handle)
    }

    /// Admits a source that has called.
    fn establish(&self, request: Request<Streaming<Incoming>>) -> Result<Requests, Status> {
        let peer = request.remote_addr();
        let peer = peer.map(|address| address.to_string()).unwrap_or_default();
        let certificates = request.extensions().get::<PeerCertificates>();
        if let Err(denied) = self.access.check(certificates) {
            warn!(peer, reason = %denied, "source turned away");
            return Err(Status::unauthenticated(denied.to_string()));
        }
        let Ok(receiver) = Arc::clone(&self.receiver).try_lock_owned() else {
            info!(peer, "source turned away: another one is connected");
            return Err(Status::unavailable("another source is connected"));
        };
        info!(peer, "called by the configuration source");
        let stream = SinkStream::new(receiver, request.into_inner(), self.drain.clone());
        let requests =
            futures::stream::unfold(stream, async |mut stream| Some((stream.next().await?, stream)));
        Ok(Box::pin(requests.fuse()))
    }
}

impl<A> Clone for SinkServer<A> {
    fn clone(&self) -> Self {
        Self {
            receiver: Arc::clone(&self.receiver),
            access: Arc::clone(&self.access),
            codec: self.codec,
            drain: self.drain.clone(),
        }
    }
}

impl<A> fmt::Debug for SinkServer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SinkServer")
    }
}

impl<A> NamedService for SinkServer<A> {
    const NAME: &'static str = resource_sink_server::SERVICE_NAME;
}

impl<A, B> Service<http::Request<B>> for SinkServer<A>
where
    A: Apply + 'static,
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != METHOD {
            let path = request.uri().path().to_owned();
            return Box::pin(async move {
                Ok(Status::unimplemented(format!("there is no method {path}")).into_http())
            });
        }
        let server = self.clone();
        Box::pin(async move {
            let limit = server.codec.limit.saturating_mul(HARD_LIMIT_FACTOR);
            let mut grpc = Grpc::new(server.codec).apply_max_message_size_config(Some(limit), None);
            Ok(grpc.streaming(server, request).await)
        })
    }
}

impl<A: Apply + 'static> StreamingService<Incoming> for SinkServer<A> {
    type Response = Outgoing;
    type ResponseStream = Requests;
    type Future = BoxFuture<Response<Requests>, Status>;

    fn call(&mut self, request: Request<Streaming<Incoming>>) -> Self::Future {
        let established = self.establish(request).map(Response::new);
        Box::pin(async move { established })
    }
}

// === impl SinkStream ===

impl<A: Apply> SinkStream<A> {
    fn new(mut receiver: OwnedMutexGuard<Receiver<A>>, responses: Streaming<Incoming>, drain: Drain) -> Self {
        let subscriptions = receiver.session.subscriptions().into();
        receiver.session.opened();
        Self {
            receiver,
            responses,
            subscriptions,
            drain,
            ended: false,
        }
    }

    /// The next request; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Result<Outgoing, Status>> {
        if self.ended {
            return None;
        }
        if let Some(subscription) = self.subscriptions.pop_front() {
            return Some(Ok(subscription));
        }
        let Self {
            receiver,
            responses,
            drain,
            ..
        } = self;
        let Receiver { session, consumer } = &mut **receiver;
        let answer = async {
            let response = responses.message().await;
            let response = response.inspect_err(|_| session.metrics.recv_failures.inc())?;
            let Some(response) = response else {
                return Ok(None);
            };
            let answer = session.answer(response, consumer).await;
            answer
                .map(Some)
                .ok_or_else(|| Status::unavailable("nobody takes configuration any more"))
        };
        let answer = drain.cancel(answer).await.unwrap_or(Ok(None)).transpose()?;
        self.ended = answer.is_err();
        Some(answer)
    }
}

impl<A: Apply> Drop for SinkStream<A> {
    fn drop(&mut self) {
        let session = &self.receiver.session;
        session.closed();
        session.handle.set_disconnected("the source is gone");
        info!("the configuration source is gone; the last good configuration stays");
    }
}
