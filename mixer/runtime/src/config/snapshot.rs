//! A configuration whose parts fit together (`spec 02` §9.5.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_config::ConfigError;
use mixer_attribute::Vocabulary;
use mixer_template::Template;

use super::handlers::{self, HandlerConfig};
use super::instances::{self, InstanceConfig};
use super::names::FullName;
use super::problems::Problems;
use super::remote::Remotes;
use super::rules::{self, Known, RuleConfig};
use super::state::Objects;
use super::vocabulary;
use crate::adapters::Adapters;

/// What objects say, as far as it fits together. It does not change.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counted from 0.
    pub id: u64,
    /// The attributes of all manifests.
    pub vocabulary: Arc<Vocabulary>,
    /// Handlers, used or not.
    pub handlers: BTreeMap<FullName, HandlerConfig>,
    /// Instances, used or not.
    pub instances: BTreeMap<FullName, InstanceConfig>,
    /// Rules by namespace and name.
    pub rules: Vec<RuleConfig>,
    /// What is left out, and why.
    pub problems: Vec<ConfigError>,
    /// How much there is of everything.
    pub counts: Counts,
}

/// A name that stands for something else than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The object: an instance or a handler.
    pub object: FullName,
    /// Template or adapter of before.
    pub before: String,
    /// Template or adapter of now.
    pub now: String,
}

/// How much there is of everything (`spec 02` §9.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the metrics of these names say what they count")]
pub struct Counts {
    pub attributes: usize,
    pub handlers: usize,
    pub instances: usize,
    pub instance_errors: usize,
    pub rules: usize,
    pub rule_errors: usize,
    pub adapter_infos: usize,
    pub adapter_info_errors: usize,
    pub templates: usize,
    pub template_errors: usize,
    pub match_errors: usize,
    pub unsatisfied_actions: usize,
    pub handler_validation_errors: usize,
}

// === impl Snapshot ===

impl Snapshot {
    /// Makes of objects what can be made of them.
    #[must_use]
    pub fn new(id: u64, objects: &Objects, adapters: &Adapters) -> Self {
        let mut problems = Problems::default();
        let mut counts = Counts {
            adapter_infos: adapters.len(),
            templates: Template::ALL.len(),
            ..Counts::default()
        };
        let vocabulary = vocabulary::build(objects, &mut problems);
        let remotes = Remotes::new(objects, &mut counts, &mut problems);
        let handlers = handlers::build(objects, adapters, &remotes, &mut problems);
        let (instances, instance_errors) = instances::build(objects, &vocabulary, &remotes, &mut problems);
        let known = Known {
            adapters,
            vocabulary: &vocabulary,
            handlers: &handlers,
            instances: &instances,
        };
        let rules = rules::build(objects, &known, &mut counts, &mut problems);
        counts.attributes = vocabulary.len();
        counts.handlers = handlers.len();
        counts.instances = instances.len();
        counts.instance_errors = instance_errors;
        Self {
            id,
            vocabulary: Arc::new(vocabulary),
            handlers,
            instances,
            rules,
            problems: problems.into_vec(),
            counts,
        }
    }

    /// Instances and handlers whose template or adapter is another one than before. Somebody may have taken a name for
    /// something new without knowing that rules use it.
    #[must_use]
    pub fn replaced(&self, before: &Self) -> Vec<Replaced> {
        let pairs = |now: &FullName, template: &str, former: Option<&str>| {
            former
                .filter(|former| *former != template)
                .map(|former| Replaced {
                    object: now.clone(),
                    before: former.to_owned(),
                    now: template.to_owned(),
                })
        };
        let instances = self.instances.iter().filter_map(|(name, instance)| {
            let former = before.instances.get(name).map(|former| former.template.name());
            pairs(name, instance.template.name(), former)
        });
        let handlers = self.handlers.iter().filter_map(|(name, handler)| {
            let former = before.handlers.get(name).map(|former| former.adapter.name());
            pairs(name, handler.adapter.name(), former)
        });
        instances.chain(handlers).collect()
    }
}
