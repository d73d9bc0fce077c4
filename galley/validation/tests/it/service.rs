//! `/admitservice`: Services get warnings, and nothing is refused.

use galley_validation::{Warnings, Webhook};
use mesh_config::Config;
use serde_json::{Value, json};

use crate::{JSON, object, request, response};

/// Says the name of the object.
struct Name;

impl Warnings for Name {
    fn about(&self, object: &Config) -> Vec<String> {
        vec![format!("ports[0].name: {}", object.meta.key.name)]
    }
}

/// Has a defect.
struct Broken;

impl Warnings for Broken {
    fn about(&self, _: &Config) -> Vec<String> {
        panic!("a defect")
    }
}

fn answered(webhook: Webhook, request: &Value, more: &dyn Warnings) -> Value {
    let answer = webhook.answer_with(JSON, request.to_string().as_bytes(), more);
    response(&answer)
}

#[test]
fn pain_16_a_service_gets_warnings_and_is_never_refused() {
    let service = object("v1", "Service", json!({"ports": [{"port": 80}]}));
    let wrong = object("v1", "Service", json!({"ports": 5}));
    let other = object("v1", "ConfigMap", json!({}));
    let warned = json!(["Service weather/forecast: ports[0].name: forecast"]);
    for (operation, object, warnings) in [
        ("CREATE", &service, warned.clone()),
        ("UPDATE", &service, warned),
        ("DELETE", &service, Value::Null),
        ("CREATE", &wrong, Value::Null),
        ("CREATE", &other, Value::Null),
        ("CREATE", &json!({"spec": 1}), Value::Null),
    ] {
        let response = answered(Webhook::Service, &request(operation, object), &Name);
        assert_eq!(response["allowed"], true, "{operation} {object}");
        assert_eq!(response["warnings"], warnings, "{operation} {object}");
    }
}

/// Whoever has a say in warnings has none in admission.
#[test]
fn pain_11_a_defect_in_warnings_refuses_nothing() {
    let spec = json!({"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]});
    let rule = object("networking.istio.io/v1alpha3", "VirtualService", spec);
    let response = answered(Webhook::Pilot, &request("CREATE", &rule), &Broken);
    assert_eq!(response["allowed"], true);
    assert_eq!(response["warnings"], Value::Null);
}
