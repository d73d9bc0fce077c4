//! Whether a request may pass (`spec 02` §2.4, §2.5).

use mixer_adapter::{Answer, CheckResult, Handle};
use mixer_attribute::{Bag, Track};

use super::call::{Call, Patience};
use super::combine::{Verdict, combine};
use super::conditions::Conditions;
use super::failure::Failure;
use super::headers;
use crate::routing::{Destination, Routes, Table};
use mixer_template::Instance;

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
                match instance.builder.build(bag, track) {
                    Ok(built) => calls.push(Call::start(destination, || call(destination, &built))),
                    Err(error) => errors.push(format!("{}: {error}", instance.name)),
                }
            }
        }
        counts.destinations += usize::from(counts.instances > before);
    }
    let mut results = Vec::with_capacity(calls.len());
    for (destination, answer) in Call::finish_all(calls, patience).await {
        match answer {
            Ok(result) => results.push((destination.handler.label(), result)),
            Err(error) => errors.push(error.to_string()),
        }
    }
    if !errors.is_empty() {
        let errors = errors.join("; ");
        return Err(Failure::internal(format!(
            "performing check operation failed: {errors}"
        )));
    }
    let mut verdict = combine(results);
    if verdict.is_ok() {
        verdict.directive = headers::operations(&routes.headers, bag, &mut conditions, track);
    }
    Ok((verdict, counts))
}

/// How far a request was spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) destinations: usize,
    pub(super) instances: usize,
}

pub(super) fn call(destination: &Destination, instance: &Instance<'_>) -> Answer<CheckResult> {
    match (&destination.handle, instance) {
        (Handle::ApiKey(handler), Instance::ApiKey(instance)) => handler.handle_api_key(instance),
        (Handle::Authorization(handler), Instance::Authorization(instance)) => {
            handler.handle_authorization(instance)
        }
        (Handle::CheckNothing(handler), Instance::CheckNothing(instance)) => {
            handler.handle_check_nothing(instance)
        }
        (Handle::ListEntry(handler), Instance::ListEntry(instance)) => handler.handle_list_entry(instance),
        _ => Answer::failed("decides nothing"),
    }
}
