//! From the handlers that a configuration asks for to handlers at work.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use mesh_api::istio::policy::v1beta1::Connection;
use mesh_config::ConfigError;
use mesh_runtime::Spawner;
use mixer_adapter::{BUILD_LIMIT, Configured, Env, Inferred, SomeAdapter};
use mixer_dynamic::{Backend, BackendOptions, Pace};
use tokio::sync::mpsc;

use super::HandlerTable;
use super::close::{Closer, Closing};
use super::live::{LiveHandler, Work};
use super::signature::Signature;
use crate::adapters::Adapters;
use crate::config::{
    AdapterConfig, FullName, HandlerConfig, InstanceConfig, Problems, RemoteAdapter, Snapshot,
};
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
    what: What<'a>,
    signature: Signature,
}

/// What a handler is built of.
enum What<'a> {
    BuiltIn {
        adapter: &'a dyn SomeAdapter,
        inferred: Inferred,
        configured: Configured,
    },
    Remote(Box<BackendOptions>),
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
        let mut problems = Problems::default();
        let mut counts = HandlerCounts::default();
        let mut handlers: BTreeMap<FullName, Arc<LiveHandler>> = BTreeMap::new();
        let mut orders = Vec::new();
        let needed = needed(snapshot);
        for (name, instances) in &needed {
            let Some(config) = snapshot.handlers.get(name) else {
                continue;
            };
            let before = previous
                .get(name)
                .filter(|before| before.adapter() == config.adapter.name());
            match self.order(config, instances, &mut problems) {
                None => {
                    counts.validation_errors += 1;
                    handlers.extend(before.map(|before| (name.clone(), Arc::clone(before))));
                }
                Some(order) => match before.filter(|before| *before.signature() == order.signature) {
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
                .filter(|before| before.adapter() == order.config.adapter.name())
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
        instances: &[&InstanceConfig],
        problems: &mut Problems,
    ) -> Option<Order<'a>> {
        let what = configure(&self.adapters, config, instances, self.pace, problems)?;
        let adapter = config.adapter.name();
        let signature = match &what {
            What::BuiltIn {
                inferred, configured, ..
            } => Signature::of(adapter, configured.encoded(), inferred),
            What::Remote(options) => Signature::remote(adapter, options),
        };
        Some(Order {
            config,
            what,
            signature,
        })
    }

    async fn make(&self, config_id: u64, order: Order<'_>) -> Result<LiveHandler, String> {
        let Order {
            config,
            what,
            signature,
        } = order;
        let faults = self.metrics.faults(config.name.as_str(), config.adapter.name());
        let env = Env::counting(config.name.as_str(), self.spawner.clone(), faults);
        let build = AssertUnwindSafe(what.build(env.clone()));
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

// === impl What ===

impl What<'_> {
    async fn build(self, env: Env) -> Result<Work, String> {
        match self {
            Self::BuiltIn {
                adapter,
                inferred,
                configured,
            } => {
                let handler = adapter.build(configured, &inferred, env).await;
                let handler = handler.map_err(|error| error.to_string())?;
                let mut templates = inferred.values().map(|(template, _)| *template);
                match templates.find(|template| handler.handle(*template).is_none()) {
                    Some(template) => {
                        let name = adapter.info().name;
                        Err(format!("adapter {name} does not serve {template}"))
                    }
                    None => Ok(Work::BuiltIn(handler)),
                }
            }
            Self::Remote(options) => {
                let backend = Backend::build(*options, &env).await;
                backend.map(Work::Remote).map_err(|error| error.to_string())
            }
        }
    }
}

/// Everything that is wrong with the parameters of handlers, used or not. Nothing is built.
#[must_use]
pub fn validate(snapshot: &Snapshot, adapters: &Adapters) -> Vec<ConfigError> {
    let mut problems = Problems::default();
    let needed = needed(snapshot);
    for (name, config) in &snapshot.handlers {
        let instances = needed.get(name).map_or(&[][..], Vec::as_slice);
        let _faults_are_told = configure(adapters, config, instances, Pace::default(), &mut problems);
    }
    problems.into_vec()
}

/// Checks the parameters of a handler, and tells what is wrong with them.
fn configure<'a>(
    adapters: &'a Adapters,
    config: &HandlerConfig,
    instances: &[&InstanceConfig],
    pace: Pace,
    problems: &mut Problems,
) -> Option<What<'a>> {
    match &config.adapter {
        AdapterConfig::BuiltIn(name) => built_in(adapters, name, config, instances, problems),
        AdapterConfig::Remote(remote, connection) => {
            let options = remote_options(remote, connection, config, instances, problems)?;
            let options = BackendOptions { pace, ..options };
            let faults = [options.address().err(), options.timeout().err()];
            let before = problems.len();
            for (field, reason) in faults.into_iter().flatten() {
                problems.push(&config.key, field, reason);
            }
            (problems.len() == before).then(|| What::Remote(Box::new(options)))
        }
    }
}

fn built_in<'a>(
    adapters: &'a Adapters,
    name: &str,
    config: &HandlerConfig,
    instances: &[&InstanceConfig],
    problems: &mut Problems,
) -> Option<What<'a>> {
    let Some(adapter) = adapters.get(name) else {
        problems.push(&config.key, "", format!("there is no adapter {name}"));
        return None;
    };
    let inferred: Inferred = instances
        .iter()
        .filter_map(|instance| {
            let builder = instance.builder.as_ref()?;
            let types = (builder.template(), builder.inferred().clone());
            Some((instance.name.as_str().to_owned(), types))
        })
        .collect();
    match catch_unwind(AssertUnwindSafe(|| adapter.configure(&config.params, &inferred))) {
        Ok(Ok(configured)) => Some(What::BuiltIn {
            adapter,
            inferred,
            configured,
        }),
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

fn remote_options(
    remote: &RemoteAdapter,
    connection: &Connection,
    config: &HandlerConfig,
    instances: &[&InstanceConfig],
    problems: &mut Problems,
) -> Option<BackendOptions> {
    let params = remote.adapter.params(&config.params).map_err(|error| {
        let field = match error.field.as_str() {
            "" => "params".to_owned(),
            field => format!("params.{field}"),
        };
        problems.push(&config.key, field, error.reason);
    });
    let inferred = instances.iter().filter_map(|instance| {
        let types = instance.encoder.as_ref().ok()?.inferred()?;
        Some((instance.name.as_str().to_owned(), types.clone()))
    });
    Some(BackendOptions {
        connection: connection.clone(),
        config: params.ok()?,
        session_based: remote.adapter.session_based,
        inferred: inferred.collect(),
        pace: Pace::default(),
    })
}

/// The handlers that rules use, with what each is sent.
fn needed(snapshot: &Snapshot) -> BTreeMap<FullName, Vec<&InstanceConfig>> {
    let mut needed: BTreeMap<FullName, BTreeMap<&FullName, &InstanceConfig>> = BTreeMap::new();
    for action in snapshot.rules.iter().flat_map(|rule| &rule.actions) {
        let instances = needed.entry(action.handler.clone()).or_default();
        for name in &action.instances {
            if let Some(instance) = snapshot.instances.get(name) {
                instances.insert(&instance.name, instance);
            }
        }
    }
    let sorted = needed.into_iter();
    sorted
        .map(|(handler, instances)| (handler, instances.into_values().collect()))
        .collect()
}
