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
    pace: Pace,
    /// Kinds of which it was told that they must not be written.
    told: BTreeSet<Kind>,
}

/// When what may be written.
#[derive(Debug, Default)]
struct Pace {
    /// Objects that are not to be written before a time.
    rest: BTreeMap<ConfigKey, Instant>,
    /// Kinds that are not to be written before a time.
    forbidden: BTreeMap<Kind, Instant>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Write the status of an object.
    Write(ConfigKey, Due),
    /// Wait for a change, and no longer than until a time.
    Wait(Option<Instant>),
}

// === impl StatusReporter ===

impl StatusReporter {
    pub(super) fn new(client: Client, due: watch::Receiver<DueTable>, metrics: ProcessingMetrics) -> Self {
        Self {
            client,
            due,
            metrics,
            pace: Pace::default(),
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
            let step = self.pace.next(&self.due.borrow_and_update(), Instant::now());
            let wake = match step {
                Step::Write(key, due) => {
                    self.write(key, due).await;
                    continue;
                }
                Step::Wait(wake) => wake,
            };
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
                self.pace.forbid(key.kind, Instant::now());
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
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

// === impl Pace ===

impl Pace {
    /// Chooses an object that may be written, and lets it rest from then on.
    fn next(&mut self, due: &DueTable, now: Instant) -> Step {
        self.rest.retain(|_, until| *until > now);
        self.forbidden.retain(|_, until| *until > now);
        let mut wake: Option<Instant> = None;
        for (key, due) in due {
            let until = self.rest.get(key).max(self.forbidden.get(&key.kind));
            let Some(&until) = until else {
                self.rest.insert(key.clone(), now + PERIOD);
                return Step::Write(key.clone(), due.clone());
            };
            wake = Some(wake.map_or(until, |wake| wake.min(until)));
        }
        Step::Wait(wake)
    }

    /// Leaves a kind alone for a while.
    fn forbid(&mut self, kind: Kind, now: Instant) {
        self.forbidden.insert(kind, now + FORBIDDEN);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::status::Seen;
    use super::*;

    fn due(generation: i64) -> Due {
        let object = json!({
            "apiVersion": "networking.istio.io/v1alpha3", "kind": "Gateway", "metadata": { "generation": generation },
        });
        let object = serde_json::from_value(object).unwrap();
        let error = super::super::read::unreadable(&key(Kind::Gateway, "a"), "bad".to_owned());
        Seen::of(Kind::Gateway, &object).unwrap().due(&[error]).unwrap()
    }

    fn key(kind: Kind, name: &str) -> ConfigKey {
        ConfigKey::new(kind, "weather", name)
    }

    #[test]
    fn pain_11_an_object_is_written_once_in_ten_seconds_however_often_it_changes() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        assert_eq!(pace.next(&DueTable::new(), start), Step::Wait(None));
        let (a, b) = (key(Kind::Gateway, "a"), key(Kind::Gateway, "b"));
        let mut table = DueTable::from([(a.clone(), due(1))]);
        assert_eq!(pace.next(&table, start), Step::Write(a.clone(), due(1)));
        table.insert(a.clone(), due(2));
        table.insert(b.clone(), due(1));
        assert_eq!(
            pace.next(&table, at(1)),
            Step::Write(b, due(1)),
            "another need not wait"
        );
        assert_eq!(pace.next(&table, at(9)), Step::Wait(Some(at(10))));
        assert_eq!(pace.next(&table, at(10)), Step::Write(a, due(2)));
    }

    #[test]
    fn pain_11_a_kind_that_must_not_be_written_is_left_alone() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.forbid(Kind::Gateway, start);
        let table = DueTable::from([
            (key(Kind::Gateway, "a"), due(1)),
            (key(Kind::Sidecar, "a"), due(1)),
        ]);
        assert_eq!(
            pace.next(&table, start),
            Step::Write(key(Kind::Sidecar, "a"), due(1))
        );
        let table = DueTable::from([(key(Kind::Gateway, "a"), due(1))]);
        assert_eq!(pace.next(&table, start), Step::Wait(Some(start + FORBIDDEN)));
        assert!(matches!(pace.next(&table, start + FORBIDDEN), Step::Write(..)));
    }
}
