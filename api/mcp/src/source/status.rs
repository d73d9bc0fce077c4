//! What the open streams look like, for debug pages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use super::state::{SourceState, Watch};

/// One open stream.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionStatus {
    /// Number of the stream since the start of the process, from 1.
    pub id: u64,
    /// Address of the sink.
    pub peer: String,
    /// How the sink calls itself; empty until its first request.
    pub node: String,
    /// When the stream was opened.
    #[serde(serialize_with = "crate::sink::as_text")]
    pub connected: Timestamp,
    /// Its subscriptions, by collection.
    pub watches: BTreeMap<String, WatchStatus>,
}

/// One subscription of a stream.
#[derive(Clone, Debug, Serialize)]
pub struct WatchStatus {
    /// Version that was sent last.
    pub sent: Option<String>,
    /// Nonce of the response that waits for an answer.
    pub pending_nonce: Option<String>,
    /// Version that was acknowledged last.
    pub acknowledged: Option<String>,
    /// Number of ACKs.
    pub acks: u64,
    /// Number of NACKs.
    pub nacks: u64,
    /// Number of answers to responses that were no longer pending; they change nothing.
    pub stale: u64,
    /// Why the last answer was a NACK.
    pub refusal: Option<String>,
    /// Responses hold changes only.
    pub incremental: bool,
}

/// All open streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    last_id: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
}

/// What a stream shares with the debug pages.
#[derive(Debug)]
pub(super) struct Connection {
    peer: String,
    connected: Timestamp,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) node: String,
    pub(super) state: SourceState,
}

/// Keeps a stream in the list.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) id: u64,
    pub(super) connection: Arc<Connection>,
    connections: Connections,
}

// === impl Connections ===

impl Connections {
    pub(super) fn register(&self, peer: String, state: SourceState) -> Registration {
        let inner = Mutex::new(Inner {
            node: String::new(),
            state,
        });
        let connection = Arc::new(Connection {
            peer,
            connected: Timestamp::now(),
            inner,
        });
        let mut open = lock(&self.open);
        open.last_id += 1;
        let id = open.last_id;
        open.connections.insert(id, connection.clone());
        Registration {
            id,
            connection,
            connections: self.clone(),
        }
    }

    pub(super) fn list(&self) -> Vec<ConnectionStatus> {
        let open: Vec<_> = lock(&self.open)
            .connections
            .iter()
            .map(|(&id, c)| (id, c.clone()))
            .collect();
        open.into_iter()
            .map(|(id, connection)| connection.status(id))
            .collect()
    }
}

// === impl Connection ===

impl Connection {
    /// The state of the stream. Never held while waiting.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    fn status(&self, id: u64) -> ConnectionStatus {
        let inner = self.lock();
        ConnectionStatus {
            id,
            peer: self.peer.clone(),
            node: inner.node.clone(),
            connected: self.connected,
            watches: inner
                .state
                .watches()
                .map(|(name, watch)| (name.to_string(), watch.into()))
                .collect(),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.connections.open).connections.remove(&self.id);
    }
}

// === impl WatchStatus ===

impl From<&Watch> for WatchStatus {
    fn from(watch: &Watch) -> Self {
        Self {
            sent: watch.sent().map(str::to_owned),
            pending_nonce: watch.pending_nonce().map(str::to_owned),
            acknowledged: watch.acknowledged().map(str::to_owned),
            acks: watch.acks(),
            nacks: watch.nacks(),
            stale: watch.stale(),
            refusal: watch.refusal().map(|status| status.message.clone()),
            incremental: watch.incremental(),
        }
    }
}

/// A panic while the lock was held cannot leave the data half changed in a way that matters here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
