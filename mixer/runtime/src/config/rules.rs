//! Objects that say which instances go to which handlers, and when (`spec 02` §5.6, §5.8, §5.9).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mesh_api::istio::policy::v1beta1::rule::HeaderOperationTemplate;
use mesh_api::istio::policy::v1beta1::rule::header_operation_template::Operation;
use mesh_api::istio::policy::v1beta1::{Action, Rule};
use mesh_config::{Config, ConfigKey, Kind, Str};
use mixer_attribute::{ValueType, Vocabulary};
use mixer_expr::{EvalError, Program};
use mixer_template::{Outputs, Variety};
use tracing::{debug, warn};

use super::handlers::HandlerConfig;
use super::instances::InstanceConfig;
use super::names::FullName;
use super::problems::Problems;
use super::snapshot::Counts;
use super::state::Objects;
use crate::adapters::Adapters;
use crate::instance::AnyTemplate;

/// A rule of which at least something can be done.
#[derive(Clone, Debug)]
pub struct RuleConfig {
    /// Its object.
    pub key: ConfigKey,
    /// When it applies; `None`: always.
    pub condition: Option<Arc<Condition>>,
    /// What is done.
    pub actions: Vec<ActionConfig>,
    /// What happens to headers, if all checks are passed.
    pub headers: Vec<Arc<HeaderOperation>>,
    /// What its actions put out for that, if any does.
    pub outputs: Option<Arc<RuleOutputs>>,
}

/// What the actions of a rule put out, as the expressions of its header operations see it (§5.8).
#[derive(Clone, Debug)]
pub struct RuleOutputs {
    /// How many attributes a request may have; outputs are numbered from there on.
    pub first: usize,
    /// How many outputs there are.
    pub count: usize,
    /// By number of the action.
    pub actions: Vec<(usize, Outputs)>,
}

/// When rules apply. Rules with the same text share it.
#[derive(Debug)]
pub struct Condition {
    /// As it was written.
    pub text: Box<str>,
    /// Gives a [`ValueType::Bool`].
    pub program: Program,
    told: Told,
}

/// Whether somebody was told that an expression has no value. This may be so for every request, and is said aloud only
/// once.
#[derive(Debug, Default)]
struct Told(AtomicBool);

/// Instances that go to one handler.
#[derive(Clone, Debug)]
pub struct ActionConfig {
    /// The handler, which exists.
    pub handler: FullName,
    /// Instances, at least one, which exist and are of templates that the adapter of the handler serves.
    pub instances: Vec<FullName>,
    /// By which header operations refer to what it gives.
    pub name: String,
}

/// What happens to a header.
#[derive(Debug)]
pub struct HeaderOperation {
    /// Whose header.
    pub target: HeaderTarget,
    /// Its name, in lower case.
    pub name: String,
    /// What happens.
    pub operation: Operation,
    /// Gives a [`ValueType::String`]; `None` where the header is removed.
    pub value: Option<Program>,
    told: Told,
}

/// Whose header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderTarget {
    /// Of the request.
    Request,
    /// Of the response.
    Response,
}

/// What rules may refer to.
pub(super) struct Known<'a> {
    pub(super) adapters: &'a Adapters,
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) handlers: &'a BTreeMap<FullName, HandlerConfig>,
    pub(super) instances: &'a BTreeMap<FullName, InstanceConfig>,
}

/// All rules of which something can be done.
pub(super) fn build(
    objects: &Objects,
    known: &Known<'_>,
    counts: &mut Counts,
    problems: &mut Problems,
) -> Vec<RuleConfig> {
    let mut conditions = BTreeMap::new();
    let mut rules = Vec::new();
    let configs = objects
        .values()
        .filter(|config| config.meta.key.kind == Kind::Rule);
    for config in configs {
        counts.rules += 1;
        let before = problems.len();
        match known.rule(config, &mut conditions, counts, problems) {
            Some(rule) => rules.push(rule),
            None => counts.rule_errors += 1,
        }
        if problems.len() > before {
            debug!(rule = %config.meta.key, "something of the rule is left out");
        }
    }
    rules
}

// === impl Told ===

