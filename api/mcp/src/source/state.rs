//! The rules of the source for one stream (G3.1), without input or output.
//!
//! Each subscribed collection has a *watch*. It is either *armed*, and is served as soon as the snapshot holds another
//! version than was sent last, or it has a *pending* response and waits for the answer. Nothing is queued but the
//! names of collections that are due: the state to send is taken from the newest snapshot when the stream can take it,
//! so a newer state replaces an older one that was not sent yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::google::rpc;
use mesh_api::istio::mcp::v1alpha1::RequestResources;
use mesh_config::Str;

use crate::frame::Frame;
use crate::snapshot::{Collection, Entry, Snapshot};

/// Collections that a stream may ask for although the source does not have them.
const MAX_UNKNOWN: usize = 64;

/// Longest name of a collection in bytes; ours have fewer than 60.
const MAX_NAME: usize = 256;

/// What is kept of a reason that a sink gives, in bytes.
const MAX_REASON: usize = 4096;

/// What one stream has asked for and was sent.
#[derive(Debug)]
pub struct SourceState {
    collections: Arc<BTreeSet<Str>>,
    /// How many of the watches are of collections that the source does not have.
    unknown: usize,
    incremental: bool,
    snapshot: Option<Arc<Snapshot>>,
    watches: BTreeMap<Str, Watch>,
    /// Watches that are armed and may differ from the snapshot; each name stands here once.
    due: VecDeque<Str>,
    last_nonce: u64,
}

/// The subscription of a stream to one collection.
#[derive(Debug, Default)]
pub struct Watch {
    incremental: bool,
    /// Version sent last, whatever the answer was: it is not sent again.
    sent: Option<String>,
    pending: Option<Pending>,
    held: Held,
    acks: u64,
    nacks: u64,
    stale: u64,
    refusal: Option<rpc::Status>,
}

/// A response that was not answered yet.
#[derive(Debug)]
struct Pending {
    nonce: String,
    collection: Arc<Collection>,
}

/// What the sink is known to hold; the base of incremental responses.
#[derive(Debug)]
enum Held {
    /// As it said in its first request.
    Said(BTreeMap<String, String>),
    /// What it acknowledged.
    Acknowledged(Arc<Collection>),
}

/// What a request was.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// The stream wants the collection.
    Subscription,
    /// The sink took the pending response.
    Ack,
    /// The sink refused the pending response.
    Nack(rpc::Status),
    /// The answer to a response that is no longer pending; it changes nothing.
    Stale,
}

/// A response to be sent now.
#[derive(Clone, Debug)]
pub struct Response {
    /// The state that is being sent.
    pub collection: Arc<Collection>,
    /// Identifies the response in its answer.
    pub nonce: String,
    /// All of it, or what changed.
    pub content: Content,
}

/// How much of a collection is sent.
#[derive(Clone, Debug)]
pub enum Content {
    /// All objects.
    Full,
    /// What changed since the state that the sink holds.
    Changes {
        /// New and changed objects.
        upserted: Vec<Arc<Entry>>,
        /// Names that are gone.
        removed: Vec<String>,
    },
}

/// A request for what cannot be a collection, or for too many that this source does not have. The stream is to be closed
/// with `InvalidArgument` (G3.1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unsupported collection {0:?}")]
pub struct UnsupportedCollection(pub String);

// === impl SourceState ===

impl SourceState {
    /// A new stream to a source with the given collections. Incremental responses are sent only when `incremental` is
    /// set here and in the request.
    pub fn new(collections: Arc<BTreeSet<Str>>, incremental: bool) -> Self {
        Self {
            collections,
            unknown: 0,
            incremental,
            snapshot: None,
            watches: BTreeMap::new(),
            due: VecDeque::new(),
            last_nonce: 0,
        }
    }

