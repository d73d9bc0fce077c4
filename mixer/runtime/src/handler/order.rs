//! What handlers are built of: their parameters, checked against what they will be sent.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mesh_api::istio::policy::v1beta1::Connection;
use mesh_config::ConfigError;
use mixer_adapter::{Configured, Env, Inferred, SomeAdapter};
use mixer_dynamic::{Backend, BackendOptions, Pace};

use super::live::Work;
use super::signature::Signature;
use crate::adapters::Adapters;
use crate::config::{
    AdapterConfig, FullName, HandlerConfig, InstanceConfig, Problems, RemoteAdapter, Snapshot,
};

/// A handler to be built.
pub(super) struct Order<'a> {
    pub(super) config: &'a HandlerConfig,
    pub(super) signature: Signature,
    what: What<'a>,
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

// === impl Order ===

impl<'a> Order<'a> {
    /// Checks the parameters of a handler; `None` if they are wrong, which is told.
    pub(super) fn new(
        adapters: &'a Adapters,
        config: &'a HandlerConfig,
        instances: &[&InstanceConfig],
        pace: Pace,
        problems: &mut Problems,
    ) -> Option<Self> {
        let what = configure(adapters, config, instances, pace, problems)?;
        let adapter = config.adapter.name();
        let signature = match &what {
            What::BuiltIn {
                inferred, configured, ..
            } => Signature::of(adapter, configured.encoded(), inferred),
            What::Remote(options) => Signature::remote(adapter, options),
        };
        Some(Self {
            config,
            signature,
            what,
        })
    }

    /// Makes what does the work.
    pub(super) async fn build(self, env: Env) -> Result<Work, String> {
        self.what.build(env).await
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
pub(super) fn needed(snapshot: &Snapshot) -> BTreeMap<FullName, Vec<&InstanceConfig>> {
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
