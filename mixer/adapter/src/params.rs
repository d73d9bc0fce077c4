//! Parameters as somebody wrote them.

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use serde_json::Value;

use crate::adapter::ConfigErrors;

/// The parameters `given` over `defaults`: a field that is given replaces the default of that field, also where it is
/// given its zero value (`spec 02` §5.2). Fields may be spelled as in the .proto file or in JSON. The message is one of
/// ours.
///
/// # Errors
///
/// Unknown fields and values of a wrong type, with the path of the field.
pub fn merge<M: Message + Name + Default>(defaults: &M, given: &Value) -> Result<M, ConfigErrors> {
    merge_described(mesh_api::descriptors(), defaults, given)
}

/// The same for a message that is described in `pool`.
pub(crate) fn merge_described<M: Message + Name + Default>(
    pool: &DescriptorPool,
    defaults: &M,
    given: &Value,
) -> Result<M, ConfigErrors> {
    let defaults = defaults.encode_to_vec();
    let merged = match pool.get_message_by_name(&M::full_name()) {
        _ if given.is_null() => defaults,
        Some(descriptor) => overlaid(&descriptor, &defaults, given)?,
        None => return Err(wrong("", format!("message {} is unknown", M::full_name()))),
    };
    M::decode(&*merged).map_err(|error| wrong("", error.to_string()))
}

fn overlaid(descriptor: &MessageDescriptor, defaults: &[u8], given: &Value) -> Result<Vec<u8>, ConfigErrors> {
    let defaults = mesh_api::json::described_to_value(descriptor.clone(), defaults);
    let merged = match (defaults.map_err(|error| wrong("", error.to_string()))?, given) {
        (Value::Object(mut merged), Value::Object(given)) => {
            for (key, value) in given {
                let field = descriptor.get_field_by_name(key);
                let key = field.map_or_else(|| key.clone(), |field| field.json_name().to_owned());
                merged.insert(key, value.clone());
            }
            Value::Object(merged)
        }
        // Says what is wrong with it.
        (_, given) => given.clone(),
    };
    let any = mesh_config::decode::described(descriptor, &merged);
    Ok(any
        .map_err(|error| wrong(error.field, error.reason))?
        .value
        .into())
}

fn wrong(field: impl Into<String>, reason: impl Into<String>) -> ConfigErrors {
    let mut errors = ConfigErrors::default();
    errors.push(field, reason);
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
