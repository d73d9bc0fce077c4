//! Objects that describe handlers (`spec 02` §5.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::istio::policy::v1beta1::{Connection, Handler};
use mesh_config::{Config, ConfigKey, Kind};
use serde_json::Value;

use super::instances::InstanceConfig;
use super::names::FullName;
use super::problems::Problems;
use super::remote::{RemoteAdapter, Remotes};
use super::state::Objects;
use super::{Fault, STRUCT, is_legacy, params, template_of};
use crate::adapters::Adapters;

/// A handler as somebody wants it.
#[derive(Clone, Debug)]
pub struct HandlerConfig {
    /// Its object.
    pub key: ConfigKey,
    /// Its full name.
    pub name: FullName,
    /// What it is called in the messages of denials (§2.5): `name.namespace`, or the full name for legacy kinds and for
    /// adapters of other processes.
    pub label: Arc<str>,
    /// The adapter that it is made of, which exists.
    pub adapter: AdapterConfig,
    /// Parameters as they were given.
    pub params: Value,
}

/// What a handler is made of.
#[derive(Clone, Debug)]
pub enum AdapterConfig {
    /// An adapter that is built in.
    BuiltIn(&'static str),
    /// One of another process, and where that is.
    Remote(Arc<RemoteAdapter>, Box<Connection>),
}

/// All handlers that an adapter exists for, whether anybody uses them or not.
pub(super) fn build(
    objects: &Objects,
    adapters: &Adapters,
    remotes: &Remotes,
    problems: &mut Problems,
) -> BTreeMap<FullName, HandlerConfig> {
    let mut handlers = BTreeMap::new();
    for config in objects.values() {
        let key = &config.meta.key;
        let read = match key.kind {
            Kind::Handler => uniform(config, adapters, remotes),
            kind if is_legacy(kind) && template_of(kind).is_none() => legacy(config, adapters),
            _ => continue,
        };
        match read {
            Ok(handler) => {
                handlers.insert(handler.name.clone(), handler);
            }
            Err((field, reason)) => problems.push(key, field, reason),
        }
    }
    handlers
}

fn uniform(config: &Config, adapters: &Adapters, remotes: &Remotes) -> Result<HandlerConfig, Fault> {
    let handler: Handler = config.decode().map_err(|error| ("", error.to_string()))?;
    let (compiled, remote) = (handler.compiled_adapter.as_str(), handler.adapter.as_str());
    let key = config.meta.key.clone();
    let name = FullName::of(&key);
    let mut label = format!("{}.{}", key.name, key.namespace).into();
    let adapter = match (compiled, remote) {
        ("", "") => return Err(("compiledAdapter", "a handler needs an adapter".to_owned())),
        (compiled, "") => AdapterConfig::BuiltIn(adapter("compiledAdapter", compiled, adapters)?),
        ("", remote) => {
            label = name.as_str().into();
            let found = remotes.adapter(remote, &key.namespace);
            let found = found.map_err(|reason| ("adapter", reason))?;
            AdapterConfig::Remote(found, Box::new(handler.connection.unwrap_or_default()))
        }
        _ => {
            let reason = "a handler is made of compiledAdapter or of adapter, not of both".to_owned();
            return Err(("adapter", reason));
        }
    };
    let params = params(handler.params.as_ref())?;
    Ok(HandlerConfig {
        name,
        label,
        adapter,
        params,
        key,
    })
}

fn legacy(config: &Config, adapters: &Adapters) -> Result<HandlerConfig, Fault> {
    let key = config.meta.key.clone();
    let params = mesh_api::json::encoded_to_value(STRUCT, &config.body.value)
        .map_err(|error| ("", error.to_string()))?;
    let name = FullName::of(&key);
    Ok(HandlerConfig {
        label: name.as_str().into(),
        adapter: AdapterConfig::BuiltIn(adapter("kind", key.kind.schema().kind, adapters)?),
        name,
        params,
        key,
    })
}

// === impl HandlerConfig ===

impl HandlerConfig {
    /// Why the handler cannot be sent instances of an object; `None` if it can.
    pub(super) fn refuses(&self, instance: &InstanceConfig, adapters: &Adapters) -> Option<String> {
        let (name, template) = (&instance.name, &instance.template);
        let adapter = self.adapter.name();
        let serves = match &self.adapter {
            AdapterConfig::BuiltIn(name) => {
                let templates = adapters
                    .get(name)
                    .map_or(&[][..], |adapter| adapter.info().templates);
                let builder = instance.builder.as_ref();
                builder.is_some_and(|builder| templates.contains(&builder.template()))
            }
            AdapterConfig::Remote(remote, _) => match &instance.encoder {
                Ok(encoder) => {
                    let path = encoder.template().path();
                    remote.templates.iter().any(|served| served.path() == path)
                }
                Err(reason) => {
                    return Some(format!(
                        "instance {name} cannot be sent to adapter {adapter}: {reason}"
                    ));
                }
            },
        };
        let reason =
            || format!("instance {name} is of template {template}, which adapter {adapter} does not serve");
        (!serves).then(reason)
    }
}

// === impl AdapterConfig ===

impl AdapterConfig {
    /// Its name; that of an adapter of another process is the full name of its object.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::BuiltIn(name) => name,
            Self::Remote(remote, _) => remote.name.as_str(),
        }
    }
}

/// The adapter called `name`.
fn adapter(field: &'static str, name: &str, adapters: &Adapters) -> Result<&'static str, Fault> {
    let found = adapters.get(name).map(|adapter| adapter.info().name);
    found.ok_or_else(|| (field, format!("there is no adapter {name}")))
}
