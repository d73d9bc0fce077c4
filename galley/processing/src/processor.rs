//! The one loop that owns the state: events in, snapshots out.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_mcp::SnapshotCache;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, info};

use crate::event::{Event, Problem};
use crate::metrics::ProcessingMetrics;
use crate::problems::{ProblemRow, ProblemTable};
use crate::state::{Served, State};
use crate::strategy::{DebounceOptions, Reason, Strategy};

/// Turns events into snapshots.
#[derive(Debug)]
pub struct Processor {
    state: State,
    strategy: Strategy,
    problems: ProblemTable,
    /// What each of these reports.
    reports: BTreeMap<Reporter, Vec<Problem>>,
    /// Whether the source has told everything that was there at the start.
    synced: bool,
    snapshots: SnapshotCache,
    metrics: ProcessingMetrics,
    handle: ProcessorHandle,
    last_event: Option<Instant>,
    published: Option<Instant>,
    unpublished_events: u64,
}

/// Who reports problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reporter {
    Source,
    Mesh,
    Projection,
}

/// Shows what the processor has done. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProcessorHandle {
    served: Arc<watch::Sender<Served>>,
    problems: Arc<watch::Sender<Arc<[ProblemRow]>>>,
}

// === impl ProcessorHandle ===

impl ProcessorHandle {
    /// What is served now.
    pub fn served(&self) -> Served {
        self.served.borrow().clone()
    }

    /// What is not served, and why.
    pub fn problems(&self) -> Arc<[ProblemRow]> {
        self.problems.borrow().clone()
    }
}

// === impl Processor ===

impl Processor {
    /// A processor that publishes to `snapshots`.
    pub fn new(options: DebounceOptions, snapshots: SnapshotCache, metrics: ProcessingMetrics) -> Self {
        let handle = ProcessorHandle {
            served: Arc::new(watch::Sender::new(Served::default())),
            problems: Arc::new(watch::Sender::new(Arc::default())),
        };
        Self {
            state: State::new(),
            strategy: Strategy::new(options),
            problems: ProblemTable::default(),
            reports: BTreeMap::new(),
            synced: false,
            snapshots,
            metrics,
            handle,
            last_event: None,
            published: None,
            unpublished_events: 0,
        }
    }

    /// Serves the mesh configuration too, this one until the first event says otherwise, and what Ingresses mean by it
    /// (G7). `domain` is the DNS suffix of the cluster.
    #[must_use]
    pub fn with_mesh(self, mesh: MeshConfig, domain: String) -> Self {
        Self {
            state: self.state.with_mesh(mesh, domain),
            ..self
        }
    }

    /// Shows what this processor has done.
    pub fn handle(&self) -> ProcessorHandle {
        self.handle.clone()
    }

    /// Takes batches of events until the source is gone.
    pub async fn run(mut self, mut events: mpsc::Receiver<Vec<Event>>) {
        loop {
            // Before the source has told everything, a snapshot would be partial (T18).
            let deadline = self.strategy.deadline().filter(|_| self.synced);
            tokio::select! {
                // Events that are there belong into the snapshot that is due.
                biased;
                batch = events.recv() => match batch {
                    Some(batch) => self.take(batch),
                    None => return,
                },
                reason = until(deadline) => {
                    match reason {
                        Reason::Quiet => self.metrics.quiesce_reached.inc(),
                        Reason::MaxWait => self.metrics.max_time_reached.inc(),
                    }
                    self.publish();
                }
            }
        }
    }

    fn take(&mut self, batch: Vec<Event>) {
        for event in batch {
            let now = Instant::now();
            self.metrics.events_processed.inc();
            if let Some(last) = self.last_event.replace(now) {
                self.metrics.event_span.observe(milliseconds(last, now));
            }
            let changed = match event {
                Event::Upsert(config) => {
                    let key = config.meta.key.clone();
                    let changed = self.state.upsert(config);
                    debug!(%key, changed, "object");
                    changed
                }
                Event::Delete(key) => {
                    let changed = self.state.delete(&key);
                    debug!(%key, changed, "object gone");
                    changed
                }
                Event::Problems(problems) => {
                    self.report(Reporter::Source, problems);
                    false
                }
                Event::Mesh(Ok(mesh)) => {
                    self.report(Reporter::Mesh, Vec::new());
                    let changed = self.state.set_mesh(*mesh);
                    debug!(changed, "mesh configuration");
                    changed
                }
                Event::Mesh(Err(problem)) => {
                    self.report(Reporter::Mesh, vec![problem]);
                    false
                }
                Event::FullSync => {
                    if !self.synced {
                        self.synced = true;
                        self.publish();
                    }
                    false
                }
            };
            if changed {
                self.unpublished_events += 1;
                self.metrics.on_change.inc();
                if self.strategy.on_change(now.into_std()) {
                    self.metrics.resets.inc();
                }
            }
        }
    }

    /// Takes everything that is wrong by one of the reporters.
    fn report(&mut self, reporter: Reporter, problems: Vec<Problem>) {
        if self.reports.get(&reporter).map_or(&[][..], Vec::as_slice) == problems {
            return;
        }
        self.reports.insert(reporter, problems);
        let all: Vec<Problem> = self.reports.values().flatten().cloned().collect();
        self.problems.replace(&all, Timestamp::now(), &self.metrics);
        self.handle.problems.send_replace(self.problems.rows().into());
    }

