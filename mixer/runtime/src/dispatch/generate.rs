//! Attributes that adapters know, before all others are called (`spec 02` §2.4.5, §6.5).

use mixer_adapter::{Answer, Handle};
use mixer_attribute::{Bag, Track};
use mixer_dynamic::Output;
use mixer_template::{BuildError, Instance, KubernetesOutput};

use super::call::{Call, Patience};
use super::conditions::Conditions;
use super::failure::Failure;
use crate::instance::{Made, Maker};
use crate::routing::{Destination, RoutedInstance, Routes, Table, Target};

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
                match instance.maker.make(bag, track) {
                    Ok(made) => {
                        calls.push(Call::start(destination, || call(destination, made, patience)));
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
            Ok(output) => output
                .bind(&instance.maker, bag, track)
                .map_err(|error| format!("{}: {error}", instance.name)),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = bound {
            errors.push(error);
        }
    }
    failure(&errors).map_or(Ok(()), Err)
}

/// What is told if generators failed.
pub(super) fn failure(errors: &[String]) -> Option<Failure> {
    let failure = || Failure::internal(format!("preprocessing attributes failed: {}", errors.join("; ")));
    (!errors.is_empty()).then(failure)
}

/// What an adapter knows.
pub(super) enum Generated {
    BuiltIn(Box<KubernetesOutput>),
    Remote(Output),
}

// === impl Generated ===

impl Generated {
    pub(super) fn bind<'r>(
        self,
        maker: &'r Maker,
        bag: &mut Bag<'r>,
        track: &mut impl Track,
    ) -> Result<(), BuildError> {
        match (self, maker) {
            (Self::BuiltIn(output), Maker::BuiltIn(builder)) => builder.bind(&output, bag, track),
            (Self::Remote(output), Maker::Remote(encoder)) => encoder.bind(output, bag, track),
            // Whoever makes instances also knows their answers.
            (Self::BuiltIn(_), Maker::Remote(_)) | (Self::Remote(_), Maker::BuiltIn(_)) => Ok(()),
        }
    }
}

pub(super) fn call(destination: &Destination, made: Made<'_>, patience: Patience) -> Answer<Generated> {
    match (&destination.target, made) {
        (Target::BuiltIn(Handle::Kubernetes(handler)), Made::BuiltIn(Instance::Kubernetes(instance))) => {
            let known = |output| Generated::BuiltIn(Box::new(output));
            handler.handle_kubernetes(&instance).map(known)
        }
        (Target::Remote(backend, template), Made::Encoded(instance)) => {
            let answer = backend.generate(template, instance, patience.ends_by());
            answer.map(Generated::Remote)
        }
        _ => Answer::failed("generates no attributes"),
    }
}
