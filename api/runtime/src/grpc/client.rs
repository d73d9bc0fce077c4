//! Channels to a gRPC server: lazy, kept alive and reconnecting by themselves.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::{CONNECTION_WINDOW, KeepaliveArgs, STREAM_WINDOW};
use crate::args::HostPort;
use crate::tls::ClientTls;

/// How a client keeps its connection.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// How often the server is pinged, and how long its answer may take.
    pub keepalive: KeepaliveArgs,
    /// How long establishing a connection may take.
    pub connect_timeout: Duration,
}

/// The address of a server cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {address} as the address of a gRPC server: {reason}")]
pub struct ConnectError {
    address: String,
    reason: String,
}

// === impl ClientOptions ===

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            keepalive: KeepaliveArgs::default(),
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// A channel to `address`. Nothing is connected before the first call; after a loss the next call
/// connects anew, so a caller only has to repeat its calls (see [`crate::Backoff`]).
///
/// # Errors
/// [`ConnectError`] when the address has no host.
pub fn connect(address: &HostPort, options: &ClientOptions) -> Result<Channel, ConnectError> {
    Ok(endpoint(address, options)?.connect_lazy())
}

/// Like [`connect`], by TLS. Each connection uses the certificates of its moment.
///
/// # Errors
/// As [`connect`].
pub fn connect_tls(
    address: &HostPort,
    options: &ClientOptions,
    tls: ClientTls,
) -> Result<Channel, ConnectError> {
    let endpoint = endpoint(address, options)?;
    let (host, port) = (address.host.clone().unwrap_or_default(), address.port);
    let connector = tower::service_fn(move |_: Uri| {
        let (tls, host) = (tls.clone(), host.clone());
        async move { tls.connect(&host, port).await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// Like [`connect`] or, with `tls`, [`connect_tls`]. `told` hears how each attempt to connect has ended.
///
/// # Errors
/// As [`connect`].
pub fn connect_observed(
    address: &HostPort,
    options: &ClientOptions,
    tls: Option<ClientTls>,
    told: impl Fn(Result<(), &io::Error>) + Clone + Send + Sync + 'static,
) -> Result<Channel, ConnectError> {
    // Here it is waited for a shorter time, so that an attempt that takes too long is told.
    let endpoint = endpoint(address, options)?.connect_timeout(options.connect_timeout * 2);
    let (host, port) = (address.host.clone().unwrap_or_default(), address.port);
    let limit = options.connect_timeout;
    Ok(match tls {
        Some(tls) => endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let (tls, host, told) = (tls.clone(), host.clone(), told.clone());
            async move { attempt(limit, tls.connect(&host, port), told).await }
        })),
        None => endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let (host, told) = (host.clone(), told.clone());
            async move { attempt(limit, plain(host, port), told).await }
        })),
    })
}

async fn plain(host: String, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn attempt<S>(
    limit: Duration,
    connect: impl Future<Output = io::Result<S>>,
    told: impl Fn(Result<(), &io::Error>),
) -> io::Result<TokioIo<S>> {
    let connected = tokio::time::timeout(limit, connect)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    told(connected.as_ref().map(|_| ()));
    connected.map(TokioIo::new)
}

fn endpoint(address: &HostPort, options: &ClientOptions) -> Result<Endpoint, ConnectError> {
    let fail = |reason: String| ConnectError {
        address: address.to_string(),
        reason,
    };
    if address.host.is_none() {
        return Err(fail("the host is missing".to_owned()));
    }
    let mut endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| fail(crate::error_chain(&error)))?
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .keep_alive_timeout(options.keepalive.timeout())
        .keep_alive_while_idle(true);
    if let Some(interval) = options.keepalive.interval() {
        endpoint = endpoint.http2_keep_alive_interval(interval);
    }
    Ok(endpoint)
}