    /// Takes a request: a subscription, an ACK or a NACK.
    ///
    /// A collection that the source does not have is empty: the sink may be newer than the source, and everything else
    /// that it asks for must not be lost for that (09 pain 18).
    ///
    /// # Errors
    ///
    /// When the collection has no name or an endless one, or too many were asked for that do not exist.
    pub fn on_request(&mut self, request: &RequestResources) -> Result<Received, UnsupportedCollection> {
        let known = self.collections.get(request.collection.as_str()).cloned();
        let is_known = known.is_some();
        let name = match known {
            Some(name) => name,
            None => self.unknown(&request.collection)?,
        };
        let watch = self.watches.entry(name.clone()).or_default();
        let received = watch.on_request(request, self.incremental);
        if !is_known {
            // It is told that there is nothing, whatever it had.
            watch.held = Held::default();
        }
        if received != Received::Stale {
            self.mark(&name);
        }
        Ok(received)
    }

    /// Whether the source has the collection.
    pub fn has(&self, collection: &str) -> bool {
        self.collections.contains(collection)
    }

    fn unknown(&mut self, name: &str) -> Result<Str, UnsupportedCollection> {
        if let Some((known, _)) = self.watches.get_key_value(name) {
            return Ok(known.clone());
        }
        if name.is_empty() || name.len() > MAX_NAME || self.unknown == MAX_UNKNOWN {
            return Err(UnsupportedCollection(shortened(name, MAX_NAME).to_owned()));
        }
        self.unknown += 1;
        Ok(name.into())
    }

    /// Takes a newer snapshot.
    pub fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot = Some(snapshot);
        let names: Vec<_> = self.watches.keys().cloned().collect();
        for name in names {
            self.mark(&name);
        }
    }

    /// The next response, if one is due. Collections are served in the order in which they became due.
    pub fn next_response(&mut self) -> Option<Response> {
        let snapshot = self.snapshot.clone()?;
        while let Some(name) = self.due.pop_front() {
            let Some(watch) = self.watches.get_mut(&name) else {
                continue;
            };
            let current = current(&snapshot, &name);
            // The snapshot may have come back to the version that the sink has.
            if !watch.wants(&current) {
                continue;
            }
            self.last_nonce += 1;
            let nonce = self.last_nonce.to_string();
            let content = watch.content(&current);
            watch.sent = Some(current.version().to_owned());
            watch.pending = Some(Pending {
                nonce: nonce.clone(),
                collection: current.clone(),
            });
            return Some(Response {
                collection: current,
                nonce,
                content,
            });
        }
        None
    }

    /// The subscriptions, by collection.
    pub fn watches(&self) -> impl Iterator<Item = (&Str, &Watch)> {
        self.watches.iter()
    }

    fn mark(&mut self, name: &Str) {
        let (Some(snapshot), Some(watch)) = (&self.snapshot, self.watches.get(name)) else {
            return;
        };
        if watch.wants(&current(snapshot, name)) && !self.due.contains(name) {
            self.due.push_back(name.clone());
        }
    }
}

/// A collection that the snapshot does not have is empty: sinks wait for an answer for each (P5.4).
fn current(snapshot: &Snapshot, name: &Str) -> Arc<Collection> {
    snapshot
        .collection(name)
        .cloned()
        .unwrap_or_else(|| Arc::new(Collection::empty(name.clone())))
}