impl Told {
    /// Whether nobody was told until now.
    fn is_first(&self) -> bool {
        !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Relaxed)
    }
}

// === impl Condition ===

impl Condition {
    /// It cannot be evaluated for a request, and does not hold then.
    pub(crate) fn tell(&self, error: &EvalError) {
        if self.told.is_first() {
            warn!(condition = %self.text, %error, "no match where the condition cannot be evaluated");
        } else {
            debug!(condition = %self.text, %error, "no match");
        }
    }
}

// === impl HeaderOperation ===

impl HeaderOperation {
    /// Its value cannot be evaluated for a request, whose header stays as it is then.
    pub(crate) fn tell(&self, rule: &ConfigKey, error: &EvalError) {
        if self.told.is_first() {
            warn!(%rule, header = self.name, %error, "the header stays as it is where its value cannot be evaluated");
        } else {
            debug!(%rule, header = self.name, %error, "the header stays as it is");
        }
    }
}

// === impl Known ===

impl Known<'_> {
    fn rule(
        &self,
        config: &Config,
        conditions: &mut BTreeMap<String, Arc<Condition>>,
        counts: &mut Counts,
        problems: &mut Problems,
    ) -> Option<RuleConfig> {
        let key = &config.meta.key;
        let rule: Rule = match config.decode() {
            Ok(rule) => rule,
            Err(error) => {
                problems.push(key, "", error.to_string());
                return None;
            }
        };
        let condition = match self.condition(&rule.r#match, conditions) {
            Ok(condition) => condition,
            Err(reason) => {
                counts.match_errors += 1;
                problems.push(key, "match", reason);
                return None;
            }
        };
        let mut actions = Vec::new();
        for (number, action) in rule.actions.iter().enumerate() {
            let before = problems.len();
            actions.extend(self.action(key, action, &format!("actions[{number}]"), problems));
            // Also one that lacks an instance: what that would check is let through.
            counts.unsatisfied_actions += usize::from(problems.len() > before);
        }
        let (extended, outputs) = self.outputs(key, &actions, problems);
        let vocabulary = extended.as_ref().unwrap_or(self.vocabulary);
        let mut headers = Vec::new();
        for (target, field, templates) in [
            (
                HeaderTarget::Request,
                "requestHeaderOperations",
                &rule.request_header_operations,
            ),
            (
                HeaderTarget::Response,
                "responseHeaderOperations",
                &rule.response_header_operations,
            ),
        ] {
            for (number, template) in templates.iter().enumerate() {
                let field = format!("{field}[{number}]");
                header(key, target, &field, template, vocabulary, &mut headers, problems);
            }
        }
        if actions.is_empty() && headers.is_empty() {
            problems.push(key, "", "the rule has no valid action and no header operation");
            return None;
        }
        Some(RuleConfig {
            key: key.clone(),
            condition,
            actions,
            headers,
            outputs: outputs.map(Arc::new),
        })
    }

    /// The attributes of requests and, beside them, what the actions of a rule put out: `action.output.field`. Nothing
    /// where no action puts out anything.
    fn outputs(
        &self,
        key: &ConfigKey,
        actions: &[ActionConfig],
        problems: &mut Problems,
    ) -> (Option<Vocabulary>, Option<RuleOutputs>) {
        let mut extended = None;
        let mut of_actions = Vec::new();
        for (number, action) in actions
            .iter()
            .enumerate()
            .filter(|(_, action)| !action.name.is_empty())
        {
            let instances = action
                .instances
                .iter()
                .filter_map(|name| self.instances.get(name));
            let mut outputs = instances.filter_map(|instance| match &instance.template {
                AnyTemplate::Remote(template) if template.variety() == Variety::CheckWithOutput => {
                    Some(template.outputs().collect::<Vec<_>>())
                }
                AnyTemplate::BuiltIn(_) | AnyTemplate::Remote(_) => None,
            });
            let Some(declared) = outputs.next() else { continue };
            if outputs.any(|others| others != declared) {
                let reason = "what instances of different templates put out cannot have one name";
                problems.push(key, format!("actions[{number}].name"), reason);
                continue;
            }
            let vocabulary = extended.get_or_insert_with(|| self.vocabulary.clone());
            let prefix = format!("{}.output.", action.name);
            match Outputs::declare(vocabulary, &[prefix.as_str()], declared) {
                Ok(outputs) => of_actions.push((number, outputs)),
                Err(conflict) => problems.push(key, format!("actions[{number}].name"), conflict.to_string()),
            }
        }
        let first = self.vocabulary.len();
        let outputs = extended.as_ref().map(|extended| RuleOutputs {
            first,
            count: extended.len() - first,
            actions: of_actions,
        });
        (extended, outputs)
    }

    /// Conditions that always hold need no program (§9.5.4).
    fn condition(
        &self,
        text: &str,
        conditions: &mut BTreeMap<String, Arc<Condition>>,
    ) -> Result<Option<Arc<Condition>>, String> {
        let text = text.trim();
        if text.is_empty() || text == "true" {
            return Ok(None);
        }
        if let Some(condition) = conditions.get(text) {
            return Ok(Some(Arc::clone(condition)));
        }
        let condition = Arc::new(Condition {
            program: program(text, self.vocabulary, ValueType::Bool)?,
            text: text.into(),
            told: Told::default(),
        });
        conditions.insert(text.to_owned(), Arc::clone(&condition));
        Ok(Some(condition))
    }

    fn action(
        &self,
        key: &ConfigKey,
        action: &Action,
        field: &str,
        problems: &mut Problems,
    ) -> Option<ActionConfig> {
        let namespace: &Str = &key.namespace;
        let exists = |name: &FullName| self.handlers.contains_key(name);
        let name = FullName::resolve(&action.handler, namespace, "handler", exists);
        let Some(handler) = self.handlers.get(&name) else {
            problems.push(
                key,
                format!("{field}.handler"),
                format!("there is no handler {name} that can be used"),
            );
            return None;
        };
        let mut seen = BTreeSet::new();
        let mut instances = Vec::new();
        for (number, reference) in action.instances.iter().enumerate() {
            let exists = |name: &FullName| self.instances.contains_key(name);
            let name = FullName::resolve(reference, namespace, "instance", exists);
            let fault = match self.instances.get(&name) {
                None => Some(format!("there is no instance {name} that can be used")),
                Some(_) if !seen.insert(name.clone()) => Some(format!("instance {name} is there already")),
                Some(instance) => handler.refuses(instance, self.adapters),
            };
            match fault {
                None => instances.push(name),
                Some(reason) => problems.push(key, format!("{field}.instances[{number}]"), reason),
            }
        }
        if instances.is_empty() {
            problems.push(key, field, format!("there is nothing to send to handler {name}"));
            return None;
        }
        Some(ActionConfig {
            handler: name,
            instances,
            name: action.name.clone(),
        })
    }
}

