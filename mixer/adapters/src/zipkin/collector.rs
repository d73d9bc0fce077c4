//! The collector, to which batches of spans are posted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mesh_runtime::error_chain;
use mixer_adapter::Env;
use tokio::time;

use crate::batch::{BackEnd, SendError};
use crate::dial::{Address, dial};

/// How long a batch may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of an answer is read. A longer one ends the connection.
const MAX_BODY: usize = 64 << 10;

/// Letters of an answer that are told.
const SHOWN: usize = 200;

/// Posts batches, over one connection as long as it lasts.
pub(super) struct Collector {
    url: Address,
    authorities: PathBuf,
    connection: Option<SendRequest<Full<Bytes>>>,
    env: Env,
}

// === impl Collector ===

impl Collector {
    pub(super) fn new(url: Address, authorities: &Path, env: Env) -> Self {
        Self {
            url,
            authorities: authorities.to_owned(),
            connection: None,
            env,
        }
    }

    async fn post(&mut self, batch: &[u8]) -> Result<(), SendError> {
        let mut body = Vec::with_capacity(batch.len() + 2);
        body.push(b'[');
        body.extend_from_slice(batch);
        body.push(b']');
        let request = self
            .url
            .request(Method::POST)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(|error| SendError::Refused(error.to_string()))?;
        let mut connection = self.connect().await.map_err(SendError::Away)?;
        let failed = |error: hyper::Error| SendError::Away(error_chain(&error));
        let (head, body) = connection
            .send_request(request)
            .await
            .map_err(failed)?
            .into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        if head.status.is_success() {
            // What was read to its end is followed by the next answer.
            self.connection = body.is_ok().then_some(connection);
            return Ok(());
        }
        let text = body.map(|body| body.to_bytes()).unwrap_or_default();
        let text: String = String::from_utf8_lossy(&text).chars().take(SHOWN).collect();
        let reason = format!("{} answered {}: {text}", self.url, head.status);
        let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        if head.status.is_server_error() || later.contains(&head.status) {
            Err(SendError::Away(reason))
        } else {
            Err(SendError::Refused(reason))
        }
    }

    /// The connection that there is, or another one.
    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, String> {
        if let Some(mut connection) = self.connection.take()
            && connection.ready().await.is_ok()
        {
            return Ok(connection);
        }
        let stream = dial(&self.url, &self.authorities).await?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| error_chain(&error))?;
        // It ends with the sender.
        self.env.work(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to Zipkin has ended");
            }
        });
        Ok(sender)
    }
}

impl BackEnd for Collector {
    async fn send(&mut self, batch: &[u8]) -> Result<(), SendError> {
        time::timeout(PATIENCE, self.post(batch))
            .await
            .unwrap_or_else(|_| {
                Err(SendError::Away(format!(
                    "{}: no answer within {PATIENCE:?}",
                    self.url
                )))
            })
    }
}
