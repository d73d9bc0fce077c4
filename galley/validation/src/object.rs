//! What both webhooks check of an object.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mesh_config::decode;
use mesh_config::{Config, ConfigError, Kind, validation};
use serde_json::{Map, Value};

use crate::outcome::Reason;
use crate::review::Request;
use crate::verdict::Verdict;
use crate::warnings::{self, Warnings};

/// Faults of form that are looked for: each costs another reading of the object.
const MAX_FAULTS: usize = 16;

/// The kind that the object of a request says it is.
///
/// # Errors
///
/// The verdict on what is no object, or not the one that the request speaks of. `Ok(None)`: somebody else's kind.
pub(crate) fn kind(request: &Request) -> Result<Option<Kind>, Verdict> {
    let object = &request.object;
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, name) = (text("apiVersion"), text("kind"));
    if api_version.is_empty() || name.is_empty() {
        let message = "cannot decode configuration: the request holds no object with apiVersion and kind";
        return Err(Verdict::refused(Reason::YamlDecodeError, message));
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let asked = &request.kind;
    if !asked.kind.is_empty() && (asked.kind != name || asked.group != group) {
        let message = format!(
            "cannot decode configuration: the request is about {} of {:?}, its object is {name:?} of {group:?}",
            asked.kind, asked.group
        );
        return Err(Verdict::refused(Reason::YamlDecodeError, message));
    }
    Ok(Kind::by_name(group, name))
}

/// Checks an object of a known kind: its form, then its rules. Everything that is wrong is said at once.
///
/// An update that leaves the content as it was is admitted whatever the content: somebody must be able to label or to
/// remove an object that was stored before it was checked. What is wrong is then a warning.
pub(crate) fn check(request: &Request, more: &dyn Warnings) -> Verdict {
    let object = complete(request);
    let verdict = match decode::from_json(None, &object) {
        Err(_) => Verdict::invalid(
            Reason::CrdConversionError,
            decode::faults(None, &object, MAX_FAULTS),
        ),
        Ok(config) => {
            let name = config.meta.key.to_string();
            let broken: Vec<_> = validation::validate(&config)
                .into_iter()
                .chain(validation::parameters(&config))
                .map(|problem| ConfigError {
                    location: None,
                    object: name.clone(),
                    field: problem.field,
                    reason: problem.reason,
                })
                .collect();
            if broken.is_empty() {
                let mut found = warnings::of(config.meta.key.kind, &object);
                found.extend(warnings::replaced(
                    config.meta.key.kind,
                    &request.old_object,
                    &object,
                ));
                found.extend(more_about(&config, more));
                with_warnings(&name, &found)
            } else {
                Verdict::invalid(Reason::InvalidResource, broken)
            }
        }
    };
    let unchanged = || {
        let old = content(&request.old_object);
        old.is_some() && old == content(&request.object)
    };
    if !verdict.allowed && request.operation == "UPDATE" && unchanged() {
        return verdict.tolerated();
    }
    verdict
}

/// Admits an object whatever it holds, with what is surely a mistake in it.
pub(crate) fn warned(request: &Request, more: &dyn Warnings) -> Verdict {
    match decode::from_json(None, &complete(request)) {
        Ok(config) => with_warnings(&config.meta.key.to_string(), &more_about(&config, more)),
        Err(_) => Verdict::passed(),
    }
}

/// A defect of whoever has a say must not keep an object from being admitted.
fn more_about(config: &Config, more: &dyn Warnings) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(|| more.about(config))).unwrap_or_default()
}

fn with_warnings(name: &str, warnings: &[String]) -> Verdict {
    warnings.iter().fold(Verdict::passed(), |verdict, warning| {
        verdict.warning(format!("{name}: {warning}"))
    })
}

/// The object with the name and namespace that it gets from the request. A name that is still to be made up is its prefix.
fn complete(request: &Request) -> Value {
    let mut object = request.object.clone();
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return object;
    };
    let absent = |metadata: &Map<String, Value>, field: &str| {
        matches!(metadata.get(field), None | Some(Value::Null))
            || metadata.get(field).is_some_and(|it| it == "")
    };
    if absent(metadata, "name") {
        let name = match metadata.get("generateName") {
            Some(Value::String(prefix)) if request.name.is_empty() => prefix.trim_end_matches('-'),
            _ => &request.name,
        };
        if !name.is_empty() {
            let name = Value::String(name.to_owned());
            metadata.insert("name".to_owned(), name);
        }
    }
    if absent(metadata, "namespace") && !request.namespace.is_empty() {
        let namespace = Value::String(request.namespace.clone());
        metadata.insert("namespace".to_owned(), namespace);
    }
    object
}

/// The fields of an object without those that say nothing about the mesh.
fn content(object: &Value) -> Option<Map<String, Value>> {
    let mut fields = object.as_object()?.clone();
    fields.remove("metadata");
    fields.remove("status");
    Some(fields)
}
