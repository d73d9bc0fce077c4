//! Attributes that adapters know, before all others are called (`spec 02` §2.4.5, §6.5).

use mixer_adapter::{Answer, Handle};
use mixer_attribute::{Bag, Track};
use mixer_template::KubernetesOutput;

use super::call::{Call, Patience};
use super::conditions::Conditions;
use super::failure::Failure;
use crate::routing::{Destination, RoutedInstance, Routes, Table};
use mixer_template::Instance;

/// Adds to a bag what the generators of `routes` know. What the request brought is not replaced, and of several
/// generators the first one counts.
pub(super) async fn generate<'r>(
    table: &'r Table,
    routes: &'r Routes,
    bag: &mut Bag<'r>,
    track: &mut (impl Track + Send),
    patience: Patience,
) -> Result<(), Failure> {
    if routes.generators.is_empty() {
        return Ok(());
    }
    let mut conditions = Conditions::new(table);
    let mut calls = Vec::new();
    let mut instances: Vec<&'r RoutedInstance> = Vec::new();
    let mut errors = Vec::new();
    for route in &routes.generators {
        let Some(destination) = table.destinations.get(route.destination) else {
            continue;
        };
        for group in &route.groups {
            if !conditions.hold(group.condition, bag, track) {
                continue;
            }
            for instance in &group.instances {
                match instance.builder.build(bag, track) {
                    Ok(built) => {
                        calls.push(Call::start(destination, || call(destination, &built)));
                        instances.push(instance);
                    }
                    Err(error) => errors.push(format!("{}: {error}", instance.name)),
                }
            }
        }
    }
    let answers = Call::finish_all(calls, patience).await;
    for ((_, answer), instance) in answers.into_iter().zip(instances) {
        let bound = match answer {
            Ok(output) => instance
                .builder
                .bind(&output, bag, track)
                .map_err(|error| format!("{}: {error}", instance.name)),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = bound {
            errors.push(error);
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::internal(format!(
        "preprocessing attributes failed: {}",
        errors.join("; ")
    )))
}

fn call(destination: &Destination, instance: &Instance<'_>) -> Answer<KubernetesOutput> {
    match (&destination.handle, instance) {
        (Handle::Kubernetes(handler), Instance::Kubernetes(instance)) => handler.handle_kubernetes(instance),
        _ => Answer::failed("generates no attributes"),
    }
}
