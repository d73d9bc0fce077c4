//! What a sink says on a stream, whoever opened it.

use mesh_api::istio::mcp::v1alpha1::{RequestResources, Resources, SinkNode};
use mesh_config::{Kind, Timestamp};
use prost::Message as _;
use tracing::{debug, info, warn};

use super::codec::{Incoming, Outgoing, TooLarge};
use super::state::{Refusal, SinkState, Step};
use super::{Apply, ApplyError, Sent, SinkHandle, SinkOptions};
use crate::metrics::McpMetrics;

/// What is kept from one stream to the next.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) options: SinkOptions,
    pub(super) metrics: McpMetrics,
    pub(super) handle: SinkHandle,
    state: SinkState,
    /// Streams that were opened so far.
    streams: u64,
}

// === impl Session ===

impl Session {
    /// `source` is the name of the source for logs and debug pages.
    pub(super) fn new(source: String, options: SinkOptions, metrics: McpMetrics) -> (Self, SinkHandle) {
        let handle = SinkHandle::new(source, &options.kinds);
        // Changes came with the second generation.
        let incremental = options.incremental && !options.legacy;
        let session = Self {
            state: SinkState::new(options.kinds.iter().copied(), incremental),
            options,
            metrics,
            handle: handle.clone(),
            streams: 0,
        };
        (session, handle)
    }

    /// The requests with which a stream begins, one for each collection.
    pub(super) fn subscriptions(&self) -> Vec<Outgoing> {
        let requests = self.state.connect().into_iter();
        requests
            .map(|request| self.outgoing(request, Sent::Subscription))
            .collect()
    }

    /// A stream is open.
    pub(super) fn opened(&mut self) {
        self.streams += 1;
        if self.streams > 1 {
            self.metrics.reconnections.inc();
        }
        self.metrics.clients.set(1);
        self.handle.set_connected(self.streams);
        info!(
            source = self.handle.source(),
            stream = self.streams,
            "connected to the configuration source"
        );
    }

    /// It is no longer.
    pub(super) fn closed(&self) {
        self.metrics.clients.set(0);
    }

    /// Applies a response; its answer. `None` when nobody takes changes any more.
    pub(super) async fn answer(&mut self, response: Incoming, consumer: &mut impl Apply) -> Option<Outgoing> {
        let (request, sent) = match response {
            Incoming::TooLarge(response) => self.refuse_large(&response),
            Incoming::Response(response) => {
                self.metrics.message_size(response.encoded_len());
                self.take(response, consumer).await?
            }
        };
        Some(self.outgoing(request, sent))
    }

    async fn take(
        &mut self,
        response: Resources,
        consumer: &mut impl Apply,
    ) -> Option<(RequestResources, Sent)> {
        let (version, nonce) = (response.system_version_info.clone(), response.nonce.clone());
        let (change, pending) = match self.state.on_response(response, now()) {
            Step::Apply(change, pending) => (change, pending),
            Step::Refuse(refusal) => return Some(self.refuse(refusal)),
        };
        let (collection, errors) = (change.collection, change.errors.clone());
        for error in &errors {
            warn!(collection, version, %error, "object left out");
        }
        match consumer.apply(change).await {
            Ok(()) => {}
            Err(ApplyError::Closed) => return None,
            Err(ApplyError::Rejected(reason)) => {
                let refusal = self.state.reject(pending, reason);
                return Some(self.refuse(refusal));
            }
        }
        let ack = self.state.accept(pending);
        let resources = self.state.len(collection);
        self.metrics.ack(collection);
        self.handle
            .set_applied(collection, version, nonce.clone(), resources, &errors);
        debug!(collection, nonce, resources, "applied");
        Some((ack, Sent::Ack))
    }

    fn refuse_large(&self, response: &TooLarge) -> (RequestResources, Sent) {
        self.metrics.message_size(response.bytes);
        let label = label(&response.collection);
        self.metrics.too_large.with_label_values(&[label]).inc();
        self.refuse(self.state.too_large(response, self.options.max_message_bytes))
    }

    fn refuse(&self, refusal: Refusal) -> (RequestResources, Sent) {
        let Refusal {
            request,
            code,
            reason,
        } = refusal;
        warn!(
            collection = request.collection,
            nonce = request.response_nonce,
            reason,
            "response refused"
        );
        self.metrics.nack(label(&request.collection), code as i32);
        self.handle.set_refused(&request.collection, &reason);
        (
            request,
            Sent::Nack {
                code: format!("{code:?}"),
                reason,
            },
        )
    }

    fn outgoing(&self, mut request: RequestResources, sent: Sent) -> Outgoing {
        request.sink_node = Some(SinkNode {
            id: self.options.node.clone(),
            annotations: self.options.annotations.clone(),
        });
        self.handle.record(&request, sent);
        let in_force = self.state.version(&request.collection).to_owned();
        Outgoing { request, in_force }
    }
}

/// The name of a collection may be anything that the source sent: only those that we know become labels.
fn label(collection: &str) -> &'static str {
    Kind::by_collection(collection).map_or("unknown", Kind::collection)
}

fn now() -> Timestamp {
    let now = jiff::Timestamp::now();
    Timestamp {
        seconds: now.as_second(),
        nanos: now.subsec_nanosecond(),
    }
}
