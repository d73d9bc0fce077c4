//! What all HTTP roles share: health, who answered, the access log, and the end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::{IncomingStream, Listener, ListenerExt};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tracing::info;

use super::identity::Identity;
use super::tls::TlsListener;

/// Completes when the process is told to end. Clones complete together.
pub(super) type Stop = Shared<BoxFuture<'static, ()>>;

/// How long requests and connections under way may take after the stop.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// Installs handlers for SIGTERM and SIGINT; the result completes `delay` after the first of them.
pub(super) fn stop_on_signals(delay: Duration) -> io::Result<Stop> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        tokio::time::sleep(delay).await;
    };
    Ok(stop.boxed().shared())
}

/// Adds to a role's routes what every HTTP role has.
pub(super) fn finish(routes: Router, identity: &Identity) -> Router {
    routes
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(middleware::from_fn_with_state(Headers::new(identity), stamp))
        .layer(middleware::from_fn(log))
}

/// Serves until `stop`, then lets requests under way finish within [`GRACE`]. With an acceptor, requests come inside TLS.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: Stop,
) -> io::Result<()> {
    match tls {
        // A connection that cannot be told to be quick still works.
        None => {
            run(
                listener.tap_io(|stream| drop(stream.set_nodelay(true))),
                router,
                stop,
            )
            .await
        }
        Some(acceptor) => run(TlsListener::new(listener, acceptor).tap_io(|_| ()), router, stop).await,
    }
}

async fn run<L>(listener: L, router: Router, stop: Stop) -> io::Result<()>
where
    L: Listener<Addr = SocketAddr>,
    SocketAddr: for<'a> Connected<IncomingStream<'a, L>>,
{
    let server = axum::serve(
        listener,
        router.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .with_graceful_shutdown(stop.clone());
    tokio::select! {
        ended = server.into_future() => ended,
        () = async { stop.await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

/// The caller's address: of the client if proxies name it, else of the connection.
pub(super) fn origin(headers: &HeaderMap, ConnectInfo(remote): &ConnectInfo<SocketAddr>) -> String {
    match headers
        .get("x-forwarded-for")
        .and_then(|value| value.to_str().ok())
    {
        Some(chain) => chain.to_owned(),
        None => remote.ip().to_string(),
    }
}

/// The response headers that say who answered.
#[derive(Clone)]
struct Headers([(HeaderName, HeaderValue); 3]);

// === impl Headers ===

impl Headers {
    fn new(identity: &Identity) -> Self {
        // An identity comes from the environment and may be anything; what no header can carry is left empty.
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        Self([
            (HeaderName::from_static("x-sample-app"), value(&identity.app)),
            (
                HeaderName::from_static("x-sample-version"),
                value(&identity.version),
            ),
            (HeaderName::from_static("x-sample-pod"), value(&identity.pod)),
        ])
    }
}

async fn stamp(State(Headers(headers)): State<Headers>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().extend(headers);
    response
}

async fn log(request: Request, next: Next) -> Result<Response, Infallible> {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let host = request.headers().get(header::HOST).cloned();
    let response = next.run(request).await;
    // Probes come every second and say nothing.
    if path != "/healthz" {
        info!(
            %method,
            %path,
            host = host.as_ref().and_then(|host| host.to_str().ok()),
            status = response.status().as_u16(),
            milliseconds = started.elapsed().as_millis(),
            "request"
        );
    }
    Ok(response.into_response())
}
