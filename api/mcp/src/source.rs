//! The source: serves snapshots to any number of sinks.

mod limit;
mod service;
mod state;
mod status;
mod stream;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::Stream;
use mesh_api::istio::mcp::v1alpha1::RequestResources;
use mesh_config::{Kind, Str};
use mesh_runtime::Drain;
use tonic::{Request, Status, Streaming};

pub use self::service::SourceService;
pub use self::state::{Content, Received, Response, SourceState, UnsupportedCollection, Watch};
pub use self::status::{ConnectionStatus, WatchStatus};

use self::limit::RateLimit;
use self::status::Connections;
use self::stream::SourceStream;
use crate::frame::Frame;
use crate::metrics::McpMetrics;
use crate::snapshot::SnapshotCache;

/// How long a new stream may wait for its turn before it is turned away; a sink tries again after as long.
const LONGEST_ADMISSION: Duration = Duration::from_secs(1);

/// What a source offers.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Collections that may be asked for; the request for another one closes the stream (G3.1).
    pub collections: BTreeSet<Str>,
    /// Send only what changed to sinks that ask for that.
    pub incremental: bool,
    /// Longest request in bytes (`--server-maxReceivedMessageSize`).
    pub max_request_bytes: usize,
    /// Streams that may be opened at once (`NEW_CONNECTION_BURST_SIZE`).
    pub new_connection_burst: u32,
    /// Time until one more stream may be opened (`NEW_CONNECTION_FREQ`).
    pub new_connection_interval: Duration,
}

/// Serves the snapshots of a cache. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Source {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    snapshots: SnapshotCache,
    collections: Arc<BTreeSet<Str>>,
    options: SourceOptions,
    metrics: McpMetrics,
    admission: RateLimit,
    connections: Connections,
    drain: Drain,
}

// === impl SourceOptions ===

impl Default for SourceOptions {
    /// All collections, full state to everybody, 1 MiB, ten streams at once and one per 10 ms.
    fn default() -> Self {
        Self {
            collections: Kind::ALL.iter().map(|kind| kind.collection().into()).collect(),
            incremental: false,
            max_request_bytes: 1024 * 1024,
            new_connection_burst: 10,
            new_connection_interval: Duration::from_millis(10),
        }
    }
}

// === impl Source ===

impl Source {
    /// A source of the snapshots in the cache. Its streams end when `drain` starts.
    pub fn new(snapshots: SnapshotCache, options: SourceOptions, metrics: McpMetrics, drain: Drain) -> Self {
        let shared = Shared {
            snapshots,
            collections: Arc::new(options.collections.clone()),
            admission: RateLimit::new(options.new_connection_burst, options.new_connection_interval),
            options,
            metrics,
            connections: Connections::default(),
            drain,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The gRPC service `istio.mcp.v1alpha1.ResourceSource`.
    pub fn service(&self) -> SourceService {
        SourceService::new(self.clone())
    }

    /// The streams that are open now, oldest first.
    pub fn connections(&self) -> Vec<ConnectionStatus> {
        self.shared.connections.list()
    }

    fn max_request_bytes(&self) -> usize {
        self.shared.options.max_request_bytes
    }

    async fn establish(
        &self,
        request: Request<Streaming<RequestResources>>,
    ) -> Result<impl Stream<Item = Result<Frame, Status>> + Send + use<>, Status> {
        let shared = &self.shared;
        let wait = shared
            .admission
            .admit(Instant::now(), LONGEST_ADMISSION)
            .ok_or_else(|| Status::unavailable("too many new streams at once"))?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let peer = request
            .remote_addr()
            .map(|address| address.to_string())
            .unwrap_or_default();
        let stream = SourceStream::open(
            request.into_inner(),
            &peer,
            shared.snapshots.subscribe(),
            SourceState::new(shared.collections.clone(), shared.options.incremental),
            &shared.connections,
            shared.metrics.clone(),
            shared.drain.clone(),
        );
        Ok(futures::stream::unfold(stream, async |mut stream| {
            Some((stream.next().await?, stream))
        }))
    }
}
