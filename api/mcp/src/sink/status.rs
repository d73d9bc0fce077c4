//! What a sink has, for debug pages and for those who wait for the first state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use jiff::Timestamp;
use mesh_api::istio::mcp::v1alpha1::RequestResources;
use mesh_config::{ConfigError, Kind};
use serde::{Serialize, Serializer};
use tokio::sync::watch;

use super::journal::{Journal, JournalEntry, Sent};

/// Shows what a sink is doing. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SinkHandle {
    source: Arc<str>,
    shared: Arc<watch::Sender<Shared>>,
}

/// What a sink has.
#[derive(Clone, Debug, Serialize)]
pub struct SinkStatus {
    /// Address of the source.
    pub source: String,
    /// Whether a stream is open.
    pub connected: bool,
    /// Streams that were opened so far.
    pub streams: u64,
    /// Why the last stream ended, or why none could be opened.
    pub error: Option<String>,
    /// The collections that it wants.
    pub collections: BTreeMap<String, CollectionStatus>,
    /// Its last requests, oldest first.
    pub journal: Vec<JournalEntry>,
}

/// What a sink has of one collection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CollectionStatus {
    /// Whether a state was ever applied.
    pub synced: bool,
    /// Version that was applied last.
    pub version: String,
    /// Nonce of the response that was applied last.
    pub nonce: String,
    /// When.
    #[serde(serialize_with = "optional_as_text")]
    pub applied: Option<Timestamp>,
    /// Number of objects.
    pub resources: usize,
    /// Objects that were left out.
    pub errors: Vec<String>,
    /// Why the last response was refused; `None` after one was applied.
    pub refused: Option<String>,
}

#[derive(Debug)]
struct Shared {
    connected: bool,
    streams: u64,
    error: Option<String>,
    collections: BTreeMap<String, CollectionStatus>,
    journal: Journal,
}

/// Points in time are shown as RFC 3339.
pub(crate) fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[allow(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn optional_as_text<S: Serializer>(value: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

// === impl SinkHandle ===

impl SinkHandle {
    pub(super) fn new(source: String, kinds: &BTreeSet<Kind>) -> Self {
        let collections = kinds
            .iter()
            .map(|kind| (kind.collection().to_owned(), CollectionStatus::default()))
            .collect();
        let shared = Shared {
            connected: false,
            streams: 0,
            error: None,
            collections,
            journal: Journal::default(),
        };
        Self {
            source: source.into(),
            shared: Arc::new(watch::Sender::new(shared)),
        }
    }

    /// Address of the source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What the sink has now.
    pub fn status(&self) -> SinkStatus {
        let shared = self.shared.borrow();
        SinkStatus {
            source: self.source.to_string(),
            connected: shared.connected,
            streams: shared.streams,
            error: shared.error.clone(),
            collections: shared.collections.clone(),
            journal: shared.journal.entries(),
        }
    }

    /// Whether every collection was applied at least once (P5.4).
    pub fn is_synced(&self) -> bool {
        self.shared.borrow().synced()
    }

    /// Waits until every collection was applied at least once.
    pub async fn synced(&self) {
        // The sender lives in `self`, so the channel cannot close while waiting.
        let mut shared = self.shared.subscribe();
        let _closed = shared.wait_for(Shared::synced).await;
    }

    pub(super) fn set_connected(&self, streams: u64) {
        self.shared.send_modify(|shared| {
            shared.connected = true;
            shared.streams = streams;
            shared.error = None;
        });
    }

    /// Returns whether this is news.
    pub(super) fn set_disconnected(&self, error: &str) -> bool {
        let mut news = false;
        self.shared.send_modify(|shared| {
            news = shared.connected || shared.error.as_deref() != Some(error);
            shared.connected = false;
            shared.error = Some(error.to_owned());
        });
        news
    }

    pub(super) fn set_applied(
        &self,
        collection: &str,
        version: String,
        nonce: String,
        resources: usize,
        errors: &[ConfigError],
    ) {
        self.shared.send_modify(|shared| {
            let status = CollectionStatus {
                synced: true,
                version,
                nonce,
                applied: Some(Timestamp::now()),
                resources,
                errors: errors.iter().map(ToString::to_string).collect(),
                refused: None,
            };
            shared.collections.insert(collection.to_owned(), status);
        });
    }

    pub(super) fn set_refused(&self, collection: &str, reason: &str) {
        self.shared.send_modify(|shared| {
            if let Some(status) = shared.collections.get_mut(collection) {
                status.refused = Some(reason.to_owned());
            }
        });
    }

    pub(super) fn record(&self, request: &RequestResources, sent: Sent) {
        self.shared
            .send_modify(|shared| shared.journal.record(request, sent));
    }
}

// === impl Shared ===

impl Shared {
    fn synced(&self) -> bool {
        self.collections.values().all(|status| status.synced)
    }
}
