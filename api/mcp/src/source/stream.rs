//! One stream: feeds [`SourceState`] with requests and snapshots, and sends what it says.
//!
//! The stream is polled only when the connection can take more bytes. That is the back-pressure: while a sink does
//! not read, nothing is taken from the state, and what it gets later is the newest.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};
use mesh_api::istio::mcp::v1alpha1::RequestResources;
use mesh_runtime::Drain;
use tokio::sync::watch;
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use super::limit::RateLimit;
use super::state::{Received, Response, SourceState, UnsupportedCollection, shortened};
use super::status::{Connections, Registration};
use crate::frame::Frame;
use crate::metrics::McpMetrics;
use crate::snapshot::Snapshot;

/// What is kept of the name that a sink gives itself, in bytes.
const MAX_NODE: usize = 256;

/// Lines about requests that a stream may write at once, and the time until it may write one more: who sends nonsense
/// must not fill the log.
const LOG_BURST: u32 = 10;
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Requests of any generation.
pub(super) type Requests = Pin<Box<dyn Stream<Item = Result<RequestResources, Status>> + Send>>;

/// The source's side of one stream.
pub(super) struct SourceStream {
    requests: Requests,
    legacy: bool,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    registration: Registration,
    metrics: McpMetrics,
    drain: Drain,
    log: RateLimit,
    /// Set once the stream has failed: it ends after the status was sent.
    failed: bool,
}

// === impl SourceStream ===

impl SourceStream {
    #[allow(
        clippy::too_many_arguments,
        reason = "all of them are parts of the source, given by it alone"
    )]
    pub(super) fn open(
        requests: Requests,
        peer: &str,
        legacy: bool,
        mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        mut state: SourceState,
        connections: &Connections,
        metrics: McpMetrics,
        drain: Drain,
    ) -> Self {
        if let Some(snapshot) = snapshots.borrow_and_update().clone() {
            state.on_snapshot(snapshot);
        }
        let registration = connections.register(peer.to_owned(), state);
        metrics.clients.inc();
        if registration.id > 1 {
            metrics.reconnections.inc();
        }
        info!(stream = registration.id, peer, legacy, "sink connected");
        Self {
            requests,
            legacy,
            snapshots,
            registration,
            metrics,
            drain,
            log: RateLimit::new(LOG_BURST, LOG_INTERVAL),
            failed: false,
        }
    }

    /// The next frame; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Option<Result<Frame, Status>> {
        if self.failed {
            return None;
        }
        loop {
            // A request may be noticed before a snapshot that is older than it.
            if self.snapshots.has_changed().unwrap_or_default() {
                self.on_snapshot();
            }
            let response = self.registration.connection.lock().state.next_response();
            if let Some(response) = response {
                return Some(Ok(self.frame(response)));
            }
            tokio::select! {
                request = self.requests.next() => match request {
                    Some(Ok(request)) => {
                        if let Err(unsupported) = self.on_request(&request) {
                            self.failed = true;
                            return Some(Err(Status::invalid_argument(unsupported.to_string())));
                        }
                    }
                    None => return None,
                    Some(Err(status)) => return self.on_broken(status),
                },
                changed = self.snapshots.changed() => {
                    // The cache outlives its streams only in tests; without it there is nothing more to send.
                    changed.ok()?;
                    self.on_snapshot();
                }
                () = self.drain.signaled() => return None,
            }
        }
    }

    fn on_snapshot(&mut self) {
        if let Some(snapshot) = self.snapshots.borrow_and_update().clone() {
            self.registration.connection.lock().state.on_snapshot(snapshot);
        }
    }

    fn frame(&self, response: Response) -> Frame {
        let frame = response.into_frame(self.legacy);
        let bytes = frame.encoded_len();
        self.metrics.message_size(bytes);
        debug!(
            stream = self.registration.id,
            collection = frame.collection,
            version = frame.version,
            nonce = frame.nonce,
            incremental = frame.incremental,
            bytes,
            "sending"
        );
        frame
    }

    fn on_request(&self, request: &RequestResources) -> Result<(), UnsupportedCollection> {
        let stream = self.registration.id;
        let RequestResources {
            collection,
            response_nonce: nonce,
            ..
        } = request;
        if is_answer_to_trigger(request) {
            debug!(stream, "the sink is there");
            return Ok(());
        }
        let (received, known, first) = {
            let mut inner = self.registration.connection.lock();
            if let Some(node) = &request.sink_node
                && inner.node != node.id
            {
                shortened(&node.id, MAX_NODE).clone_into(&mut inner.node);
            }
            let first = inner.state.watches().all(|(name, _)| **name != **collection);
            let received = inner.state.on_request(request);
            (received, inner.state.has(collection), first)
        };
        // Peers choose names, and only ours may become labels.
        let label = if known { collection } else { "unknown" };
        let loud = || self.log.admit(Instant::now(), Duration::ZERO).is_some();
        match received {
            Ok(Received::Subscription) if !known && first && loud() => {
                info!(
                    stream,
                    collection, "this source has no such collection, it is served as empty"
                );
            }
            Ok(Received::Subscription) => debug!(stream, collection, "subscribed"),
            Ok(Received::Ack) => {
                self.metrics.ack(label);
                debug!(stream, collection, nonce, "accepted");
            }
            Ok(Received::Nack(status)) => {
                self.metrics.nack(label, status.code);
                if loud() {
                    let reason = status.message;
                    warn!(stream, collection, nonce, reason, "refused by the sink");
                }
            }
            Ok(Received::Stale) if loud() => {
                let nonce = shortened(nonce, MAX_NODE);
                info!(stream, collection, nonce, "answer to an older response ignored");
            }
            Ok(Received::Stale) => {}
            Err(unsupported) => {
                self.metrics.nack(label, Code::InvalidArgument as i32);
                warn!(stream, error = %unsupported, "stream closed");
                return Err(unsupported);
            }
        }
        Ok(())
    }

    /// A sink that goes away is no error worth telling; what it sent last may be.
    fn on_broken(&mut self, status: Status) -> Option<Result<Frame, Status>> {
        self.failed = true;
        if matches!(status.code(), Code::Cancelled | Code::Unknown | Code::Unavailable) {
            debug!(stream = self.registration.id, %status, "stream broke");
            self.metrics.recv_failures.inc();
            return None;
        }
        warn!(stream = self.registration.id, %status, "request not readable, stream closed");
        self.metrics.recv_failures.inc();
        Some(Err(status))
    }
}

/// Whether a request is the refusal of the response with which a called sink is woken, which names no collection (G3.2).
fn is_answer_to_trigger(request: &RequestResources) -> bool {
    let refusal = request.error_detail.as_ref();
    request.collection.is_empty() && refusal.is_some_and(|status| status.code == Code::Unimplemented as i32)
}

impl Drop for SourceStream {
    fn drop(&mut self) {
        self.metrics.clients.dec();
        info!(stream = self.registration.id, "sink disconnected");
    }
}
