//! Keeps the engine at what the stores say (`spec 02` §9.4, §9.5).
//!
//! What comes within a second is taken over at once. The table is replaced when the handlers that it needs are there, or
//! could not be built; requests go on under the one before until then. What could not be built is tried again beside that,
//! so that a back end that hangs holds up one configuration, and none that comes after it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mesh_config::ConfigError;
use mesh_runtime::ReadyGuard;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::adapters::Adapters;
use crate::config::{Problems, Replaced, Snapshot, State, StoreEvent};
use crate::dispatch::Engine;
use crate::handler::{Attempts, Built, Factory, HandlerCounts, HandlerTable};
use crate::metrics::EngineMetrics;
use crate::routing::Table;

/// Handlers that could not be built are tried again after this long.
const RETRY: Duration = Duration::from_secs(10);

/// How a controller works.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// The namespace whose rules count everywhere (`--configDefaultNamespace`).
    pub default_namespace: String,
    /// How long changes are gathered, from the first of them.
    pub debounce: Duration,
}

/// The configuration in force, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the objects say.
    pub snapshot: Arc<Snapshot>,
    /// Handlers at work: name, adapter, configuration that they were built for.
    pub handlers: Vec<(String, String, u64)>,
    /// What became of handlers.
    pub handler_counts: HandlerCounts,
    /// Everything that is left out, and why.
    pub problems: Vec<ConfigError>,
    /// See [`Table::generation`].
    pub generation: u64,
}

/// Keeps an engine at what the stores say.
#[derive(Debug)]
pub struct Controller {
    adapters: Arc<Adapters>,
    factory: Arc<Factory>,
    engine: Arc<Engine>,
    metrics: EngineMetrics,
    options: ControllerOptions,
    state: State,
    handlers: HandlerTable,
    /// Of handlers that are not there as they should be.
    attempts: Attempts,
    next_id: u64,
    report: watch::Sender<Arc<Report>>,
    /// Dropped when the first configuration is in force.
    ready: Option<ReadyGuard>,
}

// === impl ControllerOptions ===

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            default_namespace: "istio-system".to_owned(),
            debounce: Duration::from_secs(1),
        }
    }
}

// === impl Controller ===

impl Controller {
    /// A controller of `engine`; `ready` is dropped when the first configuration is in force.
    #[must_use]
    pub fn new(
        adapters: Arc<Adapters>,
        factory: Factory,
        engine: Arc<Engine>,
        metrics: EngineMetrics,
        options: ControllerOptions,
        ready: Option<ReadyGuard>,
    ) -> Self {
        Self {
            adapters,
            factory: Arc::new(factory),
            engine,
            metrics,
            options,
            state: State::default(),
            handlers: HandlerTable::default(),
            attempts: Attempts::default(),
            next_id: 0,
            report: watch::Sender::default(),
            ready,
        }
    }

