//! The gRPC service around a [`Source`].
//!
//! Written by hand instead of generated, because the generated one encodes every response for every stream.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use mesh_api::istio::mcp::v1alpha1::{RequestResources, resource_source_server};
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::Source;
use crate::frame::{Frame, FrameCodec};

const METHOD: &str = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream";

/// `istio.mcp.v1alpha1.ResourceSource` for a tonic router.
#[derive(Clone)]
pub struct SourceService {
    source: Source,
}

struct Establish(Source);

type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

// === impl SourceService ===

impl SourceService {
    pub(super) fn new(source: Source) -> Self {
        Self { source }
    }
}

impl fmt::Debug for SourceService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceService")
    }
}

impl NamedService for SourceService {
    const NAME: &'static str = resource_source_server::SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for SourceService
where
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
        let source = self.source.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(FrameCodec)
                .apply_max_message_size_config(Some(source.max_request_bytes()), Some(usize::MAX));
            Ok(grpc.streaming(Establish(source), request).await)
        })
    }
}

// === impl Establish ===

impl StreamingService<RequestResources> for Establish {
    type Response = Frame;
    type ResponseStream = Frames;
    type Future = BoxFuture<Response<Frames>, Status>;

    fn call(&mut self, request: Request<Streaming<RequestResources>>) -> Self::Future {
        let source = self.0.clone();
        Box::pin(async move {
            let frames: Frames = Box::pin(source.establish(request).await?);
            Ok(Response::new(frames))
        })
    }
}