fn program(text: &str, vocabulary: &Vocabulary, expected: ValueType) -> Result<Program, String> {
    mixer_expr::compile_typed(text, vocabulary, expected).map_err(|error| error.to_string())
}

/// One operation for each value; none of a header that is removed.
fn header(
    key: &ConfigKey,
    target: HeaderTarget,
    field: &str,
    template: &HeaderOperationTemplate,
    vocabulary: &Vocabulary,
    headers: &mut Vec<Arc<HeaderOperation>>,
    problems: &mut Problems,
) {
    let Ok(operation) = Operation::try_from(template.operation) else {
        let reason = format!("there is no operation {}", template.operation);
        return problems.push(key, format!("{field}.operation"), reason);
    };
    let name = template.name.to_ascii_lowercase();
    if name.is_empty() {
        return problems.push(key, format!("{field}.name"), "a header needs a name");
    }
    if operation == Operation::Remove {
        headers.push(Arc::new(HeaderOperation {
            target,
            name,
            operation,
            value: None,
            told: Told::default(),
        }));
        return;
    }
    for (number, text) in template.values.iter().enumerate() {
        match program(text, vocabulary, ValueType::String) {
            Ok(program) => headers.push(Arc::new(HeaderOperation {
                target,
                name: name.clone(),
                operation,
                value: Some(program),
                told: Told::default(),
            })),
            Err(reason) => problems.push(key, format!("{field}.values[{number}]"), reason),
        }
    }
}
