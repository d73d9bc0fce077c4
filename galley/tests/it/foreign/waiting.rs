//! `ResourceSink`: the sink waits and Galley calls (G3.2).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::Server;
use tonic::{Request, Response, Streaming};
use tonic_prost::ProstCodec;

use super::wire::{RequestResources, Resources, Status};
use super::{Ends, GATEWAYS};
use crate::harness::{ConfigDir, Galley, PATIENCE, gateway};

/// A stream that Galley has opened.
struct Call {
    metadata: MetadataMap,
    ends: Ends<RequestResources, Resources>,
}

/// Hands every call to the test.
#[derive(Clone)]
struct Waiting(mpsc::UnboundedSender<Call>);

// === impl Waiting ===

impl NamedService for Waiting {
    const NAME: &'static str = "istio.mcp.v1alpha1.ResourceSink";
}

impl Service<http::Request<tonic::body::Body>> for Waiting {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        assert_eq!(
            request.uri().path(),
            "/istio.mcp.v1alpha1.ResourceSink/EstablishResourceStream"
        );
        let waiting = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<RequestResources, Resources>::default());
            Ok(grpc.streaming(waiting, request).await)
        })
    }
}

type Requests = futures::stream::Map<
    UnboundedReceiverStream<RequestResources>,
    fn(RequestResources) -> Result<RequestResources, tonic::Status>,
>;

impl StreamingService<Resources> for Waiting {
    type Response = RequestResources;
    type ResponseStream = Requests;
    type Future = BoxFuture<Response<Requests>, tonic::Status>;

    fn call(&mut self, request: Request<Streaming<Resources>>) -> Self::Future {
        use futures::StreamExt as _;
        let calls = self.0.clone();
        Box::pin(async move {
            let (metadata, _, mut responses) = request.into_parts();
            // Servers that answer only when they have heard something must be served, too.
            let trigger = responses.message().await?.unwrap_or_default();
            assert_eq!((trigger.collection.as_str(), trigger.resources.len()), ("", 0));
            let (requests, outbound) = mpsc::unbounded_channel();
            let refusal = RequestResources {
                response_nonce: trigger.nonce,
                error_detail: Some(Status {
                    code: 12,
                    message: "unsupported collection \"\"".to_owned(),
                }),
                ..RequestResources::default()
            };
            let _sent = requests.send(refusal);
            let _over = calls.send(Call {
                metadata,
                ends: Ends { requests, responses },
            });
            let ok: fn(RequestResources) -> Result<RequestResources, tonic::Status> = Ok;
            Ok(Response::new(UnboundedReceiverStream::new(outbound).map(ok)))
        })
    }
}

async fn wait_for_calls() -> (SocketAddr, mpsc::UnboundedReceiver<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (calls, received) = mpsc::unbounded_channel();
    // Ends with the runtime of the test.
    mesh_runtime::Spawner::default().spawn(
        "waiting sink",
        Server::builder()
            .add_service(Waiting(calls))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (address, received)
}

#[tokio::test]
async fn g3_2_a_sink_that_waits_is_called_served_and_called_again() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80));
    let (address, mut calls) = wait_for_calls().await;
    let galley = Galley::start_with(
        config.path(),
        "127.0.0.1:0",
        &[
            &format!("--sinkAddress={address}"),
            "--sinkAuthMode=NONE",
            "--sinkMeta=project=mesh,zone=a",
        ],
    );
    for turn in 0..2 {
        let mut call = tokio::time::timeout(PATIENCE, calls.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(call.metadata.get("project").unwrap(), "mesh");
        assert_eq!(call.metadata.get("zone").unwrap(), "a");
        call.ends.send(RequestResources {
            collection: GATEWAYS.to_owned(),
            ..RequestResources::default()
        });
        let first = call.ends.next().await;
        assert_eq!(first.resources[0].name(), "weather/a");
        call.ends.send(RequestResources {
            collection: GATEWAYS.to_owned(),
            response_nonce: first.nonce,
            ..RequestResources::default()
        });
        config.write("a.yaml", gateway("a", 90 + turn));
        let second = call.ends.next().await;
        assert_ne!(second.system_version_info, first.system_version_info);
        // The sink goes away, and is called again.
    }
    assert_eq!(
        galley.log_lines(|line| line["msg"] == "sink connected" && line["peer"] == address.to_string()),
        2
    );
}
