//! The gRPC services around a [`Source`], one for each generation of the protocol.
//!
//! Written by hand instead of generated, because the generated one encodes every response for every stream.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt as _};
use mesh_api::istio::mcp::v1alpha1::{
    MeshConfigRequest, RequestResources, aggregated_mesh_config_service_server, resource_source_server,
};
use prost::Message;
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::Source;
use super::stream::Requests;
use crate::frame::{Frame, FrameCodec};

/// A generation of the protocol.
pub trait Protocol: Send + Sync + 'static {
    /// Name of the gRPC service.
    const SERVICE: &'static str;
    /// Path of its only method that is served.
    const METHOD: &'static str;
    /// Whether responses are those of the generation before.
    const LEGACY: bool;
    /// What sinks send.
    type Request: Message + Default + 'static;

    /// What a request says, in the words of the current generation.
    fn request(request: Self::Request) -> RequestResources;
}

/// `ResourceSource`, the generation of 1.1.
#[derive(Clone, Copy, Debug)]
pub enum Current {}

/// `AggregatedMeshConfigService`, the generation before. Its incremental method was never implemented by anybody, and
/// is answered with `Unimplemented` here, too (G2).
#[derive(Clone, Copy, Debug)]
pub enum Legacy {}

/// One of the two services for a tonic router.
pub struct SourceService<P = Current> {
    source: Source,
    protocol: PhantomData<fn() -> P>,
}

struct Establish<P>(SourceService<P>);

type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

// === impl Protocol ===

impl Protocol for Current {
    const SERVICE: &'static str = resource_source_server::SERVICE_NAME;
    const METHOD: &'static str = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream";
    const LEGACY: bool = false;
    type Request = RequestResources;

    fn request(request: RequestResources) -> RequestResources {
        request
    }
}

impl Protocol for Legacy {
    const SERVICE: &'static str = aggregated_mesh_config_service_server::SERVICE_NAME;
    const METHOD: &'static str = "/istio.mcp.v1alpha1.AggregatedMeshConfigService/StreamAggregatedResources";
    const LEGACY: bool = true;
    type Request = MeshConfigRequest;

    /// The version is that of the response that the nonce names already, so it says nothing more (G3.1).
    fn request(request: MeshConfigRequest) -> RequestResources {
        let MeshConfigRequest {
            version_info: _,
            sink_node,
            type_url,
            response_nonce,
            error_detail,
        } = request;
        RequestResources {
            sink_node,
            collection: type_url,
            response_nonce,
            error_detail,
            ..RequestResources::default()
        }
    }
}

// === impl SourceService ===

impl<P> SourceService<P> {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            protocol: PhantomData,
        }
    }
}

impl<P> Clone for SourceService<P> {
    fn clone(&self) -> Self {
        Self::new(self.source.clone())
    }
}

impl<P> fmt::Debug for SourceService<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceService")
    }
}

impl<P: Protocol> NamedService for SourceService<P> {
    const NAME: &'static str = P::SERVICE;
}

impl<P, B> Service<http::Request<B>> for SourceService<P>
where
    P: Protocol,
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
        if request.uri().path() != P::METHOD {
            let path = request.uri().path().to_owned();
            return Box::pin(async move {
                Ok(Status::unimplemented(format!("there is no method {path}")).into_http())
            });
        }
        let service = self.clone();
        Box::pin(async move {
            let limit = service.source.max_request_bytes();
            let mut grpc = Grpc::new(FrameCodec::<P::Request>::default())
                .apply_max_message_size_config(Some(limit), Some(usize::MAX));
            Ok(grpc.streaming(Establish(service), request).await)
        })
    }
}

// === impl Establish ===

impl<P: Protocol> StreamingService<P::Request> for Establish<P> {
    type Response = Frame;
    type ResponseStream = Frames;
    type Future = BoxFuture<Response<Frames>, Status>;

    fn call(&mut self, request: Request<Streaming<P::Request>>) -> Self::Future {
        let source = self.0.source.clone();
        let request =
            request.map(|requests| -> Requests { Box::pin(requests.map(|request| request.map(P::request))) });
        Box::pin(async move {
            let frames: Frames = Box::pin(source.establish(request, P::LEGACY).await?);
            Ok(Response::new(frames))
        })
    }
}
