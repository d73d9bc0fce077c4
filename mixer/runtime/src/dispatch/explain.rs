//! What the rules make of one request, step by step: `mixc explain`.
//!
//! Handlers that decide are asked as in a Check, and quotas that the request names are allocated. Reports are shown and not
//! sent. Everything is done one after another, so that times are those of one call alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mixer_adapter::{Answer, CheckResult, QuotaArgs, QuotaResult};
use mixer_attribute::{AttributeId, Bag, CheckRequest, Untracked, code_name};
use mixer_dynamic::Checked;
use serde::Serialize;

use super::call::{Call, Patience};
use super::check::ActionOutput;
use super::combine::{Verdict, combine};
use super::conditions::Conditions;
use super::fields::fields;
use super::generate::Generated;
use super::{Engine, Failure, check, generate, headers, quota, read};
use crate::instance::Made;
use crate::routing::{Destination, Group, Route, RoutedInstance, Routes, Table};

/// What the rules make of a request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The configuration in force.
    pub id: u64,
    /// See [`Table::generation`].
    pub generation: String,
    /// The namespace whose rules count, beside those of the default namespace.
    pub namespace: String,
    /// Attributes that the request brings, and their values.
    pub attributes: Vec<(String, String)>,
    /// Attributes that generators add.
    pub added: Vec<(String, String)>,
    /// The rules, in the order in which they are looked at.
    pub rules: Vec<Explained>,
    /// What the caller would be told.
    pub answer: String,
}

/// What becomes of a rule in one phase.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// The rule.
    pub rule: String,
    /// When it is looked at.
    pub phase: Phase,
    /// Its condition, as it was written.
    pub condition: String,
    /// `true`, `false`, or why the condition cannot be evaluated, which is no match.
    pub matches: String,
    /// What is done if it matches.
    pub actions: Vec<Action>,
}

/// The phases of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Attributes are added.
    Generate,
    /// Handlers decide.
    Check,
    /// Amounts are allocated.
    Quota,
    /// Handlers are told.
    Report,
    /// Headers are changed, if the request may pass.
    Headers,
}

/// An instance that goes to a handler.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// Full name of the instance, or the header.
    pub instance: String,
    /// Its template; empty for headers.
    pub template: String,
    /// Fields that were evaluated.
    pub fields: Vec<(String, String)>,
    /// Full name of the handler; empty for headers.
    pub handler: String,
    /// The adapter that it is made of; empty for headers.
    pub adapter: String,
    /// What the handler says, or why it was not asked.
    pub verdict: String,
    /// How long it took, in microseconds.
    pub micros: u64,
}

/// Goes through the rules of a request.
struct Walk<'r> {
    table: &'r Table,
    patience: Patience,
    rules: Vec<Explained>,
}

/// One instance whose condition holds, or not.
struct Step<'r> {
    destination: &'r Destination,
    instance: &'r RoutedInstance,
    condition: Option<usize>,
}

// === impl Engine ===

impl Engine {
    /// Explains what the rules make of a request.
    ///
    /// # Errors
    ///
    /// Attributes that cannot be read.
    pub async fn explain<'r>(
        &self,
        table: &'r Table,
        request: &CheckRequest<'r>,
        patience: Patience,
    ) -> Result<Explanation, Failure> {
        let mut bag = read(table, request.attributes)?;
        let mut walk = Walk {
            table,
            patience,
            rules: Vec::new(),
        };
        let sent = bag.presence();
        let attributes = shown(table, &bag, |_| true);
        let routes = table.routes(&bag, &mut Untracked);
        let preprocessed = generate::failure(&walk.generate(routes, &mut bag).await);
        let added = shown(table, &bag, |id| !sent.contains(id));
        let routes = table.routes(&bag, &mut Untracked);
        let mut outputs = Vec::new();
        let verdict = match preprocessed {
            None => walk.check(routes, &bag, &mut outputs).await,
            Some(failure) => Err(failure),
        };
        let answer = match &verdict {
            Ok(verdict) => said(verdict),
            Err(failure) => format!("error: {failure}"),
        };
        if verdict.is_ok_and(|verdict| verdict.is_ok()) {
            walk.quotas(routes, &bag, request).await;
            walk.headers(routes, &bag, &outputs);
        }
        walk.reports(routes, &bag);
        Ok(Explanation {
            id: table.id,
            generation: format!("{:016x}", table.generation),
            namespace: table.namespace(&bag),
            attributes,
            added,
            rules: walk.rules,
            answer,
        })
    }
}

