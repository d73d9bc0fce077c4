//! The loop: follow all kinds, tell what happens.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt as _, stream};
use mesh_config::Kind;
use mesh_kube::{Client, Event as WatchEvent, Served, State, Status, WatchOptions, config, until_ready};
use mesh_runtime::Spawner;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tracing::info;

use super::read::{self, Object};
use super::reporter::{DueTable, StatusReporter};
use super::tally::Tally;
use crate::event::Event;
use crate::metrics::ProcessingMetrics;

/// Events of the watches that are told together, where so many are there.
const BATCH: usize = 256;

/// How long an API server may refuse to say whether it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// Follows the objects of an API server.
pub struct KubeSource {
    client: Client,
    happenings: SelectAll<BoxStream<'static, (Kind, WatchEvent<Object>)>>,
    watches: usize,
    check_ready: bool,
    due: watch::Sender<DueTable>,
}

/// Shows how a source fares. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KubeSourceHandle {
    kinds: Vec<(Kind, watch::Receiver<Status>)>,
}

/// How one kind is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WatchRow {
    /// The collection that it feeds.
    pub collection: &'static str,
    /// `starting`, `following`, `not served`, `forbidden` or `failing`.
    pub state: &'static str,
    /// What the API server said, where it did not do what it was asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Objects that there are, valid or not.
    pub objects: usize,
    /// Complete lists that were read: one, and one for every time that changes were missed.
    pub lists: u64,
    /// Requests that failed.
    pub failures: u64,
}

// === impl KubeSource ===

impl KubeSource {
    /// A source of the objects of all kinds but the excluded ones, in all namespaces. With `check_ready` it waits at the
    /// start until the API server says that it is ready.
    pub fn new(
        client: Client,
        excluded: &BTreeSet<Kind>,
        check_ready: bool,
        spawner: &Spawner,
    ) -> (Self, KubeSourceHandle) {
        let options = WatchOptions {
            served: Served::follow(client.clone(), spawner),
            ..WatchOptions::default()
        };
        let (mut happenings, mut kinds) = (Vec::new(), Vec::new());
        for kind in Kind::ALL.iter().copied().filter(|kind| !excluded.contains(kind)) {
            let watch = config::watch_as(client.clone(), kind, None, options.clone(), move |object| {
                Ok(read::read(kind, object))
            });
            kinds.push((kind, watch.status()));
            happenings.push(watch.into_stream().map(move |event| (kind, event)).boxed());
        }
        let source = Self {
            client,
            watches: happenings.len(),
            happenings: stream::select_all(happenings),
            check_ready,
            due: watch::Sender::default(),
        };
        (source, KubeSourceHandle { kinds })
    }

    /// Writes into the status of objects what this source finds wrong with them.
    #[must_use]
    pub fn reporter(&self, metrics: ProcessingMetrics) -> StatusReporter {
        StatusReporter::new(self.client.clone(), self.due.subscribe(), metrics)
    }

    /// Tells what there is and then what changes, until nobody listens. Waits while nobody takes what it told.
    pub async fn run(self, events: mpsc::Sender<Vec<Event>>) {
        if self.check_ready {
            tokio::select! {
                () = until_ready(&self.client, READY_PATIENCE) => {}
                () = events.closed() => return,
            }
        }
        info!(kinds = self.watches, "following the API server");
        let mut tally = Tally::new(self.watches, self.due);
        let mut happenings = self.happenings.ready_chunks(BATCH);
        loop {
            let happened = tokio::select! {
                happened = happenings.next() => happened,
                () = events.closed() => return,
            };
            // Watches have no end.
            let Some(happened) = happened else { return };
            let told = tally.take(happened);
            if !told.is_empty() && events.send(told).await.is_err() {
                return;
            }
        }
    }
}

impl std::fmt::Debug for KubeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeSource")
            .field("watches", &self.watches)
            .field("check_ready", &self.check_ready)
            .finish_non_exhaustive()
    }
}

// === impl KubeSourceHandle ===

impl KubeSourceHandle {
    /// How each kind is followed.
    #[must_use]
    pub fn watches(&self) -> Vec<WatchRow> {
        self.kinds
            .iter()
            .map(|(kind, status)| row(*kind, &status.borrow()))
            .collect()
    }
}

fn row(kind: Kind, status: &Status) -> WatchRow {
    let (state, reason) = match &status.state {
        State::Starting => ("starting", ""),
        State::Following => ("following", ""),
        State::NotServed => ("not served", ""),
        State::Forbidden(reason) => ("forbidden", reason.as_str()),
        State::Failing(reason) => ("failing", reason.as_str()),
    };
    WatchRow {
        collection: kind.collection(),
        state,
        reason: reason.to_owned(),
        objects: status.objects,
        lists: status.lists,
        failures: status.failures,
    }
}
