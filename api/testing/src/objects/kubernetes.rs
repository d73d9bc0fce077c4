//! Where the JSON of Kubernetes is not that of its messages.

use prost_reflect::{FieldDescriptor, MessageDescriptor};
use serde_json::{Value, json};

use super::Choices;

/// A message that is a bare value.
pub(super) fn bare(descriptor: &MessageDescriptor, choices: &mut Choices<'_>) -> Value {
    match descriptor.name() {
        "IntOrString" => choices
            .one_of(&[
                json!(8080),
                json!("http"),
                json!(9090),
                json!("tcp"),
                json!(0),
                json!(70_000),
                json!(""),
            ])
            .clone(),
        "Quantity" => json!("100m"),
        _ => json!("2020-01-01T00:00:00Z"),
    }
}

/// Whether the fields of a message stand in the object around it.
pub(super) fn is_inline(field: &FieldDescriptor) -> bool {
    matches!(field.name(), "handler" | "localObjectReference")
}