    /// The configuration in force, as it changes.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Arc<Report>> {
        self.report.subscribe()
    }

    /// Follows the stores until they are gone.
    pub async fn run(mut self, mut events: mpsc::Receiver<Vec<StoreEvent>>) {
        let mut due: Option<Instant> = None;
        let mut retry_due: Option<Instant> = None;
        let mut retry: Option<BoxFuture<'static, Attempts>> = None;
        loop {
            tokio::select! {
                batch = events.recv() => {
                    let Some(batch) = batch else { return };
                    let synced = self.state.is_synced();
                    let mut changed = false;
                    for event in batch {
                        changed |= self.state.apply(event);
                    }
                    if !self.state.is_synced() {
                        continue;
                    }
                    if !synced {
                        due = Some(Instant::now());
                    } else if changed {
                        let soon = Instant::now() + self.options.debounce;
                        due = Some(due.map_or(soon, |due| due.min(soon)));
                    }
                }
                () = until(due) => {
                    due = None;
                    self.rebuild().await;
                    retry_due = retry_due.or_else(|| Some(Instant::now() + RETRY));
                }
                () = until(retry_due), if retry.is_none() => {
                    retry_due = None;
                    if self.attempts.has_failed() {
                        let snapshot = Arc::clone(&self.report.borrow().snapshot);
                        retry = Some(Arc::clone(&self.factory).retry(snapshot, self.attempts.clone()).boxed());
                    }
                }
                attempts = end_of(&mut retry) => {
                    retry = None;
                    retry_due = Some(Instant::now() + RETRY);
                    self.attempts.learn(attempts);
                    if self.attempts.has_made() {
                        due = Some(Instant::now());
                    }
                }
            }
        }
    }

    /// Puts what the stores say in force.
    async fn rebuild(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        let objects = Arc::clone(self.state.objects());
        let adapters = Arc::clone(&self.adapters);
        let compile = tokio::task::spawn_blocking(move || Snapshot::new(id, &objects, &adapters));
        let snapshot = match compile.await {
            Ok(snapshot) => Arc::new(snapshot),
            Err(error) => {
                error!(%error, "the configuration cannot be read because of a defect of this program, the former one stays");
                return;
            }
        };
        self.tell_replaced(&snapshot);
        let Built {
            table: handlers,
            problems: of_handlers,
            counts: handler_counts,
            attempts,
        } = self
            .factory
            .build_after(&self.attempts, &snapshot, &self.handlers)
            .await;
        let mut problems = Problems::default();
        problems.extend(self.state.problems().iter().cloned());
        problems.extend(snapshot.problems.iter().cloned());
        problems.extend(of_handlers);
        let (table, unsatisfied) = Table::new(
            &snapshot,
            &handlers,
            &self.options.default_namespace,
            &self.metrics,
            &mut problems,
        );
        let table = table.with_generation(self.state.objects());
        let generation = table.generation;
        let mut counts = snapshot.counts;
        counts.unsatisfied_actions += unsatisfied;
        let problems = problems.into_vec();
        self.tell(&problems);
        // Handlers that are not used any more are closed when the last request that uses them is done.
        drop(self.engine.replace(table));
        self.metrics.configured(id, &counts, &handler_counts);
        self.metrics.show_tasks(&handlers);
        info!(
            id,
            rules = snapshot.rules.len(),
            handlers = handlers.len(),
            new = handler_counts.new,
            reused = handler_counts.reused,
            problems = problems.len(),
            "configuration in force"
        );
        let report = Report {
            handlers: handlers
                .iter()
                .map(|handler| {
                    let adapter = handler.adapter().to_owned();
                    (handler.name().to_string(), adapter, handler.config_id())
                })
                .collect(),
            snapshot,
            handler_counts,
            problems,
            generation,
        };
        self.handlers = handlers;
        self.attempts = attempts;
        self.report.send_replace(Arc::new(report));
        if let Some(ready) = self.ready.take() {
            ready.ready();
        }
    }

    /// Tells which names stand for something else now.
    fn tell_replaced(&self, now: &Snapshot) {
        let before = Arc::clone(&self.report.borrow().snapshot);
        for Replaced { object, before, now } in now.replaced(&before) {
            warn!(
                %object,
                before,
                now,
                "the object has been replaced by one of another kind, rules that use it may not fit it any more"
            );
        }
    }

    /// Tells the problems that were not there before.
    fn tell(&self, problems: &[ConfigError]) {
        let before = self.report.borrow();
        let known: HashSet<_> = before.problems.iter().map(parts).collect();
        for problem in problems.iter().filter(|problem| !known.contains(&parts(problem))) {
            warn!(%problem, "configuration is left out");
        }
    }
}

fn parts(problem: &ConfigError) -> [&str; 3] {
    [&problem.object, &problem.field, &problem.reason]
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn end_of(retry: &mut Option<BoxFuture<'static, Attempts>>) -> Attempts {
    match retry {
        Some(retry) => retry.await,
        None => std::future::pending().await,
    }
}
