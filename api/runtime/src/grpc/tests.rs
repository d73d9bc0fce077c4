//! A server and a channel over a real socket, with a service written by hand.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use prost::Message as _;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{NamedService, ServerStreamingService, UnaryService};
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use tokio::net::TcpListener;

use super::*;
use crate::args::HostPort;
use crate::drain::{self, DrainSignal};
use crate::metrics::Metrics;
use crate::task::TaskHandle;

/// `Say` answers with the address of the client, panics when told to "panic" and fails when told to
/// "fail"; `Watch` sends one message and then waits for the drain, or for ever when told to "stay".
#[derive(Clone)]
struct Echo {
    drain: Drain,
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl UnaryService<String> for Echo {
    type Response = String;
    type Future = BoxFuture<'static, Result<tonic::Response<String>, Status>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        Box::pin(async move {
            let client = request
                .remote_addr()
                .ok_or_else(|| Status::internal("no address"))?;
            match request.get_ref().as_str() {
                "panic" => panic!("as told"),
                "fail" => Err(Status::failed_precondition("as told")),
                _ => Ok(tonic::Response::new(client.to_string())),
            }
        })
    }
}

impl ServerStreamingService<String> for Echo {
    type Response = String;
    type ResponseStream = BoxStream<'static, Result<String, Status>>;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        let stay = request.get_ref() == "stay";
        let guard = self.drain.guard("watch stream");
        let end = async move {
            if stay {
                std::future::pending::<()>().await;
            }
            guard.signaled().await;
            Ok("bye".to_owned())
        };
        let hello = futures::stream::iter([Ok("hello".to_owned())]);
        Box::pin(async {
            Ok(tonic::Response::new(
                hello.chain(futures::stream::once(end)).boxed(),
            ))
        })
    }
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/test.Echo/Say" => grpc.unary(service, request).await,
                "/test.Echo/Watch" => grpc.server_streaming(service, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

struct Server {
    address: SocketAddr,
    signal: DrainSignal,
    task: TaskHandle,
    metrics: Metrics,
}

impl Server {
    async fn start(options: GrpcOptions) -> Self {
        Self::start_at("127.0.0.1:0", options).await
    }

    async fn start_at(address: &str, options: GrpcOptions) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (signal, drain) = drain::channel();
        let metrics = Metrics::new();
        let measure = GrpcMetrics::register(&metrics).unwrap();
        let routes = Routes::new(Echo { drain: drain.clone() });
        let spawner = Spawner::default();
        let task = spawner.spawn(
            "grpc",
            serve("grpc", listener, routes, options, measure, spawner.clone(), drain),
        );
        Self {
            address,
            signal,
            task,
            metrics,
        }
    }

    fn channel(&self) -> Channel {
        connect(&self.host_port(), &ClientOptions::default()).unwrap()
    }

    fn host_port(&self) -> HostPort {
        self.address.to_string().parse().unwrap()
    }

    /// Waits until this many calls were handled: a client may see the end of a call first.
    async fn handled(&self, service: &str, method: &str, code: &str) -> String {
        let line = format!(
            "grpc_server_handled_total{{grpc_code=\"{code}\",grpc_method=\"{method}\",grpc_service=\"{service}\"}} "
        );
        let found = async {
            loop {
                let text = self.metrics.encode().unwrap();
                if let Some(count) = text.lines().find_map(|l| l.strip_prefix(&line)) {
                    return count.to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found)
            .await
            .unwrap_or_else(|_| {
                panic!("{line} is missing in:\n{}", self.metrics.encode().unwrap());
            })
    }
}

async fn client(channel: &Channel) -> tonic::client::Grpc<Channel> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    grpc
}

async fn say(channel: &Channel, method: &'static str, text: &str) -> Result<String, Code> {
    let request = tonic::Request::new(text.to_owned());
    let codec = ProstCodec::<String, String>::default();
    let mut client = client(channel).await;
    let answer = client.unary(request, http::uri::PathAndQuery::from_static(method), codec);
    answer
        .await
        .map(tonic::Response::into_inner)
        .map_err(|status| status.code())
}

async fn watch(channel: &Channel, text: &str) -> tonic::Streaming<String> {
    let request = tonic::Request::new(text.to_owned());
    let path = http::uri::PathAndQuery::from_static("/test.Echo/Watch");
    let codec = ProstCodec::<String, String>::default();
    let answer = client(channel).await.server_streaming(request, path, codec).await;
    answer.unwrap().into_inner()
}

async fn next(stream: &mut tonic::Streaming<String>) -> Option<String> {
    stream.message().await.unwrap()
}

const SAY: &str = "/test.Echo/Say";

#[tokio::test]
async fn messages_go_as_bytes_both_ways() {
    let server = Server::start(GrpcOptions::default()).await;
    let path = http::uri::PathAndQuery::from_static(SAY);
    let channel = server.channel();
    // More than one frame of HTTP/2 holds.
    for text in ["", "hi", &"long ".repeat(10_000)] {
        let mut client = client(&channel).await;
        let request = tonic::Request::new(Bytes::from(text.to_owned().encode_to_vec()));
        let answer = client.unary(request, path.clone(), BytesCodec).await.unwrap();
        let answer = String::decode(answer.into_inner()).unwrap();
        answer.parse::<SocketAddr>().unwrap();
    }
}

#[tokio::test]
async fn handlers_see_the_client_and_calls_are_counted_by_code() {
    let server = Server::start(GrpcOptions::default()).await;
    let channel = server.channel();
    let client: SocketAddr = say(&channel, SAY, "hi").await.unwrap().parse().unwrap();
    assert!(client.ip().is_loopback());
    assert_eq!(
        say(&channel, SAY, "fail").await.unwrap_err(),
        Code::FailedPrecondition
    );
    assert_eq!(
        say(&channel, SAY, "hi").await,
        Ok(client.to_string()),
        "one connection for all calls"
    );
    assert_eq!(server.handled("test.Echo", "Say", "Ok").await, "2");
    assert_eq!(
        server.handled("test.Echo", "Say", "FailedPrecondition").await,
        "1"
    );
}

#[tokio::test]
async fn paths_that_do_not_exist_do_not_become_labels() {
    let server = Server::start(GrpcOptions::default()).await;
    let channel = server.channel();
    for path in ["/test.Echo/Nope", "/no.Such/Say", "/test.Echo/Other"] {
        assert_eq!(
            say(&channel, path, "hi").await.unwrap_err(),
            Code::Unimplemented,
            "{path}"
        );
    }
    assert_eq!(server.handled("unknown", "unknown", "Unimplemented").await, "3");
    assert!(!server.metrics.encode().unwrap().contains("Nope"));
}

#[tokio::test]
async fn a_panic_in_a_handler_ends_its_call_only() {
    let server = Server::start(GrpcOptions::default()).await;
    let channel = server.channel();
    let client = say(&channel, SAY, "hi").await.unwrap();
    say(&channel, SAY, "panic").await.unwrap_err();
    assert_eq!(
        say(&channel, SAY, "hi").await,
        Ok(client),
        "the connection is the same"
    );
}

#[tokio::test]
async fn a_stream_that_the_client_drops_is_counted_as_cancelled() {
    let server = Server::start(GrpcOptions::default()).await;
    let mut stream = watch(&server.channel(), "stay").await;
    assert_eq!(next(&mut stream).await.as_deref(), Some("hello"));
    drop(stream);
    assert_eq!(server.handled("test.Echo", "Watch", "Cancelled").await, "1");
}

#[tokio::test]
async fn a_drain_refuses_new_clients_and_lets_streams_finish() {
    let server = Server::start(GrpcOptions::default()).await;
    let mut stream = watch(&server.channel(), "until drained").await;
    assert_eq!(next(&mut stream).await.as_deref(), Some("hello"));
    server.signal.start();
    assert_eq!(next(&mut stream).await.as_deref(), Some("bye"));
    assert_eq!(next(&mut stream).await, None);
    server.task.join().await.unwrap();
    assert_eq!(server.signal.drained(Duration::from_secs(20)).await, Ok(()));
    TcpStream::connect(server.address).await.unwrap_err();
}

#[tokio::test]
async fn a_stream_that_ignores_the_drain_is_named() {
    let server = Server::start(GrpcOptions::default()).await;
    let mut stream = watch(&server.channel(), "stay").await;
    assert_eq!(next(&mut stream).await.as_deref(), Some("hello"));
    server.signal.start();
    let error = server
        .signal
        .drained(Duration::from_millis(20))
        .await
        .unwrap_err();
    assert_eq!(error.holders.get("watch stream"), Some(&1));
}

#[tokio::test]
async fn an_old_connection_is_replaced_and_then_cut() {
    let keepalive = KeepaliveArgs {
        keepalive_max_server_connection_age: Duration::from_millis(50).into(),
        ..KeepaliveArgs::default()
    };
    let options = GrpcOptions {
        age_grace: Duration::from_millis(50),
        ..keepalive.into()
    };
    let server = Server::start(options).await;
    let channel = server.channel();
    let mut stream = watch(&channel, "stay").await;
    assert_eq!(next(&mut stream).await.as_deref(), Some("hello"));
    stream.message().await.expect_err("cut after age and grace");
    assert!(
        say(&channel, SAY, "hi").await.is_ok(),
        "the channel connects anew"
    );
}

#[tokio::test]
async fn a_channel_reconnects_to_a_server_that_comes_back() {
    let server = Server::start(GrpcOptions::default()).await;
    let (channel, address) = (server.channel(), server.address);
    say(&channel, SAY, "hi").await.unwrap();
    server.signal.start();
    server.task.join().await.unwrap();
    assert!(say(&channel, SAY, "hi").await.is_err(), "nobody listens");
    let server = Server::start_at(&address.to_string(), GrpcOptions::default()).await;
    say(&channel, SAY, "hi").await.unwrap();
    assert_eq!(server.handled("test.Echo", "Say", "Ok").await, "1");
}

#[tokio::test]
async fn a_channel_needs_a_host() {
    let error = connect(&HostPort::any(15010), &ClientOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot use :15010 as the address of a gRPC server: the host is missing"
    );
}

#[test]
fn flags_have_istios_names_and_defaults() {
    use clap::Parser;
    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        keepalive: KeepaliveArgs,
    }
    let parse = |flags: &[&str]| {
        Cli::try_parse_from(["test"].iter().chain(flags))
            .unwrap()
            .keepalive
    };
    assert_eq!(
        format!("{:?}", parse(&[])),
        format!("{:?}", KeepaliveArgs::default())
    );
    let age = parse(&[
        "--keepaliveMaxServerConnectionAge=30m",
        "--keepaliveInterval=1m",
        "--keepaliveTimeout=5s",
    ]);
    assert_eq!(
        age.keepalive_max_server_connection_age.finite(),
        Some(Duration::from_secs(1800))
    );
}
