//! From rules and handlers to the table.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mesh_config::{ConfigKey, Str};
use mixer_template::Variety;
use sha2::{Digest as _, Sha256};

use super::table::{Destination, Group, HeaderRoute, Route, RoutedInstance, Routes, Table, Target};
use crate::config::{
    ActionConfig, Condition, FullName, InstanceConfig, Objects, Problems, RuleConfig, Snapshot,
};
use crate::handler::HandlerTable;
use crate::instance::{AnyTemplate, Maker};
use crate::metrics::EngineMetrics;

/// Gathers destinations and conditions, and gives them numbers.
struct Builder<'a> {
    snapshot: &'a Snapshot,
    handlers: &'a HandlerTable,
    metrics: &'a EngineMetrics,
    table: Table,
    /// By handler and name of the template.
    destinations: HashMap<(FullName, Box<str>), usize>,
    conditions: HashMap<Box<str>, usize>,
    unsatisfied: usize,
}

// === impl Table ===

impl Table {
    /// The routes of a configuration: the rules of `default_namespace` come before those of every other namespace. An
    /// action whose handler is not there is left out, told and counted.
    pub fn new(
        snapshot: &Snapshot,
        handlers: &HandlerTable,
        default_namespace: &str,
        metrics: &EngineMetrics,
        problems: &mut Problems,
    ) -> (Self, usize) {
        let mut builder = Builder {
            snapshot,
            handlers,
            metrics,
            table: Self::empty(snapshot.id, Arc::clone(&snapshot.vocabulary)),
            destinations: HashMap::new(),
            conditions: HashMap::new(),
            unsatisfied: 0,
        };
        builder.fill(default_namespace, problems);
        (builder.table, builder.unsatisfied)
    }

    /// Says of which objects it is, and of which handlers: one that cannot be built is missing, or is still as it was under
    /// other objects.
    #[must_use]
    pub fn with_generation(self, objects: &Objects) -> Self {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            // The length keeps neighbours apart.
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        };
        for (key, config) in objects {
            add(key.to_string().as_bytes());
            add(&config.body.value);
        }
        for destination in &self.destinations {
            add(destination.handler.name().as_str().as_bytes());
            add(destination.handler.signature().as_bytes());
        }
        let digest = hash.finalize();
        let generation = digest
            .iter()
            .take(8)
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Self { generation, ..self }
    }
}

// === impl Builder ===

impl Builder<'_> {
    fn fill(&mut self, default_namespace: &str, problems: &mut Problems) {
        let snapshot = self.snapshot;
        let mut by_namespace: BTreeMap<&Str, Vec<&RuleConfig>> = BTreeMap::new();
        for rule in &snapshot.rules {
            by_namespace.entry(&rule.key.namespace).or_default().push(rule);
        }
        let mut everywhere = Routes::default();
        for rule in by_namespace
            .remove(&Str::from(default_namespace))
            .unwrap_or_default()
        {
            self.rule(rule, &mut everywhere, problems);
        }
        for (namespace, rules) in by_namespace {
            let mut routes = everywhere.clone();
            for rule in rules {
                self.rule(rule, &mut routes, problems);
            }
            self.table.namespaces.insert(namespace.clone(), routes);
        }
        self.table.everywhere = everywhere;
    }

    fn rule(&mut self, rule: &RuleConfig, routes: &mut Routes, problems: &mut Problems) {
        let key = Arc::new(rule.key.clone());
        let condition = rule.condition.as_ref().map(|condition| self.condition(condition));
        for (number, action) in rule.actions.iter().enumerate() {
            self.action(&key, number, action, condition, routes, problems);
        }
        if !rule.headers.is_empty() {
            routes.headers.push(HeaderRoute {
                condition,
                rule: key,
                operations: rule.headers.clone(),
                outputs: rule.outputs.clone(),
            });
        }
    }

    fn condition(&mut self, condition: &Arc<Condition>) -> usize {
        let conditions = &mut self.table.conditions;
        *self.conditions.entry(condition.text.clone()).or_insert_with(|| {
            conditions.push(Arc::clone(condition));
            conditions.len() - 1
        })
    }

    fn action(
        &mut self,
        rule: &Arc<ConfigKey>,
        number: usize,
        action: &ActionConfig,
        condition: Option<usize>,
        routes: &mut Routes,
        problems: &mut Problems,
    ) {
        if self.handlers.get(&action.handler).is_none() {
            self.unsatisfied += 1;
            let reason = format!("handler {} is not at work", action.handler);
            return problems.push(rule, format!("actions[{number}].handler"), reason);
        }
        let snapshot = self.snapshot;
        let instances = action
            .instances
            .iter()
            .filter_map(|name| snapshot.instances.get(name));
        for instance in instances {
            let Some((destination, maker)) = self.destination(&action.handler, instance) else {
                let reason = format!("handler {} does not serve {}", action.handler, instance.template);
                problems.push(rule, format!("actions[{number}].handler"), reason);
                continue;
            };
            let list = match instance.template.variety() {
                Variety::AttributeGenerator => &mut routes.generators,
                Variety::Check | Variety::CheckWithOutput => &mut routes.checks,
                Variety::Quota => &mut routes.quotas,
                Variety::Report => &mut routes.reports,
            };
            let routed = RoutedInstance {
                name: instance.name.clone(),
                rule: Arc::clone(rule),
                action: number,
                maker,
            };
            route(list, destination, condition).instances.push(routed);
        }
    }

    /// The number of the destination of an instance, and what makes the instances for it.
    fn destination(&mut self, name: &FullName, instance: &InstanceConfig) -> Option<(usize, Maker)> {
        let handler = self.handlers.get(name)?;
        let maker = instance.maker(handler.backend().is_some())?;
        let template = match &maker {
            Maker::BuiltIn(builder) => AnyTemplate::BuiltIn(builder.template()),
            Maker::Remote(encoder) => AnyTemplate::Remote(Arc::clone(encoder.template())),
        };
        let key = (name.clone(), template.name().into());
        if let Some(number) = self.destinations.get(&key) {
            return Some((*number, maker));
        }
        let target = match (&template, handler.backend()) {
            (AnyTemplate::BuiltIn(template), _) => Target::BuiltIn(handler.handle(*template)?.clone()),
            (AnyTemplate::Remote(template), Some(backend)) => {
                Target::Remote(backend.clone(), Arc::clone(template))
            }
            (AnyTemplate::Remote(_), None) => return None,
        };
        let destination = Destination {
            target,
            metrics: self
                .metrics
                .calls(template.name(), handler.label(), handler.adapter()),
            handler: Arc::clone(handler),
            template,
        };
        let number = self.table.destinations.len();
        self.table.destinations.push(destination);
        self.destinations.insert(key, number);
        Some((number, maker))
    }
}

/// The group of a destination and a condition.
fn route(routes: &mut Vec<Arc<Route>>, destination: usize, condition: Option<usize>) -> &mut Group {
    let number = routes.iter().position(|route| route.destination == destination);
    let number = number.unwrap_or_else(|| {
        routes.push(Arc::new(Route {
            destination,
            groups: Vec::new(),
        }));
        routes.len() - 1
    });
    let groups = &mut Arc::make_mut(&mut routes[number]).groups;
    let number = groups.iter().position(|group| group.condition == condition);
    let number = number.unwrap_or_else(|| {
        groups.push(Group {
            condition,
            instances: Vec::new(),
        });
        groups.len() - 1
    });
    &mut groups[number]
}
