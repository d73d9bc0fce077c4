//! Adapters: code that parameters make handlers of.

use std::any::Any as StdAny;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use mesh_api::Any;
use mixer_attribute::span;
use mixer_template::Template;
use prost::{Message, Name};
use prost_reflect::DescriptorPool;
use serde_json::Value;

use crate::env::Env;
use crate::handler::Handler;
use crate::params;

/// How long building a handler may take ([`Adapter::build`]) before it counts as failed; it is tried again later. Whoever waits
/// for somebody else gives up before, so that the reason is told.
pub const BUILD_LIMIT: Duration = Duration::from_secs(10);

/// What is known about an adapter without building it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name, which is also that of the legacy kind of its handlers.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// The templates it serves.
    pub templates: &'static [Template],
}

/// Types of what a handler will be sent: instance name to the message `Type` of its template.
pub type Inferred = BTreeMap<String, (Template, Any)>;

/// Something is wrong with a field of the parameters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ConfigError {
    /// Path of the field in its JSON spelling, such as `quotas[0].maxAmount`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Everything that is wrong with the parameters of a handler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// A handler cannot be built.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BuildError(pub String);

/// An adapter.
pub trait Adapter: Send + Sync + 'static {
    /// Its parameters.
    type Params: Message + Name + Clone + Default;

    /// What is known about it.
    const INFO: Info;

    /// Parameters that nobody gave.
    fn defaults() -> Self::Params {
        Self::Params::default()
    }

    /// Where its parameters are described: with all our messages, unless the adapter brings its own.
    fn descriptors() -> &'static DescriptorPool {
        mesh_api::descriptors()
    }

    /// Looks for what is wrong with parameters. Reads nothing but its arguments.
    fn validate(params: &Self::Params, inferred: &Inferred) -> ConfigErrors;

    /// Makes a handler of parameters that are valid. May wait, but for less than [`BUILD_LIMIT`].
    fn build(
        &self,
        params: Self::Params,
        inferred: &Inferred,
        env: Env,
    ) -> impl Future<Output = Result<Handler, BuildError>> + Send;
}

/// An adapter of whatever parameters.
pub trait SomeAdapter: Send + Sync + 'static {
    /// What is known about it.
    fn info(&self) -> Info;

    /// Reads parameters and looks for what is wrong with them.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    fn configure(&self, params: &Value, inferred: &Inferred) -> Result<Configured, ConfigErrors>;

    /// Makes a handler of what [`configure`](Self::configure) gave.
    fn build<'a>(
        &'a self,
        configured: Configured,
        inferred: &'a Inferred,
        env: Env,
    ) -> BoxFuture<'a, Result<Handler, BuildError>>;
}

/// Valid parameters of an adapter, with its defaults.
#[derive(Clone)]
pub struct Configured {
    encoded: Vec<u8>,
    params: Arc<dyn StdAny + Send + Sync>,
}

// === impl ConfigErrors ===

impl ConfigErrors {
    /// Adds what is wrong with `field`.
    pub fn push(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(ConfigError {
            field: field.into(),
            reason: reason.into(),
        });
    }

    /// The duration of a field that must not be negative. One that is missing or wrong is 0.
    pub fn duration(&mut self, field: &str, value: Option<&prost_types::Duration>) -> Duration {
        match value.map(span) {
            None => Duration::ZERO,
            Some(Some(duration)) => duration,
            Some(None) => {
                self.push(field, "must not be negative");
                Duration::ZERO
            }
        }
    }

    /// The errors as a failure to build; for adapters that read their parameters again when they build.
    ///
    /// # Errors
    ///
    /// When anything is wrong.
    pub fn into_result(self) -> Result<(), BuildError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(BuildError(self.to_string()))
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

// === impl Configured ===

impl Configured {
    /// The parameters with defaults, encoded: equal bytes are equal parameters.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}

impl fmt::Debug for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Configured").field(&self.encoded).finish()
    }
}

// === impl SomeAdapter ===

impl<A: Adapter> SomeAdapter for A
where
    A::Params: Send + Sync + 'static,
{
    fn info(&self) -> Info {
        A::INFO
    }

    fn configure(&self, params: &Value, inferred: &Inferred) -> Result<Configured, ConfigErrors> {
        let params = params::merge_described(A::descriptors(), &A::defaults(), params)?;
        let errors = A::validate(&params, inferred);
        if errors.is_empty() {
            Ok(Configured {
                encoded: params.encode_to_vec(),
                params: Arc::new(params),
            })
        } else {
            Err(errors)
        }
    }

    fn build<'a>(
        &'a self,
        configured: Configured,
        inferred: &'a Inferred,
        env: Env,
    ) -> BoxFuture<'a, Result<Handler, BuildError>> {
        match configured.params.downcast_ref::<A::Params>() {
            Some(params) => Box::pin(Adapter::build(self, params.clone(), inferred, env)),
            None => {
                let reason = format!("the parameters are not those of {}", A::INFO.name);
                Box::pin(async move { Err(BuildError(reason)) })
            }
        }
    }
}
