//! Objects that describe handlers (`spec 02` §5.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::istio::policy::v1beta1::Handler;
use mesh_config::{Config, ConfigKey, Kind};
use serde_json::Value;

use super::names::FullName;
use super::problems::Problems;
use super::state::Objects;
use super::{Fault, STRUCT, is_legacy, params, template_of};
use crate::adapters::Adapters;

/// A handler as somebody wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct HandlerConfig {
    /// Its object.
    pub key: ConfigKey,
    /// Its full name.
    pub name: FullName,
    /// What it is called in the messages of denials (§2.5): `name.namespace`, or the full name for legacy kinds.
    pub label: Arc<str>,
    /// The adapter that it is made of, which exists.
    pub adapter: &'static str,
    /// Parameters as they were given.
    pub params: Value,
}

/// All handlers that an adapter exists for, whether anybody uses them or not.
pub(super) fn build(
    objects: &Objects,
    adapters: &Adapters,
    problems: &mut Problems,
) -> BTreeMap<FullName, HandlerConfig> {
    let mut handlers = BTreeMap::new();
    for config in objects.values() {
        let key = &config.meta.key;
        let read = match key.kind {
            Kind::Handler => uniform(config, adapters),
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

fn uniform(config: &Config, adapters: &Adapters) -> Result<HandlerConfig, Fault> {
    let handler: Handler = config.decode().map_err(|error| ("", error.to_string()))?;
    let (compiled, remote) = (handler.compiled_adapter.as_str(), handler.adapter.as_str());
    let adapter = match (compiled, remote) {
        ("", "") => return Err(("compiledAdapter", "a handler needs an adapter".to_owned())),
        (compiled, "") => adapter("compiledAdapter", compiled, adapters)?,
        ("", remote) => {
            let reason = format!("adapter {remote} runs in a process of its own, which is not supported");
            return Err(("adapter", reason));
        }
        _ => {
            let reason = "a handler is made of compiledAdapter or of adapter, not of both".to_owned();
            return Err(("adapter", reason));
        }
    };
    let params = params(handler.params.as_ref())?;
    let key = config.meta.key.clone();
    Ok(HandlerConfig {
        name: FullName::of(&key),
        label: format!("{}.{}", key.name, key.namespace).into(),
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
        adapter: adapter("kind", key.kind.schema().kind, adapters)?,
        name,
        params,
        key,
    })
}

/// The adapter called `name`.
fn adapter(field: &'static str, name: &str, adapters: &Adapters) -> Result<&'static str, Fault> {
    let found = adapters.get(name).map(|adapter| adapter.info().name);
    found.ok_or_else(|| (field, format!("there is no adapter {name}")))
}
