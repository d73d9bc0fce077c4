//! An adapter that does what a test says, over real connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use futures::future::BoxFuture;
use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::{BytesCodec, GrpcMetrics, GrpcOptions, serve};
use mesh_runtime::listen::{Listener, bind};
use mesh_runtime::tls::{PeerCertificates, ServerTls};
use mesh_runtime::{Drain, Metrics, Spawner, TaskHandle};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, UnaryService};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tower::Service;

/// How long the end of an adapter may take.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// A call that came.
#[derive(Clone, Debug)]
pub struct Call {
    /// `/package.Service/Method`.
    pub path: String,
    /// What came with it.
    pub metadata: MetadataMap,
    /// The message.
    pub message: Bytes,
    /// Who called: the URIs of its certificate.
    pub peer: Vec<String>,
}

/// What is answered.
pub type Reply = BoxFuture<'static, Result<Bytes, Status>>;

type Behave = Arc<dyn Fn(Call) -> Reply + Send + Sync>;

/// An adapter. It is gone when it is dropped, with everything that it was doing.
#[derive(Debug)]
pub struct FakeAdapter {
    address: SocketAddr,
    calls: Calls,
    /// Ends the connections, too: they live in tasks of this runtime.
    runtime: Option<tokio::runtime::Runtime>,
    _server: TaskHandle,
}

#[derive(Clone, Debug, Default)]
struct Calls(Arc<Mutex<Vec<Call>>>);

#[derive(Clone)]
struct Behaved {
    behave: Behave,
    calls: Calls,
}

struct Method(Behaved, String);

// === impl FakeAdapter ===

impl FakeAdapter {
    /// Listens on a port that is free.
    ///
    /// # Panics
    ///
    /// When that is not possible.
    pub async fn start(behave: impl Fn(Call) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(0, None, behave).await
    }

    /// Listens on this port, by TLS if there is any.
    ///
    /// # Panics
    ///
    /// When that is not possible.
    pub async fn listen(
        port: u16,
        tls: Option<ServerTls>,
        behave: impl Fn(Call) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap_or_else(|error| panic!("no runtime: {error}"));
        let calls = Calls::default();
        let behaved = Behaved {
            behave: Arc::new(behave),
            calls: calls.clone(),
        };
        let started = runtime.spawn(async move {
            let host = HostPort {
                host: Some("127.0.0.1".to_owned()),
                port,
            };
            let (socket, address) = bind("adapter", &host)
                .await
                .unwrap_or_else(|error| panic!("cannot listen: {error}"));
            let listener = match tls {
                Some(tls) => Listener::tls(socket, tls),
                None => socket.into(),
            };
            let metrics =
                GrpcMetrics::register(&Metrics::new()).unwrap_or_else(|error| panic!("no metrics: {error}"));
            let routes = Routes::from(Router::new().fallback_service(behaved));
            let spawner = Spawner::default();
            let server = serve(
                "adapter",
                listener,
                routes,
                GrpcOptions::default(),
                metrics,
                spawner.clone(),
                Drain::never(),
            );
            (address, spawner.spawn("adapter", server))
        });
        let (address, server) = started
            .await
            .unwrap_or_else(|error| panic!("cannot start: {error}"));
        Self {
            address,
            calls,
            runtime: Some(runtime),
            _server: server,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All calls that came so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// Forgets the calls that came so far.
    pub fn forget(&self) {
        self.calls.lock().clear();
    }

    /// The calls of a method that came so far.
    #[must_use]
    pub fn calls_of(&self, method: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.path.ends_with(method));
        calls
    }
}

impl Drop for FakeAdapter {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Elsewhere, since it waits: the port must be free when this returns.
            let ended = std::thread::spawn(move || runtime.shutdown_timeout(SHUTDOWN)).join();
            drop(ended);
        }
    }
}

// === impl Calls ===

impl Calls {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Behaved ===

impl Service<axum::extract::Request> for Behaved {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::extract::Request) -> Self::Future {
        let method = Method(self.clone(), request.uri().path().to_owned());
        Box::pin(async move { Ok(Grpc::new(BytesCodec).unary(method, request).await) })
    }
}

impl UnaryService<Bytes> for Method {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let Self(behaved, path) = self;
        let peer = request.extensions().get::<PeerCertificates>();
        let call = Call {
            path: path.clone(),
            metadata: request.metadata().clone(),
            peer: peer.map(PeerCertificates::uris).unwrap_or_default(),
            message: request.into_inner(),
        };
        behaved.calls.lock().push(call.clone());
        let reply = (behaved.behave)(call);
        Box::pin(async move { reply.await.map(Response::new) })
    }
}
