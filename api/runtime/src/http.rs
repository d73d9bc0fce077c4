//! Serving HTTP on a bound socket: one accept loop for HTTP/1 and HTTP/2 that drains.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tower::{Service, ServiceExt as _};
use tracing::{debug, warn};

use crate::drain::{Drain, DrainGuard};
use crate::listen::{Listener, Socket};
use crate::task::Spawner;
use crate::tls::ServerTls;

/// How long a peer may take to send the head of an HTTP/1 request, which also bounds an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long accepting pauses when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The two ends of a connection, an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Address of the client; an IPv4 address is never shown in its IPv6 form.
    pub remote: SocketAddr,
    /// Address that the client connected to.
    pub local: SocketAddr,
}

/// What is spoken on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Protocol {
    Http1,
    Http2 {
        builder: http2::Builder<Spawner>,
        age: Option<ConnectionAge>,
    },
}

/// How long a connection may live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionAge {
    /// After this the client is told to go elsewhere.
    pub(crate) max: Duration,
    /// What streams may take from then on before the connection is cut.
    pub(crate) grace: Duration,
}

/// Serves HTTP/1 with `router` until the process leaves, then finishes the requests in flight.
///
/// `name` is shown when the shutdown waits for this server. Handlers find a [`Peer`] in the
/// extensions of a request, and [`crate::tls::PeerCertificates`] where TLS is spoken. Pass [`Drain::never`] for a server that lives as long as the process.
pub async fn serve_http(
    name: &'static str,
    listener: impl Into<Listener> + Send,
    router: Router,
    spawner: Spawner,
    drain: Drain,
) {
    serve(name, listener.into(), router, Protocol::Http1, spawner, drain).await;
}

/// Accepts connections until the process leaves and waits until the last of them is closed.
pub(crate) async fn serve<S, B>(
    name: &'static str,
    listener: Listener,
    service: S,
    protocol: Protocol,
    spawner: Spawner,
    drain: Drain,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let guard = drain.guard(name);
    let Listener {
        socket: listener,
        tls,
    } = listener;
    // Closed when every connection has dropped its sender.
    let (open, mut closed) = mpsc::channel::<Infallible>(1);
    let mut number = 0_u32;
    loop {
        let accepted = tokio::select! {
            biased;
            () = guard.signaled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                number = number.wrapping_add(1);
                let connection = Connection {
                    stream,
                    tls: tls.clone(),
                    peer,
                    service: service.clone(),
                    protocol: protocol.clone().for_connection(number),
                    drain: drain.guard(name),
                    _open: open.clone(),
                };
                spawner.spawn(name, connection.serve());
            }
            Err(error) if is_of_connection(&error) => debug!(server = name, %error, "connection lost early"),
            Err(error) => {
                warn!(server = name, %error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Closed before waiting, so that new clients are refused instead of left hanging.
    drop(listener);
    debug!(server = name, "no longer accepting connections");
    drop(open);
    closed.recv().await;
}

struct Connection<S> {
    stream: Stream,
    tls: Option<ServerTls>,
    peer: Peer,
    service: S,
    protocol: Protocol,
    drain: DrainGuard,
    /// Tells the server when the connection is gone.
    _open: mpsc::Sender<Infallible>,
}

/// A connection of whatever family.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Who comes through a Unix socket has no address.
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                let (stream, peer) = prepare(stream, remote)?;
                Ok((Stream::Tcp(stream), peer))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
                let peer = Peer {
                    remote: nowhere,
                    local: nowhere,
                };
                Ok((Stream::Unix(stream), peer))
            }
        }
    }
}

fn prepare(stream: TcpStream, remote: SocketAddr) -> io::Result<(TcpStream, Peer)> {
    stream.set_nodelay(true)?;
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let peer = Peer {
        remote: canonical(remote),
        local: canonical(stream.local_addr()?),
    };
    Ok((stream, peer))
}

/// Whether only the one connection is broken.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput | NotConnected
    )
}

// === impl Protocol ===

impl Protocol {
    /// Spreads the ages of connections by up to a tenth in both directions, so that clients that came
    /// together do not come back together. The spread is even and needs no randomness.
    fn for_connection(self, number: u32) -> Self {
        match self {
            Self::Http2 {
                builder,
                age: Some(ConnectionAge { max, grace }),
            } => {
                // Multiples of the golden ratio fill the interval from 0 to 1 evenly.
                let turn = f64::from(number.wrapping_mul(0x9E37_79B9)) / f64::from(u32::MAX);
                let max = max.mul_f64(0.9 + 0.2 * turn);
                Self::Http2 {
                    builder,
                    age: Some(ConnectionAge { max, grace }),
                }
            }
            other => other,
        }
    }
}

// === impl Connection ===

impl<S, B> Connection<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    async fn serve(self) {
        let Self {
            stream,
            tls,
            peer,
            service,
            protocol,
            drain,
            _open,
        } = self;
        let Some(tls) = tls else {
            let service = service.map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer);
                request
            });
            return match stream {
                Stream::Tcp(stream) => speak(stream, peer, service, protocol, drain).await,
                Stream::Unix(stream) => speak(stream, peer, service, protocol, drain).await,
            };
        };
        let Stream::Tcp(stream) = stream else {
            // There is no way to ask for TLS on a Unix socket.
            return;
        };
        let accepted = tokio::select! {
            accepted = tls.accept(stream) => accepted,
            () = drain.signaled() => return,
        };
        match accepted {
            Ok((stream, certificates)) => {
                let service = service.map_request(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(peer);
                    request.extensions_mut().insert(certificates.clone());
                    request
                });
                speak(stream, peer, service, protocol, drain).await;
            }
            Err(error) => debug!(remote = %peer.remote, %error, "TLS handshake failed"),
        }
    }
}

/// One connection until its end.
async fn speak<I, S, B>(stream: I, peer: Peer, service: S, protocol: Protocol, drain: DrainGuard)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let service = hyper::service::service_fn(move |request| service.clone().oneshot(request));
    let io = TokioIo::new(stream);
    let result = match protocol {
        Protocol::Http1 => {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT);
            let mut connection = pin!(builder.serve_connection(io, service));
            tokio::select! {
                result = &mut connection => result,
                () = drain.signaled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
        Protocol::Http2 { builder, age } => {
            let mut connection = pin!(builder.serve_connection(io, service));
            let cut = tokio::select! {
                result = &mut connection => return log_end(peer, result),
                () = drain.signaled() => None,
                grace = old(age) => Some(grace),
            };
            connection.as_mut().graceful_shutdown();
            match cut {
                Some(grace) => match tokio::time::timeout(grace, connection).await {
                    Ok(result) => result,
                    Err(_) => {
                        return debug!(remote = %peer.remote, "connection cut at the end of its age");
                    }
                },
                // Here the drain deadline of the process is the limit.
                None => connection.await,
            }
        }
    };
    log_end(peer, result);
}

fn log_end(peer: Peer, result: hyper::Result<()>) {
    if let Err(error) = result {
        debug!(remote = %peer.remote, error = &error as &dyn std::error::Error, "connection failed");
    }
}

/// Ends when a connection is too old, with the grace it gets.
async fn old(age: Option<ConnectionAge>) -> Duration {
    match age {
        Some(ConnectionAge { max, grace }) => {
            tokio::time::sleep(max).await;
            grace
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
