//! One stream: feeds [`SourceState`] with requests and snapshots, and sends what it says.
//!
//! The stream is polled only when the connection can take more bytes. That is the back-pressure: while a sink does
//! not read, nothing is taken from the state, and what it gets later is the newest.

use std::sync::Arc;

use mesh_api::istio::mcp::v1alpha1::RequestResources;
use mesh_runtime::Drain;
use tokio::sync::watch;
use tonic::{Code, Status, Streaming};
use tracing::{debug, info, warn};

use super::state::{Received, Response, SourceState, UnsupportedCollection};
use super::status::{Connections, Registration};
use crate::frame::Frame;
use crate::metrics::McpMetrics;
use crate::snapshot::Snapshot;

/// The server side of one stream.
#[derive(Debug)]
pub(super) struct SourceStream {
    requests: Streaming<RequestResources>,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    registration: Registration,
    metrics: McpMetrics,
    drain: Drain,
    /// Set once the stream has failed: it ends after the status was sent.
    failed: bool,
}

// === impl SourceStream ===

impl SourceStream {
    pub(super) fn open(
        requests: Streaming<RequestResources>,
        peer: &str,
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
        info!(stream = registration.id, peer, "sink connected");
        Self {
            requests,
            snapshots,
            registration,
            metrics,
            drain,
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
                request = self.requests.message() => match request {
                    Ok(Some(request)) => {
                        if let Err(unsupported) = self.on_request(&request) {
                            self.failed = true;
                            return Some(Err(Status::invalid_argument(unsupported.to_string())));
                        }
                    }
                    Ok(None) => return None,
                    Err(status) => return self.on_broken(status),
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
        let frame = response.into_frame();
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
        let received = {
            let mut inner = self.registration.connection.lock();
            if let Some(node) = &request.sink_node
                && inner.node != node.id
            {
                inner.node.clone_from(&node.id);
            }
            inner.state.on_request(request)
        };
        match received {
            Ok(Received::Subscription) => debug!(stream, collection, "subscribed"),
            Ok(Received::Ack) => {
                self.metrics.ack(collection);
                debug!(stream, collection, nonce, "accepted");
            }
            Ok(Received::Nack(status)) => {
                self.metrics.nack(collection, status.code);
                warn!(
                    stream,
                    collection,
                    nonce,
                    reason = status.message,
                    "refused by the sink"
                );
            }
            Ok(Received::Stale) => info!(stream, collection, nonce, "answer to an older response ignored"),
            Err(unsupported) => {
                self.metrics.nack(collection, Code::InvalidArgument as i32);
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

impl Drop for SourceStream {
    fn drop(&mut self) {
        self.metrics.clients.dec();
        info!(stream = self.registration.id, "sink disconnected");
    }
}
