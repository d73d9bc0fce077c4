//! gRPC: a server that drains and is measured, and channels that reconnect; both with or without TLS.

mod client;
mod codec;
mod metrics;

use std::convert::Infallible;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioTimer;
use tonic::transport::server::TcpConnectInfo;
use tower::{Service, ServiceExt as _};

pub use self::client::{ClientOptions, ConnectError, connect, connect_observed, connect_tls};
pub use self::codec::BytesCodec;
pub use self::metrics::GrpcMetrics;
use self::metrics::{Measured, MeasuredBody};
use crate::args::GoDuration;
use crate::drain::Drain;
use crate::http::{self, ConnectionAge, Peer, Protocol};
use crate::listen::Listener;
use crate::task::Spawner;

/// What a connection may hold in flight before a stream has to wait. A full configuration of a large
/// mesh is several megabytes, and the 64 KiB of HTTP/2 would cost a round trip for each of its pieces.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// What one stream may hold in flight.
const STREAM_WINDOW: u32 = 4 << 20;
/// Long enough, and short enough to be added to the current time.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// The usual grace after the age of a connection (P6.3).
const AGE_GRACE: Duration = Duration::from_secs(10);

/// Istio's flags for the upkeep of gRPC connections (P6.4).
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "gRPC")]
pub struct KeepaliveArgs {
    /// The time after which an idle connection is pinged.
    #[arg(long = "keepaliveInterval", value_name = "DURATION", default_value = "30s")]
    pub keepalive_interval: GoDuration,

    /// The time to wait for the answer before the connection is closed.
    #[arg(long = "keepaliveTimeout", value_name = "DURATION", default_value = "10s")]
    pub keepalive_timeout: GoDuration,

    /// The age at which a server asks a client to connect anew, so that clients spread over replicas.
    #[arg(
        long = "keepaliveMaxServerConnectionAge",
        value_name = "DURATION",
        default_value = "inf"
    )]
    pub keepalive_max_server_connection_age: GoDuration,
}

/// How a gRPC server treats its connections.
#[derive(Clone, Copy, Debug)]
pub struct GrpcOptions {
    /// Pings and ages.
    pub keepalive: KeepaliveArgs,
    /// What streams get after their connection has reached its age, before it is cut.
    pub age_grace: Duration,
    /// Streams that one client may have open at once.
    pub max_concurrent_streams: u32,
    /// Bytes that a client may send ahead on a connection.
    pub connection_window: u32,
    /// Bytes that a client may send ahead on a stream.
    pub stream_window: u32,
}

/// What answers gRPC requests: tonic's [`Routes`](tonic::service::Routes), or what is asked before them.
pub trait GrpcService:
    Service<
        Request<Incoming>,
        Response = Response<tonic::body::Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

/// Hands requests to a service, with what tonic expects to find in them.
#[derive(Clone)]
struct Dispatch<S> {
    service: S,
    metrics: GrpcMetrics,
}

impl<S> GrpcService for S where
    S: Service<
            Request<Incoming>,
            Response = Response<tonic::body::Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

// === impl KeepaliveArgs ===

impl Default for KeepaliveArgs {
    fn default() -> Self {
        Self {
            keepalive_interval: Duration::from_secs(30).into(),
            keepalive_timeout: Duration::from_secs(10).into(),
            keepalive_max_server_connection_age: GoDuration::INFINITE,
        }
    }
}

/// Zero switches a limit off, as it does in Go, and so does an infinite duration.
impl KeepaliveArgs {
    fn interval(&self) -> Option<Duration> {
        self.keepalive_interval
            .finite()
            .filter(|interval| !interval.is_zero())
    }

    fn timeout(&self) -> Duration {
        self.keepalive_timeout
            .finite()
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or(NEVER)
    }

    fn age(&self) -> Option<Duration> {
        self.keepalive_max_server_connection_age
            .finite()
            .filter(|age| !age.is_zero())
    }
}

// === impl GrpcOptions ===

impl GrpcOptions {
    /// Pilot's number of streams for each client (`ISTIO_GPRC_MAXSTREAMS`).
    pub const MAX_CONCURRENT_STREAMS: u32 = 100_000;

    fn protocol(&self, spawner: Spawner) -> Protocol {
        let mut builder = http2::Builder::new(spawner);
        builder
            .timer(TokioTimer::new())
            // Nobody who speaks gRPC reads it.
            .auto_date_header(false)
            .max_concurrent_streams(self.max_concurrent_streams)
            .initial_connection_window_size(self.connection_window)
            .initial_stream_window_size(self.stream_window)
            .keep_alive_interval(self.keepalive.interval())
            .keep_alive_timeout(self.keepalive.timeout());
        let age = self.keepalive.age().map(|max| ConnectionAge {
            max,
            grace: self.age_grace,
        });
        Protocol::Http2 { builder, age }
    }
}

impl Default for GrpcOptions {
    fn default() -> Self {
        KeepaliveArgs::default().into()
    }
}

impl From<KeepaliveArgs> for GrpcOptions {
    fn from(keepalive: KeepaliveArgs) -> Self {
        Self {
            keepalive,
            age_grace: AGE_GRACE,
            max_concurrent_streams: Self::MAX_CONCURRENT_STREAMS,
            connection_window: CONNECTION_WINDOW,
            stream_window: STREAM_WINDOW,
        }
    }
}

/// Serves gRPC until the process leaves, then waits until the streams in flight have ended.
///
/// `name` is shown when the shutdown waits for this server. When the process leaves, clients are told
/// to open no new streams; streams that never end by themselves must watch `drain`. Handlers find the
/// client with [`tonic::Request::remote_addr`] and, where TLS is spoken, [`crate::tls::PeerCertificates`] in the extensions. The deadline that a client sends is not enforced here:
/// a client that gives up resets its stream, which drops the handler.
pub async fn serve(
    name: &'static str,
    listener: impl Into<Listener> + Send,
    service: impl GrpcService,
    options: GrpcOptions,
    metrics: GrpcMetrics,
    spawner: Spawner,
    drain: Drain,
) {
    let protocol = options.protocol(spawner.clone());
    let dispatch = Dispatch { service, metrics };
    http::serve(name, listener.into(), dispatch, protocol, spawner, drain).await;
}

// === impl Dispatch ===

impl<S: GrpcService> Service<Request<Incoming>> for Dispatch<S> {
    type Response = Response<MeasuredBody>;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(&Peer { remote, local }) = request.extensions().get() {
            let info = TcpConnectInfo {
                local_addr: Some(local),
                remote_addr: Some(remote),
            };
            request.extensions_mut().insert(info);
        }
        let measured = Measured::start(&self.metrics, request.uri().path());
        let answer = self.service.clone().oneshot(request);
        Box::pin(async move { answer.await.map(|response| measured.response(response)) })
    }
}

#[cfg(test)]
mod tests;
