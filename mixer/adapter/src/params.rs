//! Parameters as somebody wrote them.

use prost::{Message, Name};
use serde_json::{Map, Value};

use crate::adapter::ConfigErrors;

/// The parameters `given` over `defaults`: a field that is given replaces the default of that field, also where it is
/// given its zero value (`spec 02` §5.2). Fields may be spelled as in the .proto file or in JSON.
///
/// # Errors
///
/// Unknown fields and values of a wrong type, with the path of the field.
pub fn merge<M: Message + Name + Default>(defaults: &M, given: &Value) -> Result<M, ConfigErrors> {
    let name = M::full_name();
    let mut errors = ConfigErrors::default();
    let merged = match (mesh_api::json::to_value(defaults), given) {
        (Err(error), _) => {
            errors.push("", error.to_string());
            return Err(errors);
        }
        (Ok(_), Value::Null) => {
            return M::decode(defaults.encode_to_vec().as_slice()).map_err(|error| undecodable(&error));
        }
        (Ok(Value::Object(defaults)), Value::Object(given)) => Value::Object(overlay(&name, defaults, given)),
        // Says what is wrong with it.
        (Ok(_), given) => given.clone(),
    };
    let any = mesh_config::decode::message(&name, &merged).map_err(|error| {
        errors.push(error.field, error.reason);
        errors
    })?;
    M::decode(any.value).map_err(|error| undecodable(&error))
}

fn overlay(name: &str, mut defaults: Map<String, Value>, given: &Map<String, Value>) -> Map<String, Value> {
    let descriptor = mesh_api::descriptors().get_message_by_name(name);
    for (key, value) in given {
        let field = descriptor
            .as_ref()
            .and_then(|message| message.get_field_by_name(key));
        let key = field.map_or_else(|| key.clone(), |field| field.json_name().to_owned());
        defaults.insert(key, value.clone());
    }
    defaults
}

fn undecodable(error: &prost::DecodeError) -> ConfigErrors {
    let mut errors = ConfigErrors::default();
    errors.push("", error.to_string());
    errors
}

#[cfg(test)]
mod tests {
    use mesh_api::adapter::stdio::config::Params;
    use serde_json::json;

    use super::*;

    fn defaults() -> Params {
        Params {
            output_as_json: true,
            max_days_before_rotation: 30,
            ..Params::default()
        }
    }

    /// `spec 02` §5.2: what is not given keeps its default, in both spellings, and zero is given.
    #[test]
    fn given_fields_replace_defaults() {
        let params = merge(
            &defaults(),
            &json!({"output_as_json": false, "outputPath": "/tmp/x"}),
        )
        .unwrap();
        assert!(!params.output_as_json);
        assert_eq!(
            (params.max_days_before_rotation, params.output_path.as_str()),
            (30, "/tmp/x")
        );
        assert_eq!(merge(&defaults(), &Value::Null).unwrap(), defaults());
    }

    #[test]
    fn unknown_fields_and_wrong_types_are_named() {
        let error = merge(&defaults(), &json!({"outputs": 1})).unwrap_err();
        assert!(error.to_string().contains("outputs"), "{error}");
        let error = merge(&defaults(), &json!({"outputPath": 1})).unwrap_err();
        assert!(error.to_string().starts_with("outputPath: "), "{error}");
        assert!(merge(&defaults(), &json!([])).is_err());
    }
}