// === impl Walk ===

impl<'r> Walk<'r> {
    fn steps(&self, routes: &'r [Arc<Route>]) -> Vec<Step<'r>> {
        let table = self.table;
        let of_group = |destination: &'r Destination, group: &'r Group| {
            group.instances.iter().map(move |instance| Step {
                destination,
                instance,
                condition: group.condition,
            })
        };
        routes
            .iter()
            .filter_map(|route| Some((table.destinations.get(route.destination)?, route)))
            .flat_map(|(destination, route)| {
                route
                    .groups
                    .iter()
                    .flat_map(move |group| of_group(destination, group))
            })
            .collect()
    }

    /// The entry of a rule, and whether its condition holds.
    fn rule(
        &mut self,
        rule: &impl ToString,
        phase: Phase,
        condition: Option<usize>,
        bag: &Bag<'r>,
    ) -> (&mut Explained, bool) {
        let rule = rule.to_string();
        let place = self
            .rules
            .iter()
            .position(|known| known.rule == rule && known.phase == phase);
        let place = place.unwrap_or_else(|| {
            let condition = condition.and_then(|number| self.table.conditions.get(number));
            let matches = match condition.map(|condition| condition.program.holds(bag, &mut Untracked)) {
                None => true.to_string(),
                Some(Ok(holds)) => holds.to_string(),
                Some(Err(error)) => error.to_string(),
            };
            self.rules.push(Explained {
                rule,
                phase,
                condition: condition.map_or("true", |condition| &condition.text).to_owned(),
                matches,
                actions: Vec::new(),
            });
            self.rules.len() - 1
        });
        let explained = &mut self.rules[place];
        let holds = explained.matches == "true";
        (explained, holds)
    }

    /// Builds an instance, calls its handler, and writes down what that says. `None` if the condition does not hold.
    async fn call<T>(
        &mut self,
        step: &Step<'r>,
        phase: Phase,
        bag: &Bag<'r>,
        call: impl FnOnce(&Destination, Made<'_>) -> Answer<T>,
        say: impl FnOnce(&T) -> String,
    ) -> Option<Result<T, String>> {
        let patience = self.patience;
        let (_, holds) = self.rule(&step.instance.rule, phase, step.condition, bag);
        if !holds {
            return None;
        }
        let started = Instant::now();
        let (fields, call) = match step.instance.maker.make(bag, &mut Untracked) {
            Ok(made) => {
                let shown = shown_fields(&made);
                let destination = step.destination;
                (shown, Ok(Call::start(destination, || call(destination, made))))
            }
            Err(error) => (Vec::new(), Err(format!("{}: {error}", step.instance.name))),
        };
        let result = match call {
            Ok(call) => match Call::finish_all(vec![call], patience).await.pop() {
                Some((_, answer)) => answer.map_err(|error| error.to_string()),
                None => Err("no answer".to_owned()),
            },
            Err(error) => Err(error),
        };
        let verdict = match &result {
            Ok(result) => say(result),
            Err(error) => format!("error: {error}"),
        };
        self.write(step, phase, bag, fields, verdict, started.elapsed());
        Some(result)
    }

    fn write(
        &mut self,
        step: &Step<'r>,
        phase: Phase,
        bag: &Bag<'r>,
        fields: Vec<(String, String)>,
        verdict: String,
        took: Duration,
    ) {
        let (explained, _) = self.rule(&step.instance.rule, phase, step.condition, bag);
        explained.actions.push(Action {
            instance: step.instance.name.to_string(),
            template: step.destination.template.name().to_owned(),
            fields,
            handler: step.destination.handler.name().to_string(),
            adapter: step.destination.handler.adapter().to_owned(),
            verdict,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        });
    }

    /// Adds what generators know; returns what is wrong with it.
    async fn generate(&mut self, routes: &'r Routes, bag: &mut Bag<'r>) -> Vec<String> {
        let mut errors = Vec::new();
        let mut outputs: Vec<(&'r RoutedInstance, Generated)> = Vec::new();
        let patience = self.patience;
        for step in self.steps(&routes.generators) {
            let say = |_: &Generated| "attributes are added".to_owned();
            let call =
                |destination: &Destination, made: Made<'_>| generate::call(destination, made, patience);
            let result = self.call(&step, Phase::Generate, bag, call, say).await;
            match result {
                Some(Ok(output)) => outputs.push((step.instance, output)),
                Some(Err(error)) => errors.push(error),
                None => {}
            }
        }
        for (instance, output) in outputs {
            if let Err(error) = output.bind(&instance.maker, bag, &mut Untracked) {
                let rule = instance.rule.to_string();
                let name = instance.name.to_string();
                let of_rule = |known: &&mut Explained| known.rule == rule && known.phase == Phase::Generate;
                for action in self
                    .rules
                    .iter_mut()
                    .filter(of_rule)
                    .flat_map(|one| &mut one.actions)
                {
                    if action.instance == name {
                        action.verdict = format!("error: {error}");
                    }
                }
                errors.push(format!("{name}: {error}"));
            }
        }
        errors
    }

    /// The verdict, or what kept handlers from deciding.
    async fn check(
        &mut self,
        routes: &'r Routes,
        bag: &Bag<'r>,
        outputs: &mut Vec<ActionOutput<'r>>,
    ) -> Result<Verdict, Failure> {
        let patience = self.patience;
        let mut results: Vec<(&'r str, CheckResult)> = Vec::new();
        let mut errors = Vec::new();
        for step in self.steps(&routes.checks) {
            let call = |destination: &Destination, made: Made<'_>| check::call(destination, made, patience);
            let say = |checked: &Checked| decided(&checked.result);
            match self.call(&step, Phase::Check, bag, call, say).await {
                Some(Ok(Checked { result, output })) => {
                    results.push((step.destination.handler.label(), result));
                    outputs.extend(output.map(|output| ActionOutput {
                        rule: &step.instance.rule,
                        action: step.instance.action,
                        output,
                    }));
                }
                Some(Err(error)) => errors.push(error),
                None => {}
            }
        }
        match check::failure(&errors) {
            None => Ok(combine(results)),
            Some(failure) => Err(failure),
        }
    }

    async fn quotas(&mut self, routes: &'r Routes, bag: &Bag<'r>, request: &CheckRequest<'r>) {
        for step in self.steps(&routes.quotas) {
            let short = step.instance.name.short();
            let wanted = request
                .quotas
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(short));
            let Some((name, params)) = wanted else {
                let (_, holds) = self.rule(&step.instance.rule, Phase::Quota, step.condition, bag);
                if holds {
                    let verdict = "the request does not ask for it".to_owned();
                    self.write(&step, Phase::Quota, bag, Vec::new(), verdict, Duration::ZERO);
                }
                continue;
            };
            let args = QuotaArgs {
                deduplication_id: match request.deduplication_id {
                    "" => String::new(),
                    id => format!("{id}{name}"),
                },
                amount: params.amount,
                best_effort: params.best_effort,
            };
            let (routed, patience) = (step.instance, self.patience);
            let allocate = |destination: &Destination, made: Made<'_>| {
                quota::call(destination, routed, made, &args, patience)
            };
            let wanted = params.amount;
            let say = |result: &QuotaResult| {
                let (amount, status) = (result.amount, &result.status);
                let granted = format!("{amount} of {wanted} granted for {:?}", result.valid_duration);
                match status.code {
                    0 => granted,
                    code => format!("{granted}: {}", named(code, &status.message)),
                }
            };
            let _written = self.call(&step, Phase::Quota, bag, allocate, say).await;
        }
    }

    fn headers(&mut self, routes: &'r Routes, bag: &Bag<'r>, outputs: &[ActionOutput<'r>]) {
        for route in &routes.headers {
            let (_, holds) = self.rule(&route.rule, Phase::Headers, route.condition, bag);
            if !holds {
                continue;
            }
            let mut conditions = Conditions::new(self.table);
            let one = std::slice::from_ref(route);
            let directive = headers::operations(one, bag, outputs, &mut conditions, &mut Untracked);
            let directive = directive.unwrap_or_default();
            let sides = [
                ("request", directive.request_header_operations),
                ("response", directive.response_header_operations),
            ];
            let (explained, _) = self.rule(&route.rule, Phase::Headers, route.condition, bag);
            for (side, operations) in sides {
                for operation in operations {
                    explained.actions.push(Action {
                        instance: format!("{side} header {}", operation.name),
                        template: String::new(),
                        fields: Vec::new(),
                        handler: String::new(),
                        adapter: String::new(),
                        verdict: format!("{} {}", operation.operation().as_str_name(), operation.value),
                        micros: 0,
                    });
                }
            }
        }
    }

    fn reports(&mut self, routes: &'r Routes, bag: &Bag<'r>) {
        for step in self.steps(&routes.reports) {
            let (_, holds) = self.rule(&step.instance.rule, Phase::Report, step.condition, bag);
            if !holds {
                continue;
            }
            let started = Instant::now();
            let (fields, verdict) = match step.instance.maker.make(bag, &mut Untracked) {
                Ok(made) => (shown_fields(&made), "would be reported".to_owned()),
                Err(error) => (Vec::new(), format!("error: {error}")),
            };
            self.write(&step, Phase::Report, bag, fields, verdict, started.elapsed());
        }
    }
}

/// The fields of an instance; what goes to another process is encoded.
fn shown_fields(made: &Made<'_>) -> Vec<(String, String)> {
    match made {
        Made::BuiltIn(instance) => fields(instance),
        Made::Encoded(bytes) => vec![("encoded".to_owned(), format!("{} bytes", bytes.len()))],
    }
}

/// Attributes with their values.
fn shown(table: &Table, bag: &Bag<'_>, wanted: impl Fn(AttributeId) -> bool) -> Vec<(String, String)> {
    let vocabulary = &table.vocabulary;
    let all = vocabulary.ids().filter(|id| wanted(*id));
    all.filter_map(|id| {
        let value = bag.get(id)?;
        let text = mixer_adapter::text::stringify(Some(value));
        Some((vocabulary.name(id).to_owned(), text.into_owned()))
    })
    .collect()
}

fn decided(result: &CheckResult) -> String {
    let CheckResult {
        status,
        valid_duration,
        valid_use_count,
    } = result;
    let status = named(status.code, &status.message);
    format!("{status}, valid for {valid_duration:?} and {valid_use_count} uses")
}

fn said(verdict: &Verdict) -> String {
    let status = named(verdict.status.code, &verdict.status.message);
    format!(
        "{status}, valid for {:?} and {} uses",
        verdict.valid_duration, verdict.valid_use_count
    )
}

fn named(code: i32, message: &str) -> String {
    let name = code_name(code).map_or_else(|| format!("Code {code}"), str::to_owned);
    match message {
        "" => name,
        message => format!("{name} ({message})"),
    }
}
