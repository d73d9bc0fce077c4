//! Instances of all templates, from parameters and attributes.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod bindings;
mod builders;
mod common;
mod refused;

use std::collections::BTreeMap;

use mixer_attribute::{Bag, StringMap, Untracked, Value, ValueType, Vocabulary};
use mixer_template::{BuildError, FieldError, Instance, InstanceBuilder, Template};
use serde_json::Value as Json;

/// The attributes that the tests know; all but the last two have a value in [`bag`].
fn vocabulary() -> Vocabulary {
    let mut vocabulary = Vocabulary::default();
    for (name, value_type) in [
        ("source.name", ValueType::String),
        ("source.ip", ValueType::IpAddress),
        ("source.labels", ValueType::StringMap),
        ("destination.port", ValueType::Int64),
        ("request.time", ValueType::Timestamp),
        ("response.duration", ValueType::Duration),
        ("connection.mtls", ValueType::Bool),
        ("source.namespace", ValueType::String),
        ("destination.labels", ValueType::StringMap),
    ] {
        vocabulary.add(name, value_type).unwrap();
    }
    vocabulary
}

fn bag(vocabulary: &Vocabulary) -> Bag<'static> {
    let mut bag = Bag::new(vocabulary);
    for (name, value) in [
        ("source.name", Value::from("reviews")),
        ("source.ip", Value::IpAddress([10, 0, 0, 1].into())),
        (
            "source.labels",
            Value::StringMap(StringMap::borrowed([("app", "reviews")])),
        ),
        ("destination.port", Value::Int64(9080)),
        (
            "request.time",
            Value::Timestamp(prost_types::Timestamp { seconds: 7, nanos: 0 }),
        ),
        (
            "response.duration",
            Value::Duration(prost_types::Duration { seconds: 1, nanos: 0 }),
        ),
        ("connection.mtls", Value::Bool(true)),
    ] {
        bag.set(vocabulary.id(name).unwrap(), value);
    }
    bag
}

fn compile(template: Template, params: &Json) -> Result<InstanceBuilder, Vec<FieldError>> {
    let name = format!("test.{template}.default");
    InstanceBuilder::compile(template, &name, params, &BTreeMap::new(), &vocabulary())
}

/// A builder that is all right.
fn builder(template: Template, params: &Json) -> InstanceBuilder {
    compile(template, params).unwrap_or_else(|errors| panic!("{template}: {errors:?}"))
}

fn build(builder: &InstanceBuilder) -> Result<Instance<'_>, BuildError> {
    builder.build(&bag(&vocabulary()), &mut Untracked)
}
