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
}
