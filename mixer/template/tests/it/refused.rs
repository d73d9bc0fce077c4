//! What no instance is made of.

use std::collections::BTreeMap;

use mixer_template::{InstanceBuilder, Template};
use serde_json::{Value, json};

use crate::{build, builder, compile, vocabulary};

fn errors(template: Template, params: &Value) -> Vec<String> {
    let errors = compile(template, params).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

/// `spec 02` §6.2: everything that is wrong is said at once, with the field and the place in the expression.
#[test]
fn expressions_that_do_not_fit_are_all_named() {
    assert_eq!(
        errors(
            Template::LogEntry,
            &json!({
                "severity": "destination.port",
                "timestamp": "\"now\"",
                "variables": {"a": "source.nam", "b": "source.name"},
                "monitored_resource_type": "Info",
            })
        ),
        [
            "variables[a]: unknown attribute source.nam (at column 1 of `source.nam`)",
            "timestamp: \"now\" typeError got STRING, expected TIMESTAMP (at column 1 of `\"now\"`)",
            "severity: destination.port typeError got INT64, expected STRING (at column 1 of `destination.port`)",
            "monitoredResourceType: unknown attribute Info (at column 1 of `Info`)",
        ]
    );
    assert_eq!(
        errors(
            Template::Authorization,
            &json!({"subject": {"user": "1"}, "action": {"properties": {"x": "("}}})
        ),
        [
            "subject.user: 1 typeError got INT64, expected STRING (at column 1 of `1`)",
            "action.properties[x]: unexpected end, expected an operand (at column 2 of `(`)",
        ]
    );
}

/// `spec 02` §5.2: unknown fields are errors, in templates without fields, too.
#[test]
fn unknown_fields_and_other_types_are_named() {
    for template in Template::ALL {
        let errors = errors(*template, &json!({"nonsense": "1"}));
        assert!(errors[0].contains("nonsense"), "{template}: {errors:?}");
        assert!(compile(*template, &json!([])).is_err(), "{template}");
        assert!(compile(*template, &json!("x")).is_err(), "{template}");
    }
    assert!(errors(Template::Metric, &json!({"value": 1}))[0].starts_with("value: "));
    assert!(errors(Template::Metric, &json!({"dimensions": {"a": 1}}))[0].contains("dimensions"));
    assert!(errors(Template::Authorization, &json!({"subject": {"usr": ""}}))[0].contains("usr"));
}

/// `spec 02` §4.3: an absent attribute is an error of the instance, which names field and attribute.
#[test]
fn absent_attributes_have_no_instance() {
    let builder = builder(
        Template::Metric,
        &json!({"value": "1", "dimensions": {"a": "source.name", "b": "source.namespace"}}),
    );
    assert_eq!(
        build(&builder).unwrap_err().to_string(),
        "field dimensions[b]: lookup failed: 'source.namespace'"
    );
}

#[test]
fn only_generators_bind_attributes() {
    let bindings = BTreeMap::from([("source.name".to_owned(), "output.x".to_owned())]);
    let errors =
        InstanceBuilder::compile(Template::Metric, "m", &json!({}), &bindings, &vocabulary()).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "attributeBindings: template metric gives no attributes"
    );
}
