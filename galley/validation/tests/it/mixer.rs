use galley_validation::{Reason, Webhook};
use serde_json::{Value, json};

use crate::{object, reason, request, verdict};

const CONFIG: &str = "config.istio.io/v1alpha2";

fn mixers(kind: &str, spec: Value) -> Value {
    object(CONFIG, kind, spec)
}

/// `G8.5`: each row of the flow, with what is counted.
#[test]
fn g8_5_what_is_admitted_and_what_is_not() {
    let action = json!([{"handler": "prometheus", "instances": ["requestcount"]}]);
    let cases: Vec<(&str, Value, bool, Option<Reason>, &str)> = vec![
        (
            "a rule",
            request(
                "CREATE",
                &mixers("rule", json!({"match": "true", "actions": action})),
            ),
            true,
            None,
            "",
        ),
        (
            "a handler of an adapter that is not built in",
            request(
                "UPDATE",
                &mixers(
                    "handler",
                    json!({"compiledAdapter": "mine", "params": {"any": ["thing"]}}),
                ),
            ),
            true,
            None,
            "",
        ),
        (
            "a handler with another adapter's parameters",
            request(
                "CREATE",
                &mixers(
                    "handler",
                    json!({"compiledAdapter": "stdio", "params": {"address": "localhost:8125"}}),
                ),
            ),
            false,
            Some(Reason::InvalidResource),
            "configuration is invalid: handler weather/forecast: params.address: unknown field `address`",
        ),
        (
            "a handler of the former kind",
            request("CREATE", &mixers("denier", json!({"status": {"code": 7}}))),
            true,
            None,
            "",
        ),
        (
            "a misspelled parameter of an adapter of a vendor",
            request("CREATE", &mixers("signalfx", json!({"accessTokn": "secret"}))),
            false,
            Some(Reason::InvalidResource),
            "configuration is invalid: signalfx weather/forecast: accessTokn: unknown field `accessTokn`, \
             did you mean `accessToken`?",
        ),
        (
            "a misspelled field",
            request(
                "CREATE",
                &mixers("instance", json!({"compiledTemplat": "metric"})),
            ),
            false,
            Some(Reason::CrdConversionError),
            "configuration is invalid: instance weather/forecast: compiledTemplat: unknown field `compiledTemplat`, \
             did you mean `compiledTemplate`?",
        ),
        (
            "a field beside the spec",
            request(
                "CREATE",
                &json!({
                    "apiVersion": CONFIG, "kind": "rule", "metadata": {"name": "a", "namespace": "b"}, "actions": [],
                }),
            ),
            false,
            Some(Reason::CrdConversionError),
            "configuration is invalid: rule b/a: actions: unknown field `actions`",
        ),
        (
            "selector instead of match",
            request(
                "CREATE",
                &mixers("rule", json!({"selector": "true", "actions": action})),
            ),
            false,
            Some(Reason::InvalidResource),
            "configuration is invalid: field 'selector' is deprecated, use 'match' instead",
        ),
        (
            "selector beside match",
            request(
                "CREATE",
                &mixers(
                    "rule",
                    json!({"selector": "true", "match": "true", "actions": action}),
                ),
            ),
            true,
            None,
            "field 'selector' is deprecated, and ignored because there is a 'match'",
        ),
        (
            "a kind of Pilot",
            request("CREATE", &mixers("QuotaSpec", json!({"nonsense": 1}))),
            true,
            None,
            "",
        ),
        (
            "a kind that nobody knows",
            request("CREATE", &mixers("myadapter", json!({"anything": 1}))),
            true,
            None,
            "",
        ),
        ("removal", request("DELETE", &Value::Null), true, None, ""),
        (
            "a connection",
            request("CONNECT", &Value::Null),
            true,
            Some(Reason::UnsupportedOperation),
            "",
        ),
        (
            "no object",
            request("UPDATE", &Value::Null),
            false,
            Some(Reason::YamlDecodeError),
            "cannot decode configuration: the request holds no object with apiVersion and kind",
        ),
    ];
    for (name, request, allowed, expected, text) in cases {
        let (got, message, outcome) = verdict(Webhook::Mixer, &request);
        assert_eq!((got, reason(&outcome)), (allowed, expected), "{name}: {message}");
        assert_eq!(message, text, "{name}");
    }
}

#[test]
fn a_removal_names_what_it_removes() {
    let mut request = request("DELETE", &Value::Null);
    request["request"]["name"] = "".into();
    let (allowed, message, outcome) = verdict(Webhook::Mixer, &request);
    assert!(!allowed);
    assert_eq!(reason(&outcome), Some(Reason::UnknownType));
    assert!(message.contains("name"), "{message}");
}
