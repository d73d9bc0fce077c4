//! Whether a request may pass (`spec 02` §2.4, §2.5).

use std::sync::Arc;

use mesh_config::ConfigKey;
use mixer_adapter::{Answer, Handle};
use mixer_attribute::{Bag, Track};
use mixer_dynamic::{Checked, Output};
use mixer_template::Instance;

use super::call::{Call, Patience};
use super::combine::{Verdict, combine};
use super::conditions::Conditions;
use super::failure::Failure;
use super::headers;
use crate::instance::Made;
use crate::routing::{Destination, RoutedInstance, Routes, Table, Target};

/// Asks everybody whom the rules name, and makes one verdict of what they say.
pub(super) async fn check<'r>(
    table: &'r Table,
    routes: &'r Routes,
    bag: &Bag<'r>,
    track: &mut (impl Track + Send),
    patience: Patience,
) -> Result<(Verdict, Counts), Failure> {
    let mut conditions = Conditions::new(table);
    let mut counts = Counts::default();
    let mut calls = Vec::new();
    let mut instances: Vec<&RoutedInstance> = Vec::new();
    let mut errors = Vec::new();
    for route in &routes.checks {
        let Some(destination) = table.destinations.get(route.destination) else {
            continue;
        };
        let before = counts.instances;
        for group in &route.groups {
            if !conditions.hold(group.condition, bag, track) {
                continue;
            }
            for instance in &group.instances {
                counts.instances += 1;
                match instance.maker.make(bag, track) {
                    Ok(made) => {
                        calls.push(Call::start(destination, || call(destination, made, patience)));
                        instances.push(instance);
                    }
                    Err(error) => errors.push(format!("{}: {error}", instance.name)),
                }
            }
        }
        counts.destinations += usize::from(counts.instances > before);
    }
    let mut results = Vec::with_capacity(calls.len());
    let mut outputs = Vec::new();
    let answers = Call::finish_all(calls, patience).await;
    for ((destination, answer), instance) in answers.into_iter().zip(instances) {
        match answer {
            Ok(Checked { result, output }) => {
                results.push((destination.handler.label(), result));
                outputs.extend(output.map(|output| ActionOutput {
                    rule: &instance.rule,
                    action: instance.action,
                    output,
                }));
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    if let Some(failure) = failure(&errors) {
        return Err(failure);
    }
    let mut verdict = combine(results);
    if verdict.is_ok() {
        verdict.directive = headers::operations(&routes.headers, bag, &outputs, &mut conditions, track);
    }
    Ok((verdict, counts))
}

/// What is told if handlers could not decide.
pub(super) fn failure(errors: &[String]) -> Option<Failure> {
    let failure = || {
        Failure::internal(format!(
            "performing check operation failed: {}",
            errors.join("; ")
        ))
    };
    (!errors.is_empty()).then(failure)
}

/// What an action put out.
pub(super) struct ActionOutput<'r> {
    pub(super) rule: &'r Arc<ConfigKey>,
    /// Number of the action.
    pub(super) action: usize,
    pub(super) output: Output,
}

/// How far a request was spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) destinations: usize,
    pub(super) instances: usize,
}

pub(super) fn call(destination: &Destination, made: Made<'_>, patience: Patience) -> Answer<Checked> {
    let (handle, instance) = match (&destination.target, made) {
        (Target::Remote(backend, template), Made::Encoded(instance)) => {
            return backend.check(template, instance, patience.ends_by());
        }
        (Target::BuiltIn(handle), Made::BuiltIn(instance)) => (handle, instance),
        _ => return Answer::failed("decides nothing"),
    };
    let answer = match (handle, &instance) {
        (Handle::ApiKey(handler), Instance::ApiKey(instance)) => handler.handle_api_key(instance),
        (Handle::Authorization(handler), Instance::Authorization(instance)) => {
            handler.handle_authorization(instance)
        }
        (Handle::CheckNothing(handler), Instance::CheckNothing(instance)) => {
            handler.handle_check_nothing(instance)
        }
        (Handle::ListEntry(handler), Instance::ListEntry(instance)) => handler.handle_list_entry(instance),
        _ => Answer::failed("decides nothing"),
    };
    answer.map(|result| Checked { result, output: None })
}
