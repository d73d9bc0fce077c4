//! Writes what is wrong with objects into their status.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use mesh_config::{ConfigKey, Kind};
use mesh_kube::{Client, Error, Leadership, config, patch};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::status::Due;
use crate::metrics::ProcessingMetrics;

/// Between two writes to one object.
const PERIOD: Duration = Duration::from_secs(10);

/// How long a kind is left alone whose status we may not write.
const FORBIDDEN: Duration = Duration::from_secs(300);

/// What has to be written, by object. An object leaves when it is seen to say what it should.
pub(super) type DueTable = BTreeMap<ConfigKey, Due>;

/// Writes the status of objects that cannot be served, and takes it back when they can, as long as it leads.
///
/// What is to be written follows from what the API server last told about the object, so that nothing is written twice,
/// a write that failed is tried again, and a status that somebody else took away comes back.
pub struct StatusReporter {
    client: Client,
    due: watch::Receiver<DueTable>,
    metrics: ProcessingMetrics,
    /// Objects that are not to be written before a time.
    rest: BTreeMap<ConfigKey, Instant>,
    /// Kinds that are not to be written before a time.
    forbidden: BTreeMap<Kind, Instant>,
    /// Kinds of which it was told that they must not be written.
    told: BTreeSet<Kind>,
}

// === impl StatusReporter ===

impl StatusReporter {
    pub(super) fn new(client: Client, due: watch::Receiver<DueTable>, metrics: ProcessingMetrics) -> Self {
        Self {
            client,
            due,
            metrics,
            rest: BTreeMap::new(),
            forbidden: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// Writes while `leadership` is ours, until the source is gone.
    pub async fn run(mut self, mut leadership: Leadership) {
        let mut lost = leadership.clone();
        loop {
            leadership.gained().await;
            tokio::select! {
                () = lost.lost() => {}
                () = self.report() => return,
            }
        }
    }

    async fn report(&mut self) {
        loop {
            let now = Instant::now();
            self.rest.retain(|_, until| *until > now);
            self.forbidden.retain(|_, until| *until > now);
            let (next, wake) = self.choose();
            if let Some((key, due)) = next {
                self.rest.insert(key.clone(), now + PERIOD);
                self.write(key, due).await;
                continue;
            }
            let later = async {
                match wake {
                    Some(time) => sleep_until(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.due.changed() => if changed.is_err() { return },
                () = later => {}
            }
        }
    }

    /// An object that may be written now, or when the first one may be.
    fn choose(&mut self) -> (Option<(ConfigKey, Due)>, Option<Instant>) {
        let due = self.due.borrow_and_update();
        let mut wake = None;
        for (key, due) in &*due {
            let rest = self.rest.get(key).max(self.forbidden.get(&key.kind)).copied();
            let Some(until) = rest else {
                return (Some((key.clone(), due.clone())), None);
            };
            wake = Some(wake.map_or(until, |wake: Instant| wake.min(until)));
        }
        (None, wake)
    }

    async fn write(&mut self, key: ConfigKey, due: Due) {
        let namespace = (!key.namespace.is_empty()).then_some(&*key.namespace);
        let objects = config::api(self.client.clone(), key.kind, namespace);
        let version = due.version.clone();
        let status = due.status(Timestamp::now());
        let result = match patch::status_at(&objects, &key.name, &version, &status).await {
            Ok(true) => {
                debug!(object = %key, "status written");
                "written"
            }
            // The watch tells what it is now.
            Ok(false) => "outdated",
            Err(Error::Api(answer)) if answer.code == 403 => {
                self.forbidden.insert(key.kind, Instant::now() + FORBIDDEN);
                if self.told.insert(key.kind) {
                    warn!(kind = %key.kind, reason = answer.message, "the status of objects must not be written");
                }
                "forbidden"
            }
            Err(error) => {
                debug!(object = %key, error = mesh_runtime::error_chain(&error), "cannot write the status");
                "failed"
            }
        };
        self.metrics.status_writes.with_label_values(&[result]).inc();
    }
}

impl fmt::Debug for StatusReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusReporter")
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}
