//! One HTTP/1 exchange on a connection of its own.

mod tls;

use std::io;
use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The largest answer that is read. Envoy's configuration dump of a large mesh has tens of megabytes.
const MAX_BODY: usize = 256 << 20;

/// An exchange that did not lead to an answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The other side cannot be reached.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The other side does not speak TLS.
    #[error("no TLS connection")]
    Tls(#[source] io::Error),
    /// The other side does not speak HTTP, or stopped in between.
    #[error("no answer to the request")]
    Exchange(#[source] hyper::Error),
    /// The answer's body did not arrive whole.
    #[error("no whole answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Connects, sends the request, reads the whole answer and closes, all within `timeout`.
///
/// # Errors
/// [`HttpError`] when no answer comes. An answer with any status is none.
pub async fn exchange(
    address: (&str, u16),
    request: Request<Full<Bytes>>,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), HttpError> {
    let whole = async { exchange_on(connect(address).await?, request).await };
    tokio::time::timeout(timeout, whole)
        .await
        .map_err(|_| HttpError::Timeout(timeout))?
}

/// As [`exchange`], but over TLS. Whoever answers is believed, as kubelet does with its probes.
///
/// # Errors
/// As [`exchange`], and when no TLS connection comes about.
pub async fn exchange_tls(
    address: (&str, u16),
    request: Request<Full<Bytes>>,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), HttpError> {
    let whole = async {
        let stream = connect(address).await?;
        exchange_on(
            tls::handshake(stream, address.0).await.map_err(HttpError::Tls)?,
            request,
        )
        .await
    };
    tokio::time::timeout(timeout, whole)
        .await
        .map_err(|_| HttpError::Timeout(timeout))?
}

async fn connect(address: (&str, u16)) -> Result<TcpStream, HttpError> {
    let failed = |source| HttpError::Connect {
        address: format!("{}:{}", address.0, address.1),
        source,
    };
    TcpStream::connect(address).await.map_err(failed)
}

/// Sends the request on an open connection and reads the whole answer.
///
/// # Errors
/// As [`exchange`].
pub async fn exchange_on<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(HttpError::Exchange)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(HttpError::Exchange)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(HttpError::Body)?;
        Ok((status, body.to_bytes()))
    };
    let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
    // The connection has to be driven while the answer is awaited; it may end first.
    tokio::select! {
        answer = &mut answer => answer,
        _ended = &mut connection => answer.await,
    }
}
