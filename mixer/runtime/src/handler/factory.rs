//! From the handlers that a configuration asks for to handlers at work.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use mesh_config::ConfigError;
use mesh_runtime::Spawner;
use mixer_adapter::{Configured, Env, Inferred, SomeAdapter};
use tokio::sync::mpsc;

use super::HandlerTable;
use super::close::{Closer, Closing};
use super::live::LiveHandler;
use super::signature::Signature;
use crate::adapters::Adapters;
use crate::config::{FullName, HandlerConfig, Problems, Snapshot};
use crate::metrics::EngineMetrics;

/// How long building a handler may take before it counts as failed.
const BUILD_LIMIT: Duration = Duration::from_secs(10);

/// Builds handlers.
#[derive(Debug)]
pub struct Factory {
    adapters: Arc<Adapters>,
    spawner: Spawner,
    closing: mpsc::UnboundedSender<Closing>,
    build_limit: Duration,
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

/// A handler to be built.
struct Order<'a> {
    config: &'a HandlerConfig,
    adapter: &'a dyn SomeAdapter,
    inferred: &'a Inferred,
    configured: Configured,
    signature: Signature,
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
            build_limit: BUILD_LIMIT,
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

    /// The handlers that the rules of a configuration use. One that would be the same as before is kept; one that cannot
    /// be made stays as it was before, if it was there with the same adapter, and is told.
    pub async fn build(&self, snapshot: &Snapshot, previous: &HandlerTable) -> Built {
        let mut problems = Problems::default();
        let mut counts = HandlerCounts::default();
        let mut handlers: BTreeMap<FullName, Arc<LiveHandler>> = BTreeMap::new();
        let mut orders = Vec::new();
        let needed = needed(snapshot);
        for (name, inferred) in &needed {
            let Some(config) = snapshot.handlers.get(name) else {
                continue;
            };
            let before = previous
                .get(name)
                .filter(|before| before.adapter() == config.adapter);
            match self.order(config, inferred, &mut problems) {
                None => {
                    counts.validation_errors += 1;
                    handlers.extend(before.map(|before| (name.clone(), Arc::clone(before))));
                }
                Some(order) => match before.filter(|before| before.signature == order.signature) {
                    Some(same) => {
                        counts.reused += 1;
                        handlers.insert(name.clone(), Arc::clone(same));
                    }
                    None => orders.push(order),
                },
            }
        }
        let built = orders.into_iter().map(|order| async {
            let key = &order.config.key;
            let before = previous.get(&order.config.name);
            let before = before
                .filter(|before| before.adapter() == order.config.adapter)
                .cloned();
            (key, before, self.make(snapshot.id, order).await)
        });
        for (key, before, outcome) in join_all(built).await {
            match outcome {
                Ok(handler) => {
                    counts.new += 1;
                    handlers.insert(handler.name().clone(), Arc::new(handler));
                }
                Err(reason) => {
                    counts.build_failures += 1;
                    problems.push(key, "", reason);
                    handlers.extend(before.map(|before| (before.name().clone(), before)));
                }
            }
        }
        counts.closed = previous
            .iter()
            .filter(|before| {
                handlers
                    .get(before.name())
                    .is_none_or(|now| !Arc::ptr_eq(now, before))
            })
            .count();
        Built {
            table: HandlerTable(handlers),
            problems: problems.into_vec(),
            counts,
        }
    }

    /// Checks the parameters of a handler.
    fn order<'a>(
        &'a self,
        config: &'a HandlerConfig,
        inferred: &'a Inferred,
        problems: &mut Problems,
    ) -> Option<Order<'a>> {
        let (adapter, configured) = configure(&self.adapters, config, inferred, problems)?;
        Some(Order {
            config,
            adapter,
            inferred,
            signature: Signature::of(config.adapter, configured.encoded(), inferred),
            configured,
        })
    }

    async fn make(&self, config_id: u64, order: Order<'_>) -> Result<LiveHandler, String> {
        let Order {
            config,
            adapter,
            inferred,
            configured,
            signature,
        } = order;
        let env = Env::new(config.name.as_str(), self.spawner.clone());
        let build = AssertUnwindSafe(async { adapter.build(configured, inferred, env.clone()).await });
        let built = match tokio::time::timeout(self.build_limit, build.catch_unwind()).await {
            Ok(Ok(Ok(handler))) => Ok(handler),
            Ok(Ok(Err(error))) => Err(format!("cannot be built: {error}")),
            Ok(Err(_)) => Err("cannot be built: the adapter panicked".to_owned()),
            Err(_) => Err(format!("cannot be built within {:?}", self.build_limit)),
        };
        let complete = built.and_then(|handler| {
            let missing = inferred
                .values()
                .find(|(template, _)| handler.handle(*template).is_none());
            match missing {
                Some((template, _)) => Err(format!("adapter {} does not serve {template}", config.adapter)),
                None => Ok(handler),
            }
        });
        match complete {
            Ok(handler) => Ok(LiveHandler::new(
                config,
                config_id,
                signature,
                handler,
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

/// Everything that is wrong with the parameters of handlers, used or not. Nothing is built.
#[must_use]
pub fn validate(snapshot: &Snapshot, adapters: &Adapters) -> Vec<ConfigError> {
    let mut problems = Problems::default();
    let needed = needed(snapshot);
    let unused = Inferred::default();
    for (name, config) in &snapshot.handlers {
        let inferred = needed.get(name).unwrap_or(&unused);
        let _faults_are_told = configure(adapters, config, inferred, &mut problems);
    }
    problems.into_vec()
}

/// Checks the parameters of a handler, and tells what is wrong with them.
fn configure<'a>(
    adapters: &'a Adapters,
    config: &HandlerConfig,
    inferred: &Inferred,
    problems: &mut Problems,
) -> Option<(&'a dyn SomeAdapter, Configured)> {
    let Some(adapter) = adapters.get(config.adapter) else {
        problems.push(&config.key, "", format!("there is no adapter {}", config.adapter));
        return None;
    };
    match catch_unwind(AssertUnwindSafe(|| adapter.configure(&config.params, inferred))) {
        Ok(Ok(configured)) => Some((adapter, configured)),
        Ok(Err(errors)) => {
            for error in errors.0 {
                problems.push(&config.key, error.field, error.reason);
            }
            None
        }
        Err(_) => {
            problems.push(
                &config.key,
                "",
                "the adapter panicked while it checked the parameters",
            );
            None
        }
    }
}

/// The handlers that rules use, with the types of what each is sent.
fn needed(snapshot: &Snapshot) -> BTreeMap<FullName, Inferred> {
    let mut needed: BTreeMap<FullName, Inferred> = BTreeMap::new();
    for action in snapshot.rules.iter().flat_map(|rule| &rule.actions) {
        let inferred = needed.entry(action.handler.clone()).or_default();
        for name in &action.instances {
            if let Some(instance) = snapshot.instances.get(name) {
                inferred.insert(
                    name.as_str().to_owned(),
                    (instance.template, instance.builder.inferred().clone()),
                );
            }
        }
    }
    needed
}
