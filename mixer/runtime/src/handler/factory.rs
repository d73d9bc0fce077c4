//! From the handlers that a configuration asks for to handlers at work.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use mesh_config::ConfigError;
use mesh_runtime::Spawner;
use mixer_adapter::{BUILD_LIMIT, Env};
use mixer_dynamic::Pace;
use tokio::sync::mpsc;

use super::HandlerTable;
use super::close::{Closer, Closing};
use super::live::LiveHandler;
use super::order::{Order, needed};
use super::signature::Signature;
use crate::adapters::Adapters;
use crate::config::{FullName, HandlerConfig, Problems, Snapshot};
use crate::metrics::EngineMetrics;

/// Builds handlers.
#[derive(Debug)]
pub struct Factory {
    adapters: Arc<Adapters>,
    spawner: Spawner,
    closing: mpsc::UnboundedSender<Closing>,
    metrics: EngineMetrics,
    build_limit: Duration,
    pace: Pace,
}

/// The handlers of a configuration, and what became of those that are missing.
#[derive(Debug)]
pub struct Built {
    /// The handlers at work.
    pub table: HandlerTable,
    /// Why others are missing, or are still as they were before.
    pub problems: Vec<ConfigError>,
    /// How many of each.
    pub counts: HandlerCounts,
    /// Those that could not be built.
    pub attempts: Attempts,
}

/// What came of attempts to build handlers, so that a configuration that comes meanwhile need not wait for the same again.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    made: BTreeMap<FullName, Arc<LiveHandler>>,
    /// Of what they could not be built, and why.
    failed: BTreeMap<FullName, (Signature, String)>,
}

/// What became of the handlers of a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandlerCounts {
    /// Built.
    pub new: usize,
    /// Kept as they were.
    pub reused: usize,
    /// Not used any more.
    pub closed: usize,
    /// Could not be built, and may be the next time.
    pub build_failures: usize,
    /// Have parameters that are wrong.
    pub validation_errors: usize,
}

/// What became of one order.
type Outcome<'a> = (&'a HandlerConfig, Signature, Result<Arc<LiveHandler>, String>);

/// The handlers of a configuration, as far as they are known.
struct Building<'p> {
    previous: &'p HandlerTable,
    handlers: BTreeMap<FullName, Arc<LiveHandler>>,
    problems: Problems,
    counts: HandlerCounts,
    attempts: Attempts,
}

// === impl Factory ===

impl Factory {
    /// A factory, and what closes the handlers that it makes.
    #[must_use]
    pub fn new(adapters: Arc<Adapters>, spawner: Spawner, metrics: EngineMetrics) -> (Self, Closer) {
        // Bounded by the handlers that there are; a handler that is dropped cannot wait.
        let (sender, receiver) = mpsc::unbounded_channel();
        let factory = Self {
            adapters,
            spawner,
            closing: sender,
            metrics: metrics.clone(),
            build_limit: BUILD_LIMIT,
            pace: Pace::default(),
        };
        let closer = Closer {
            closing: receiver,
            metrics,
        };
        (factory, closer)
    }

    /// Changes how long building may take.
    #[must_use]
    pub fn with_build_limit(self, build_limit: Duration) -> Self {
        Self { build_limit, ..self }
    }

    /// Changes how adapters of other processes are connected to.
    #[must_use]
    pub fn with_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// The handlers that the rules of a configuration use. One that would be the same as before is kept; one that cannot
    /// be made stays as it was before, if it was there with the same adapter, and is told.
    pub async fn build(&self, snapshot: &Snapshot, previous: &HandlerTable) -> Built {
        self.build_after(&Attempts::default(), snapshot, previous).await
    }

    /// The same after some attempts: what was built is taken, and what could not be built is not tried again.
    pub async fn build_after(
        &self,
        attempts: &Attempts,
        snapshot: &Snapshot,
        previous: &HandlerTable,
    ) -> Built {
        let mut built = Building::new(previous);
        let mut orders = Vec::new();
        let needed = needed(snapshot);
        for (name, instances) in &needed {
            let Some(config) = snapshot.handlers.get(name) else {
                continue;
            };
            let before = built.before(config);
            match Order::new(&self.adapters, config, instances, self.pace, &mut built.problems) {
                None => {
                    built.counts.validation_errors += 1;
                    built.keep(before);
                }
                Some(order) => {
                    let same = |handler: &&Arc<LiveHandler>| *handler.signature() == order.signature;
                    let made = attempts.made.get(name).filter(same);
                    let failed = attempts.failed.get(name);
                    if let Some(handler) = before.filter(same) {
                        built.counts.reused += 1;
                        built.keep(Some(handler));
                    } else if let Some(handler) = made {
                        built.done(config, order.signature, Ok(Arc::clone(handler)));
                    } else if let Some((_, reason)) =
                        failed.filter(|(signature, _)| *signature == order.signature)
                    {
                        built.done(config, order.signature, Err(reason.clone()));
                    } else {
                        orders.push(order);
                    }
                }
            }
        }
        for (config, signature, outcome) in self.make_all(snapshot.id, orders).await {
            built.done(config, signature, outcome);
        }
        built.finish()
    }

