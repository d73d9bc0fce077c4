//! The sink: subscribes to collections of one source and keeps asking until it is there.
//!
//! What was applied stays applied while the source is away: nothing is delivered until there is something newer.

mod codec;
mod journal;
mod server;
mod session;
mod state;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use http::uri::PathAndQuery;
use mesh_config::{Config, ConfigError, ConfigKey, Kind};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tracing::{debug, warn};

pub use self::journal::{JournalEntry, Sent};
pub use self::server::SinkServer;
pub use self::state::{Pending, Refusal, SinkState, Step};
pub(crate) use self::status::as_text;
pub use self::status::{CollectionStatus, SinkHandle, SinkStatus};

use self::codec::{HARD_LIMIT_FACTOR, Incoming, Outgoing, SinkCodec};
use self::session::Session;
use crate::metrics::McpMetrics;

const METHOD: &str = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream";
const LEGACY_METHOD: &str = "/istio.mcp.v1alpha1.AggregatedMeshConfigService/StreamAggregatedResources";

/// Time between the starts of two attempts to reach the source. A stream that lived longer is followed by a new one
/// at once (G3.2).
const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);

/// Largest response by default (`--mcpMaxMsgSize`).
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The news of one collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name of the collection.
    pub collection: &'static str,
    /// What kind of objects it holds.
    pub kind: Kind,
    /// Version of the state, for diagnosis.
    pub version: String,
    /// What it holds now.
    pub content: Content,
    /// Objects that were left out, and why. Bodies are not decoded here, see [`crate::convert::from_resource`].
    pub errors: Vec<ConfigError>,
}

/// What a collection holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// All its objects, by name.
    Full(Vec<Config>),
    /// What is different from before; only where changes were asked for.
    Changes {
        /// New and changed objects, by name.
        changed: Vec<Config>,
        /// Objects that it does not hold any more, or that can no longer be read. It may never have held them.
        gone: Vec<ConfigKey>,
    },
}

/// Why a change was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The state is refused and the source is told so; the former state stays.
    #[error("{0}")]
    Rejected(String),
    /// Nobody is there to take changes any more: the sink ends.
    #[error("the receiver of changes is gone")]
    Closed,
}

/// Takes the changes of a sink.
///
/// The next change is delivered when the future is done, and until then the source is not answered: who is slow gets
/// the newest state next, and none of those between.
pub trait Apply: Send {
    /// Takes the new state of a collection.
    fn apply(&mut self, change: Change) -> impl Future<Output = Result<(), ApplyError>> + Send;
}

/// What a sink asks for.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// How the sink calls itself, such as the name of the pod.
    pub node: String,
    /// More about it, shown by the source.
    pub annotations: BTreeMap<String, String>,
    /// The kinds it wants; one collection each.
    pub kinds: BTreeSet<Kind>,
    /// Ask for changes instead of full states. Full states still come: at first, and from sources that know nothing
    /// else.
    pub incremental: bool,
    /// Largest response in bytes. A larger one is refused and the former state of its collection stays; the source does
    /// not send it again before it has changed.
    pub max_message_bytes: usize,
    /// Speak the generation before, `AggregatedMeshConfigService`, which knows full states only (`USE_MCP_LEGACY`).
    pub legacy: bool,
}

/// The client of one source.
#[derive(Debug)]
pub struct Sink {
    channel: Channel,
    session: Session,
}

/// How a stream ended.
enum Ended {
    /// To be opened again.
    Broken(Status),
    /// The consumer is gone.
    Closed,
}

// === impl SinkOptions ===

impl SinkOptions {
    /// Full states of some kinds, responses up to 4 MiB.
    pub fn new(node: impl Into<String>, kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self {
            node: node.into(),
            annotations: BTreeMap::new(),
            kinds: kinds.into_iter().collect(),
            incremental: false,
            max_message_bytes: MAX_MESSAGE_BYTES,
            legacy: false,
        }
    }
}

// === impl Content ===

impl Content {
    /// The objects that it brings: all of them, or those that are new or changed.
    pub fn objects(&self) -> &[Config] {
        match self {
            Self::Full(objects) => objects,
            Self::Changes { changed, .. } => changed,
        }
    }
}

