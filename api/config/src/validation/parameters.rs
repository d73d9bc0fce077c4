//! Parameters of Mixer's adapters and templates: of the kinds that are called after one, of handlers and of instances
//! (spec 02 §5.1, §5.2, §9.11).
//!
//! Their form only. Whether expressions can be evaluated and names lead anywhere is for whoever knows all objects.

use mesh_api::istio::policy::v1beta1::{Handler, Instance};
use prost::Message as _;
use prost_types::Struct;
use serde_json::Value;

use super::Problems;
use crate::{Config, Kind, decode};

/// The message of kinds that hold nothing but parameters.
const STRUCT: &str = "google.protobuf.Struct";

/// Faults that are looked for: each costs another reading.
const MAX_FAULTS: usize = 16;

/// Parameters of a handler, where the adapter is one that Istio 1.1 had built in.
pub(super) fn check_handler(handler: &Handler, problems: &mut Problems) {
    if let (Some(params), Some(message)) = (&handler.params, of_adapter(&handler.compiled_adapter)) {
        problems.field("params", |problems| check_struct(&message, params, problems));
    }
}

/// Parameters of an instance, where the template is one that Istio 1.1 had built in.
pub(super) fn check_instance(instance: &Instance, problems: &mut Problems) {
    if let (Some(params), Some(message)) = (&instance.params, of_template(&instance.compiled_template)) {
        problems.field("params", |problems| check_struct(&message, params, problems));
    }
}

/// An object that is carried as it was written, if it is one: of a kind that is called after an adapter or a template, or that
/// describes one.
pub(super) fn check_free_form(config: &Config, problems: &mut Problems) {
    let Some(message) = of_kind(config.meta.key.kind) else {
        return;
    };
    match mesh_api::json::encoded_to_value(STRUCT, &config.body.value) {
        Ok(params) => check_value(&message, &params, problems),
        Err(error) => problems.report(error.to_string()),
    }
}

fn check_struct(message: &str, params: &Struct, problems: &mut Problems) {
    match mesh_api::json::encoded_to_value(STRUCT, &params.encode_to_vec()) {
        Ok(params) => check_value(message, &params, problems),
        Err(error) => problems.report(error.to_string()),
    }
}

fn check_value(message: &str, params: &Value, problems: &mut Problems) {
    for fault in decode::message_faults(message, params, MAX_FAULTS) {
        if fault.field.is_empty() {
            problems.report(fault.reason);
        } else {
            problems.report_field(&fault.field, fault.reason);
        }
    }
}

/// What the content of a kind that is carried as it was written has to be.
fn of_kind(kind: Kind) -> Option<String> {
    let schema = kind.schema();
    if schema.message != STRUCT {
        return None;
    }
    match kind {
        Kind::Adapter => Some("istio.mixer.adapter.model.v1beta1.Info".to_owned()),
        Kind::Template => Some("istio.mixer.adapter.model.v1beta1.Template".to_owned()),
        _ => of_adapter(schema.kind).or_else(|| of_template(schema.kind)),
    }
}

/// The message of an adapter's parameters; nothing for one that we do not know.
fn of_adapter(name: &str) -> Option<String> {
    let package = match name {
        "listchecker" => "list",
        // The folder of its message in 1.1 is not its name.
        "list" => return None,
        other => other,
    };
    known(package, format!("adapter.{package}.config.Params"))
}

/// The message of a template's expressions.
fn of_template(name: &str) -> Option<String> {
    let package = match name {
        "kubernetes" => "adapter.template.kubernetes",
        other => other,
    };
    known(name, format!("{package}.InstanceParam"))
}

/// What users write must not lead to other messages.
fn known(name: &str, message: String) -> Option<String> {
    let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase());
    let exists = is_name && mesh_api::descriptors().get_message_by_name(&message).is_some();
    exists.then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `02 §5.1`, `02 §7.15`: those of vendors too.
    #[test]
    fn every_kind_that_is_carried_as_it_was_written_has_its_message() {
        let free_form = Kind::ALL.iter().filter(|kind| kind.schema().message == STRUCT);
        let known = |kind: &&&Kind| {
            of_kind(***kind).is_some_and(|name| mesh_api::descriptors().get_message_by_name(&name).is_some())
        };
        let unknown: Vec<&Kind> = free_form.clone().filter(|kind| !known(&kind)).collect();
        assert_eq!(unknown, [] as [&Kind; 0]);
        assert_eq!(free_form.count(), 33);
    }

    #[test]
    fn what_nobody_has_built_in_is_not_judged() {
        for name in ["", "list", "keyval", "template.kubernetes", "Denier"] {
            assert_eq!(of_adapter(name), None, "{name}");
        }
        assert_eq!(of_template("adapter.template.kubernetes"), None);
    }
}