    /// Tries again to build the handlers of a configuration that could not be built.
    pub async fn retry(self: Arc<Self>, snapshot: Arc<Snapshot>, attempts: Attempts) -> Attempts {
        let Attempts { failed, .. } = attempts;
        let mut known = Problems::default();
        let needed = needed(&snapshot);
        let again = needed.iter().filter(|(name, _)| failed.contains_key(*name));
        let orders = again.filter_map(|(name, instances)| {
            let config = snapshot.handlers.get(name)?;
            Order::new(&self.adapters, config, instances, self.pace, &mut known)
        });
        let orders = orders.collect();
        let mut attempts = Attempts::default();
        for (config, signature, outcome) in self.make_all(snapshot.id, orders).await {
            attempts.add(config, signature, outcome);
        }
        attempts
    }

    /// Builds handlers, all at once.
    async fn make_all<'a>(&self, config_id: u64, orders: Vec<Order<'a>>) -> Vec<Outcome<'a>> {
        let made = orders.into_iter().map(|order| async {
            let (config, signature) = (order.config, order.signature);
            let made = self.make(config_id, order).await;
            (config, signature, made.map(Arc::new))
        });
        join_all(made).await
    }

    async fn make(&self, config_id: u64, order: Order<'_>) -> Result<LiveHandler, String> {
        let (config, signature) = (order.config, order.signature);
        let faults = self.metrics.faults(&config.label, config.adapter.name());
        let env = Env::counting(config.name.as_str(), self.spawner.clone(), faults);
        let build = AssertUnwindSafe(order.build(env.clone()));
        let built = match tokio::time::timeout(self.build_limit, build.catch_unwind()).await {
            Ok(Ok(Ok(work))) => Ok(work),
            Ok(Ok(Err(reason))) => Err(format!("cannot be built: {reason}")),
            Ok(Err(_)) => Err("cannot be built: the adapter panicked".to_owned()),
            Err(_) => Err(format!("cannot be built within {:?}", self.build_limit)),
        };
        match built {
            Ok(work) => Ok(LiveHandler::new(
                config,
                config_id,
                signature,
                work,
                env,
                self.closing.clone(),
            )),
            Err(reason) => {
                env.stop();
                Err(reason)
            }
        }
    }
}

// === impl Attempts ===

impl Attempts {
    /// Whether handlers could be built that could not be built before.
    #[must_use]
    pub fn has_made(&self) -> bool {
        !self.made.is_empty()
    }

    /// Whether there are handlers that could not be built.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Takes over what came of other attempts.
    pub(crate) fn learn(&mut self, others: Self) {
        for (name, failure) in others.failed {
            self.failed.entry(name).and_modify(|known| *known = failure);
        }
        self.made.extend(others.made);
    }

    fn add(
        &mut self,
        config: &HandlerConfig,
        signature: Signature,
        outcome: Result<Arc<LiveHandler>, String>,
    ) {
        let name = config.name.clone();
        match outcome {
            Ok(handler) => drop(self.made.insert(name, handler)),
            Err(reason) => drop(self.failed.insert(name, (signature, reason))),
        }
    }
}

// === impl Building ===

impl<'p> Building<'p> {
    fn new(previous: &'p HandlerTable) -> Self {
        Self {
            previous,
            handlers: BTreeMap::new(),
            problems: Problems::default(),
            counts: HandlerCounts::default(),
            attempts: Attempts::default(),
        }
    }

    /// The handler as it was, if it was made of the same adapter.
    fn before(&self, config: &HandlerConfig) -> Option<&'p Arc<LiveHandler>> {
        let before = self.previous.get(&config.name);
        before.filter(|before| before.adapter() == config.adapter.name())
    }

    fn keep(&mut self, handler: Option<&Arc<LiveHandler>>) {
        self.handlers
            .extend(handler.map(|handler| (handler.name().clone(), Arc::clone(handler))));
    }

    /// A handler was built, or could not be built.
    fn done(
        &mut self,
        config: &HandlerConfig,
        signature: Signature,
        outcome: Result<Arc<LiveHandler>, String>,
    ) {
        match outcome {
            Ok(handler) => {
                self.counts.new += 1;
                self.keep(Some(&handler));
            }
            Err(reason) => {
                self.counts.build_failures += 1;
                self.problems.push(&config.key, "", reason.clone());
                self.keep(self.before(config));
                self.attempts.add(config, signature, Err(reason));
            }
        }
    }

    fn finish(mut self) -> Built {
        let gone = |before: &&Arc<LiveHandler>| {
            let now = self.handlers.get(before.name());
            now.is_none_or(|now| !Arc::ptr_eq(now, before))
        };
        self.counts.closed = self.previous.iter().filter(gone).count();
        Built {
            table: HandlerTable(self.handlers),
            problems: self.problems.into_vec(),
            counts: self.counts,
            attempts: self.attempts,
        }
    }
}