// === impl Apply ===

/// The receiver takes its time: the channel is full while it does.
impl Apply for mpsc::Sender<Change> {
    async fn apply(&mut self, change: Change) -> Result<(), ApplyError> {
        self.send(change).await.map_err(|_| ApplyError::Closed)
    }
}

// === impl Sink ===

impl Sink {
    /// A sink of the source behind `channel`, which should connect lazily and again after a loss
    /// ([`mesh_runtime::grpc::connect`]). `source` is the address for logs and debug pages.
    pub fn new(
        channel: Channel,
        source: impl Into<String>,
        options: SinkOptions,
        metrics: McpMetrics,
    ) -> (Self, SinkHandle) {
        let (session, handle) = Session::new(source.into(), options, metrics);
        (Self { channel, session }, handle)
    }

    /// Follows the source until the consumer is gone.
    pub async fn run(mut self, mut consumer: impl Apply) {
        loop {
            let next_attempt = Instant::now() + RECONNECT_INTERVAL;
            match self.follow(&mut consumer).await {
                Ended::Closed => return,
                Ended::Broken(status) => self.on_broken(&status),
            }
            tokio::time::sleep_until(next_attempt).await;
        }
    }

    /// One stream from its opening to its end.
    async fn follow(&mut self, consumer: &mut impl Apply) -> Ended {
        let SinkOptions {
            max_message_bytes: limit,
            legacy,
            ..
        } = self.session.options;
        let mut grpc = Grpc::new(self.channel.clone())
            .max_decoding_message_size(limit.saturating_mul(HARD_LIMIT_FACTOR));
        if let Err(error) = grpc.ready().await {
            return Ended::Broken(Status::unavailable(mesh_runtime::error_chain(&error)));
        }
        // One request for each collection, then one answer for each response: never more than a few wait.
        let (requests, outbound) = mpsc::unbounded_channel();
        for request in self.session.subscriptions() {
            // The receiving end is still in our hands.
            let _sent = requests.send(request);
        }
        let outbound = futures::stream::unfold(outbound, async |mut outbound| {
            Some((outbound.recv().await?, outbound))
        });
        let method = if legacy { LEGACY_METHOD } else { METHOD };
        let opened = grpc
            .streaming(
                Request::new(outbound),
                PathAndQuery::from_static(method),
                SinkCodec { limit, legacy },
            )
            .await;
        let mut responses = match opened {
            Ok(response) => response.into_inner(),
            Err(status) => return Ended::Broken(status),
        };
        self.session.opened();
        let ended = self.receive(&mut responses, &requests, consumer).await;
        self.session.closed();
        ended
    }

    async fn receive(
        &mut self,
        responses: &mut Streaming<Incoming>,
        requests: &mpsc::UnboundedSender<Outgoing>,
        consumer: &mut impl Apply,
    ) -> Ended {
        loop {
            let response = match responses.message().await {
                Ok(Some(response)) => response,
                Ok(None) => return Ended::Broken(Status::unavailable("the source closed the stream")),
                Err(status) => {
                    self.session.metrics.recv_failures.inc();
                    return Ended::Broken(status);
                }
            };
            let Some(answer) = self.session.answer(response, consumer).await else {
                return Ended::Closed;
            };
            if requests.send(answer).is_err() {
                self.session.metrics.send_failures.inc();
                return Ended::Broken(Status::unavailable("the stream takes no more requests"));
            }
        }
    }

    fn on_broken(&self, status: &Status) {
        let handle = &self.session.handle;
        let source = handle.source();
        // The same trouble once a second is told once.
        if !handle.set_disconnected(status.message()) {
            debug!(
                source,
                error = status.message(),
                "still not connected to the configuration source"
            );
        } else if status.code() == Code::OutOfRange {
            warn!(
                source,
                error = status.message(),
                limit = self.session.options.max_message_bytes,
                "a response is far larger than this sink takes (--mcpMaxMsgSize); the last good configuration stays"
            );
        } else {
            warn!(
                source,
                error = status.message(),
                code = ?status.code(),
                "not connected to the configuration source; the last good configuration stays"
            );
        }
    }
}