/// The beginning of a text that somebody else wrote.
pub(super) fn shortened(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

// === impl Watch ===

impl Watch {
    /// Version that was sent last.
    pub fn sent(&self) -> Option<&str> {
        self.sent.as_deref()
    }

    /// Nonce of the response that waits for an answer.
    pub fn pending_nonce(&self) -> Option<&str> {
        self.pending.as_ref().map(|pending| pending.nonce.as_str())
    }

    /// Version that was acknowledged last.
    pub fn acknowledged(&self) -> Option<&str> {
        match &self.held {
            Held::Said(_) => None,
            Held::Acknowledged(collection) => Some(collection.version()),
        }
    }

    /// Number of ACKs.
    pub fn acks(&self) -> u64 {
        self.acks
    }

    /// Number of NACKs.
    pub fn nacks(&self) -> u64 {
        self.nacks
    }

    /// Number of answers to responses that were no longer pending.
    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// Why the last answer was a NACK; `None` after an ACK.
    pub fn refusal(&self) -> Option<&rpc::Status> {
        self.refusal.as_ref()
    }

    /// Whether responses hold changes only.
    pub fn incremental(&self) -> bool {
        self.incremental
    }

    fn on_request(&mut self, request: &RequestResources, incremental: bool) -> Received {
        let nonce = request.response_nonce.as_str();
        let answered = match self.pending.take() {
            // An empty nonce counts as the answer, too (G3.1).
            Some(pending) if nonce.is_empty() || nonce == pending.nonce => Some(pending.collection),
            Some(pending) => {
                self.pending = Some(pending);
                self.stale += 1;
                return Received::Stale;
            }
            None if nonce.is_empty() => None,
            None => {
                self.stale += 1;
                return Received::Stale;
            }
        };
        self.incremental = incremental && request.incremental;

        if let Some(refusal) = &request.error_detail {
            // `sent` stays: what was refused is not sent again, only something newer.
            let refusal = rpc::Status {
                code: refusal.code,
                message: shortened(&refusal.message, MAX_REASON).to_owned(),
                details: Vec::new(),
            };
            self.nacks += 1;
            self.refusal = Some(refusal.clone());
            return Received::Nack(refusal);
        }
        match answered {
            Some(collection) => {
                self.acks += 1;
                self.refusal = None;
                self.held = Held::Acknowledged(collection);
                Received::Ack
            }
            None => {
                self.sent = None;
                self.held = Held::Said(request.initial_resource_versions.clone());
                Received::Subscription
            }
        }
    }

    fn wants(&self, current: &Collection) -> bool {
        self.pending.is_none() && self.sent.as_deref() != Some(current.version())
    }

    fn content(&self, current: &Collection) -> Content {
        // Against nothing held, changes would be everything: then say so.
        if !self.incremental || self.held.is_empty() {
            return Content::Full;
        }
        let upserted = current
            .entries()
            .iter()
            .filter(|entry| !self.held.has(entry))
            .cloned()
            .collect();
        let removed = self
            .held
            .names()
            .filter(|name| current.entry(name).is_none())
            .map(str::to_owned)
            .collect();
        Content::Changes { upserted, removed }
    }
}

// === impl Held ===

impl Held {
    fn is_empty(&self) -> bool {
        match self {
            Self::Said(versions) => versions.is_empty(),
            Self::Acknowledged(collection) => collection.entries().is_empty(),
        }
    }

    /// Whether the sink has an object as it is. What it acknowledged is known by its content, and only what it says of
    /// itself by its version.
    fn has(&self, entry: &Arc<Entry>) -> bool {
        match self {
            Self::Said(versions) => versions
                .get(entry.name())
                .is_some_and(|version| !version.is_empty() && version == entry.version()),
            Self::Acknowledged(collection) => collection
                .entry(entry.name())
                .is_some_and(|known| Arc::ptr_eq(known, entry) || known.record() == entry.record()),
        }
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Said(versions) => Box::new(versions.keys().map(String::as_str)),
            Self::Acknowledged(collection) => Box::new(collection.entries().iter().map(|entry| entry.name())),
        }
    }
}

impl Default for Held {
    fn default() -> Self {
        Self::Said(BTreeMap::new())
    }
}

// === impl Response ===

impl Response {
    /// As it goes over the wire, in one of the two generations of the protocol.
    pub(crate) fn into_frame(self, legacy: bool) -> Frame {
        let (records, removed, incremental): (Vec<Bytes>, _, _) = match self.content {
            Content::Full if legacy => {
                let entries = self.collection.entries().iter();
                (
                    entries.map(|entry| entry.record().clone()).collect(),
                    Vec::new(),
                    false,
                )
            }
            Content::Full => (vec![self.collection.encoded().clone()], Vec::new(), false),
            Content::Changes { upserted, removed } => (
                upserted.iter().map(|entry| entry.record().clone()).collect(),
                removed,
                true,
            ),
        };
        Frame {
            version: self.collection.version().to_owned(),
            collection: self.collection.name().to_string(),
            records,
            removed,
            nonce: self.nonce,
            incremental,
            legacy,
        }
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
