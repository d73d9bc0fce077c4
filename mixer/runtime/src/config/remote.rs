//! Objects that describe adapters of other processes, and their templates (`spec 02` §5.7, §10.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::istio::mixer::adapter::model::v1beta1::{Info, Template as Described};
use mesh_config::{Config, Kind, decode};
use mixer_dynamic::{Adapter, Template};
use prost::{Message, Name};

use super::STRUCT;
use super::names::FullName;
use super::problems::Problems;
use super::snapshot::Counts;
use super::state::Objects;

/// An adapter of another process.
#[derive(Clone, Debug)]
pub struct RemoteAdapter {
    /// Full name of its object.
    pub name: FullName,
    /// What its object says.
    pub adapter: Adapter,
    /// The templates that it serves, which exist.
    pub templates: Vec<Arc<Template>>,
}

/// Everything that objects say of other processes.
#[derive(Clone, Debug, Default)]
pub(super) struct Remotes {
    templates: BTreeMap<FullName, Arc<Template>>,
    /// Of adapters and instances that refer to no object.
    built_in: BTreeMap<&'static str, Arc<Template>>,
    adapters: BTreeMap<FullName, Arc<RemoteAdapter>>,
}

// === impl Remotes ===

impl Remotes {
    pub(super) fn new(objects: &Objects, counts: &mut Counts, problems: &mut Problems) -> Self {
        let mut remotes = Self::default();
        let of = |kind: Kind| {
            objects
                .values()
                .filter(move |config| config.meta.key.kind == kind)
        };
        for config in of(Kind::Template) {
            counts.templates += 1;
            match template(config) {
                Ok(template) => {
                    remotes
                        .templates
                        .insert(FullName::of(&config.meta.key), Arc::new(template));
                }
                Err(reason) => {
                    counts.template_errors += 1;
                    problems.push(&config.meta.key, "descriptor", reason);
                }
            }
        }
        let mut adapters = of(Kind::Adapter).peekable();
        if adapters.peek().is_some() {
            remotes.built_in = mixer_template::Template::ALL
                .iter()
                .filter_map(|known| Some((known.name(), Arc::new(Template::built_in(*known)?))))
                .collect();
        }
        for config in adapters {
            counts.adapter_infos += 1;
            match remotes.adapter_of(config, problems) {
                Ok(adapter) => {
                    remotes.adapters.insert(adapter.name.clone(), Arc::new(adapter));
                }
                Err((field, reason)) => {
                    counts.adapter_info_errors += 1;
                    problems.push(&config.meta.key, field, reason);
                }
            }
        }
        remotes
    }

    /// The template that `reference` means in an object of `namespace`: that of an object, else one that is built in.
    pub(super) fn template(&self, reference: &str, namespace: &str) -> Result<&Arc<Template>, String> {
        let exists = |name: &FullName| self.templates.contains_key(name);
        let name = FullName::resolve(reference, namespace, "template", exists);
        self.templates
            .get(&name)
            .or_else(|| self.built_in(reference))
            .ok_or_else(|| format!("there is no template {name} that can be used"))
    }

    /// A template that is built in, as adapters of other processes see it; there if there are any.
    pub(super) fn built_in(&self, name: &str) -> Option<&Arc<Template>> {
        self.built_in.get(name)
    }

    /// The adapter that `reference` means in an object of `namespace`.
    pub(super) fn adapter(&self, reference: &str, namespace: &str) -> Result<Arc<RemoteAdapter>, String> {
        let exists = |name: &FullName| self.adapters.contains_key(name);
        let name = FullName::resolve(reference, namespace, "adapter", exists);
        self.adapters
            .get(&name)
            .cloned()
            .ok_or_else(|| format!("there is no adapter {name} that can be used"))
    }

    fn adapter_of(&self, config: &Config, problems: &mut Problems) -> Result<RemoteAdapter, super::Fault> {
        let key = &config.meta.key;
        let info: Info = read(config).map_err(|reason| ("", reason))?;
        let adapter = Adapter::read(info).map_err(|error| ("config", error.to_string()))?;
        let mut templates = Vec::new();
        for (number, reference) in adapter.templates.iter().enumerate() {
            match self.template(reference, &key.namespace) {
                Ok(template) => templates.push(Arc::clone(template)),
                Err(reason) => problems.push(key, format!("templates[{number}]"), reason),
            }
        }
        if templates.is_empty() {
            return Err(("templates", "the adapter serves no template".to_owned()));
        }
        Ok(RemoteAdapter {
            name: FullName::of(key),
            adapter,
            templates,
        })
    }
}

fn template(config: &Config) -> Result<Template, String> {
    let described: Described = read(config)?;
    let name = FullName::of(&config.meta.key);
    Template::read(name.as_str(), &described.descriptor).map_err(|error| error.to_string())
}

/// Reads an object whose definition says nothing of its fields.
fn read<M: Message + Name + Default>(config: &Config) -> Result<M, String> {
    let given = mesh_api::json::encoded_to_value(STRUCT, &config.body.value);
    let given = given.map_err(|error| error.to_string())?;
    let message = decode::message(&M::full_name(), &given);
    let message = message.map_err(|error| format!("{}: {}", error.field, error.reason))?;
    message.unpack().map_err(|error| error.to_string())
}
