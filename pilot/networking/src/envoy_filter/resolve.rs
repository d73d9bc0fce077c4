//! From what somebody wrote to what Envoy reads.

use mesh_api::Any;
use mesh_api::istio::networking::v1alpha3::envoy_filter::Filter;
use mesh_api::xds::r#type::v3::TypedStruct;
use mesh_config::decode::{self, MessageError};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use serde_json::{Map, Number};

use super::extension::Place;

/// A filter as Envoy gets it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resolved {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) config: Any,
    /// Whether an Envoy that does not have the filter may go on without it.
    pub(super) is_optional: bool,
}

/// How deep free-form values may be nested: what is deeper was not read from a document.
const MAX_DEPTH: usize = 32;

/// Finds out which message configures a filter, and makes it.
///
/// That is the one that `@type` names, else the one of the filter that bears the name. Where Envoy has filters that we do
/// not know, it gets the fields as they are.
///
/// # Errors
///
/// The field that is wrong, and why.
pub(super) fn resolve(filter: &Filter) -> Result<Resolved, String> {
    let place = Place::of(filter).ok_or("filterType: missing")?;
    let name = &*place.todays_name(&filter.filter_name);
    if name.is_empty() {
        return Err("filterName: missing".to_owned());
    }
    let config = filter.filter_config.as_ref().ok_or("filterConfig: missing")?;
    let mut fields = to_json(config, MAX_DEPTH).ok_or("filterConfig: nested too deep")?;
    let mut message = take_type(&mut fields)?;
    if message.as_deref().is_some_and(is_typed_struct) {
        (message, fields) = inside_typed_struct(fields)?;
    }
    let (message, field) = match message {
        Some(message) => (message, "filterConfig.@type"),
        None if place.is_terminal(name) => return Err(ends_chain("filterName", name)),
        None => {
            let message = place.message_of(name).ok_or_else(|| {
                format!("filterName: {name:?} is none of Envoy's filters for this place, and filterConfig has no @type")
            })?;
            (message, "filterName")
        }
    };
    if place.is_terminal(&message) {
        return Err(ends_chain(field, &message));
    }
    let is_known = place.takes(&message);
    let config = if is_known {
        decode::message(&message, &serde_json::Value::Object(fields)).map_err(in_config)?
    } else {
        if mesh_api::descriptors().get_message_by_name(&message).is_some() || message.starts_with("envoy.") {
            return Err(format!("{field}: {message} configures no filter for this place"));
        }
        // A listener with a network filter that is missing in Envoy is rejected as a whole.
        if place == Place::Network {
            return Err(format!("{field}: {message} is none of Envoy's network filters"));
        }
        Any::pack(&TypedStruct {
            type_url: format!("type.googleapis.com/{message}"),
            value: Some(without_type(config)),
        })
    };
    Ok(Resolved {
        place,
        name: name.to_owned(),
        config,
        is_optional: !is_known,
    })
}

fn ends_chain(field: &str, what: &str) -> String {
    format!("{field}: {what} ends a filter chain, which has an end already")
}

fn in_config(MessageError { field, reason }: MessageError) -> String {
    let separator = if field.is_empty() { "" } else { "." };
    format!("filterConfig{separator}{field}: {reason}")
}

/// The message that `@type` names.
fn take_type(fields: &mut Map<String, serde_json::Value>) -> Result<Option<String>, String> {
    match fields.remove("@type") {
        None => Ok(None),
        Some(serde_json::Value::String(url)) if !url.is_empty() => Ok(Some(message_name(&url).to_owned())),
        Some(_) => Err("filterConfig.@type: expected the URL of a message".to_owned()),
    }
}

fn message_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

fn is_typed_struct(message: &str) -> bool {
    ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"].contains(&message)
}

/// What a `TypedStruct` holds: the message that it stands for, and its fields.
fn inside_typed_struct(
    mut fields: Map<String, serde_json::Value>,
) -> Result<(Option<String>, Map<String, serde_json::Value>), String> {
    let url = ["type_url", "typeUrl"]
        .iter()
        .find_map(|name| fields.remove(*name));
    let message = match &url {
        Some(serde_json::Value::String(url)) if !url.is_empty() => message_name(url).to_owned(),
        _ => return Err("filterConfig.type_url: expected the URL of a message".to_owned()),
    };
    match fields.remove("value") {
        None => Ok((Some(message), Map::new())),
        Some(serde_json::Value::Object(fields)) => Ok((Some(message), fields)),
        Some(_) => Err("filterConfig.value: expected an object".to_owned()),
    }
}

/// The fields alone.
fn without_type(config: &Struct) -> Struct {
    let is_wrapper = config
        .fields
        .get("@type")
        .and_then(|url| match &url.kind {
            Some(Kind::StringValue(url)) => Some(is_typed_struct(message_name(url))),
            _ => None,
        })
        .unwrap_or_default();
    if is_wrapper {
        return match config.fields.get("value").and_then(|value| value.kind.as_ref()) {
            Some(Kind::StructValue(inner)) => inner.clone(),
            _ => Struct::default(),
        };
    }
    let mut bare = config.clone();
    bare.fields.remove("@type");
    bare
}

/// `None` when it is nested deeper than that.
fn to_json(fields: &Struct, levels: usize) -> Option<Map<String, serde_json::Value>> {
    let levels = levels.checked_sub(1)?;
    fields
        .fields
        .iter()
        .map(|(name, value)| Some((name.clone(), value_to_json(value, levels)?)))
        .collect()
}

fn value_to_json(value: &Value, levels: usize) -> Option<serde_json::Value> {
    Some(match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::NumberValue(number)) => number_to_json(*number),
        Some(Kind::StringValue(text)) => text.clone().into(),
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::StructValue(fields)) => to_json(fields, levels)?.into(),
        Some(Kind::ListValue(list)) => {
            let levels = levels.checked_sub(1)?;
            let items = list.values.iter().map(|item| value_to_json(item, levels));
            serde_json::Value::Array(items.collect::<Option<_>>()?)
        }
    })
}

/// A Struct knows one kind of number; fields for integers want them without fraction.
fn number_to_json(number: f64) -> serde_json::Value {
    /// Integers up to here are exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;

    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "it is an integer within the range"
        )]
        return (number as i64).into();
    }
    Number::from_f64(number).map_or(serde_json::Value::Null, Into::into)
}
