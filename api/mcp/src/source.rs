//! The source: serves snapshots to any number of sinks.

mod access;
mod callout;
mod limit;
mod service;
mod state;
mod status;
mod stream;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};
use mesh_config::{Kind, Str};
use mesh_runtime::Drain;
use mesh_runtime::tls::PeerCertificates;
use tonic::{Request, Status};
use tracing::warn;

pub use self::access::{Access, Denied, Everybody};
pub use self::callout::Callout;
pub use self::service::{Current, Legacy, Protocol, SourceService};
pub use self::state::{Content, Received, Response, SourceState, UnsupportedCollection, Watch};
pub use self::status::{ConnectionStatus, WatchStatus};

use self::limit::RateLimit;
use self::status::Connections;
use self::stream::{Requests, SourceStream};
use crate::frame::Frame;
use crate::metrics::McpMetrics;
use crate::snapshot::SnapshotCache;

/// How long a new stream may wait for its turn before it is turned away; a sink tries again after as long.
const LONGEST_ADMISSION: Duration = Duration::from_secs(1);

/// What a source offers.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Collections that the source has; others are empty.
    pub collections: BTreeSet<Str>,
    /// Send only what changed to sinks that ask for that.
    pub incremental: bool,
    /// Longest request in bytes (`--server-maxReceivedMessageSize`).
    pub max_request_bytes: usize,
    /// Streams that may be opened at once (`NEW_CONNECTION_BURST_SIZE`).
    pub new_connection_burst: u32,
    /// Time until one more stream may be opened (`NEW_CONNECTION_FREQ`).
    pub new_connection_interval: Duration,
    /// Who may open a stream (G9.3).
    pub access: Arc<dyn Access>,
    /// Refusals that are logged at once (`AUTHZ_FAILURE_LOG_BURST_SIZE`).
    pub denial_log_burst: u32,
    /// Time until one more refusal is logged (`AUTHZ_FAILURE_LOG_FREQ`).
    pub denial_log_interval: Duration,
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
    denial_log: RateLimit,
    connections: Connections,
    drain: Drain,
}

// === impl SourceOptions ===

impl Default for SourceOptions {
    /// All collections, full state to everybody, 1 MiB, ten streams at once and one per 10 ms; a refusal per minute is
    /// logged.
    fn default() -> Self {
        Self {
            collections: Kind::ALL.iter().map(|kind| kind.collection().into()).collect(),
            incremental: false,
            max_request_bytes: 1024 * 1024,
            new_connection_burst: 10,
            new_connection_interval: Duration::from_millis(10),
            access: Arc::new(Everybody),
            denial_log_burst: 1,
            denial_log_interval: Duration::from_secs(60),
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
            denial_log: RateLimit::new(options.denial_log_burst, options.denial_log_interval),
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

    /// The gRPC service of the generation before, `istio.mcp.v1alpha1.AggregatedMeshConfigService`.
    pub fn legacy_service(&self) -> SourceService<Legacy> {
        SourceService::new(self.clone())
    }

    /// The streams that are open now, oldest first.
    pub fn connections(&self) -> Vec<ConnectionStatus> {
        self.shared.connections.list()
    }

    fn max_request_bytes(&self) -> usize {
        self.shared.options.max_request_bytes
    }

    /// Admits a sink that has connected.
    async fn establish(
        &self,
        request: Request<Requests>,
        legacy: bool,
    ) -> Result<impl Stream<Item = Result<Frame, Status>> + Send + use<>, Status> {
        let shared = &self.shared;
        let peer = request.remote_addr();
        let peer = peer.map(|address| address.to_string()).unwrap_or_default();
        let certificates = request.extensions().get::<PeerCertificates>();
        if let Err(denied) = shared.options.access.check(certificates) {
            return Err(self.deny(&peer, certificates, &denied));
        }
        let wait = shared
            .admission
            .admit(Instant::now(), LONGEST_ADMISSION)
            .ok_or_else(|| Status::unavailable("too many new streams at once"))?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(self.open(request.into_inner(), &peer, legacy))
    }

    /// The source's side of a stream.
    fn open(
        &self,
        requests: Requests,
        peer: &str,
        legacy: bool,
    ) -> impl Stream<Item = Result<Frame, Status>> + Send + use<> {
        let shared = &self.shared;
        // Changes came with the second generation.
        let incremental = shared.options.incremental && !legacy;
        let stream = SourceStream::open(
            requests,
            peer,
            legacy,
            shared.snapshots.subscribe(),
            SourceState::new(shared.collections.clone(), incremental),
            &shared.connections,
            shared.metrics.clone(),
            shared.drain.clone(),
        );
        futures::stream::unfold(stream, async |mut stream| Some((stream.next().await?, stream))).fuse()
    }

    fn deny(&self, peer: &str, certificates: Option<&PeerCertificates>, denied: &Denied) -> Status {
        self.shared.metrics.denied.inc();
        if self
            .shared
            .denial_log
            .admit(Instant::now(), Duration::ZERO)
            .is_some()
        {
            let identities = certificates.map(PeerCertificates::uris).unwrap_or_default();
            warn!(peer, ?identities, reason = %denied, "sink turned away");
        }
        Status::unauthenticated(denied.to_string())
    }
}