    fn publish(&mut self) {
        self.strategy.reset();
        let (snapshot, served) = self.state.snapshot(&self.metrics);
        self.report(Reporter::Projection, self.state.left_out().to_vec());
        self.handle.served.send_replace(served);
        self.snapshots.publish(snapshot);

        let now = Instant::now();
        if let Some(published) = self.published.replace(now) {
            self.metrics
                .snapshot_lifetime
                .observe(milliseconds(published, now));
        } else {
            info!(objects = self.unpublished_events, "first snapshot published");
        }
        debug!(events = self.unpublished_events, "snapshot published");
        self.metrics.snapshots_published.inc();
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        self.metrics
            .snapshot_events
            .observe(std::mem::take(&mut self.unpublished_events) as f64);
    }
}

async fn until(deadline: Option<(std::time::Instant, Reason)>) -> Reason {
    match deadline {
        Some((deadline, reason)) => {
            tokio::time::sleep_until(deadline.into()).await;
            reason
        }
        None => std::future::pending().await,
    }
}

fn milliseconds(from: Instant, to: Instant) -> f64 {
    (to - from).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh_config::{Config, ConfigKey, Kind, Meta, Timestamp};
    use mesh_runtime::{Metrics, Spawner};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    struct Running {
        events: mpsc::Sender<Vec<Event>>,
        snapshots: SnapshotCache,
        handle: ProcessorHandle,
        metrics: Metrics,
    }

    fn run() -> Running {
        let metrics = Metrics::new();
        let snapshots = SnapshotCache::new();
        let processing = ProcessingMetrics::register(&metrics).unwrap();
        let processor = Processor::new(DebounceOptions::default(), snapshots.clone(), processing);
        let handle = processor.handle();
        let (events, receiver) = mpsc::channel(16);
        Spawner::default().spawn("processor", processor.run(receiver));
        Running {
            events,
            snapshots,
            handle,
            metrics,
        }
    }

    fn upsert(name: &str, version: &str) -> Event {
        Event::Upsert(Config {
            meta: Meta {
                key: ConfigKey::new(Kind::Gateway, "ns", name),
                labels: [].into(),
                annotations: [].into(),
                created: Timestamp::default(),
                version: version.to_owned(),
            },
            body: mesh_api::Any::default(),
        })
    }

    impl Running {
        async fn send(&self, events: Vec<Event>) {
            self.events.send(events).await.unwrap();
        }

        fn version(&self) -> Option<String> {
            let snapshot = self.snapshots.current()?;
            Some(
                snapshot
                    .collection(Kind::Gateway.collection())?
                    .version()
                    .to_owned(),
            )
        }

        fn counter(&self, name: &str) -> u64 {
            let text = self.metrics.encode().unwrap();
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            value.unwrap_or_else(|| panic!("{name} is missing in:\n{text}"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn t18_there_is_no_snapshot_before_the_full_sync_and_one_at_once_then() {
        let running = run();
        running.send(vec![upsert("a", "1")]).await;
        running.send(vec![upsert("b", "1")]).await;
        tokio::time::sleep(3000 * MS).await;
        assert_eq!(running.version(), None);
        running.send(vec![Event::FullSync]).await;
        tokio::time::sleep(MS).await;
        assert_eq!(running.version().as_deref(), Some("2"));
        assert_eq!(
            running.handle.served().collections[&Kind::Gateway].configs.len(),
            2
        );
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_published_after_quiet_and_at_the_latest_after_the_maximum() {
        let running = run();
        running.send(vec![Event::FullSync]).await;
        running.send(vec![upsert("a", "1")]).await;
        tokio::time::sleep(19 * MS).await;
        assert_eq!(running.version().as_deref(), Some("0"));
        tokio::time::sleep(2 * MS).await;
        assert_eq!(running.version().as_deref(), Some("1"));

        // 100 changes, one each 15 ms: never 20 ms of quiet.
        for change in 0..100 {
            running.send(vec![upsert("a", &format!("1.{change}"))]).await;
            tokio::time::sleep(15 * MS).await;
        }
        assert_ne!(
            running.version().as_deref(),
            Some("1"),
            "the maximum is one second"
        );
        tokio::time::sleep(20 * MS).await;
        assert_eq!(running.version().as_deref(), Some("101"));
        let strategy = "galley_runtime_strategy";
        assert_eq!(
            running.counter(&format!("{strategy}_timer_max_time_reached_total")),
            1
        );
        assert_eq!(
            running.counter(&format!("{strategy}_timer_quiesce_reached_total")),
            2
        );
        assert_eq!(running.counter(&format!("{strategy}_on_change_total")), 101);
        assert_eq!(
            running.counter("galley_runtime_processor_snapshots_published_total"),
            4
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_nothing_publishes_nothing() {
        let running = run();
        running.send(vec![upsert("a", "1"), Event::FullSync]).await;
        running.send(vec![upsert("a", "1")]).await;
        running
            .send(vec![Event::Delete(ConfigKey::new(Kind::Gateway, "ns", "b"))])
            .await;
        tokio::time::sleep(3000 * MS).await;
        assert_eq!(
            running.counter("galley_runtime_processor_snapshots_published_total"),
            1
        );
    }
}
