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

/// Pain 23: who takes the name of something that there is, such as a default metric, is told so.
#[test]
fn pain_23_an_instance_that_replaces_one_of_another_template_is_admitted_with_a_warning() {
    let instance = |field: &str, template: &str| mixers("instance", json!({field: template}));
    let update = |old: &Value, new: &Value| {
        let mut update = request("UPDATE", new);
        update["request"]["oldObject"] = old.clone();
        verdict(Webhook::Mixer, &update)
    };
    let metric = instance("compiledTemplate", "metric");
    let (allowed, warnings, _) = update(&metric, &instance("compiledTemplate", "quota"));
    assert!(allowed, "{warnings}");
    assert_eq!(
        warnings,
        "instance weather/forecast: compiledTemplate: replaces the instance of metric by one of quota, rules that use it may \
         not fit it any more; another name makes another instance"
    );
    let (_, warnings, _) = update(&metric, &instance("template", "mine"));
    assert!(
        warnings.contains("template: replaces the instance of metric by one of mine"),
        "{warnings}"
    );
    let handler = |adapter: &str| mixers("handler", json!({"compiledAdapter": adapter}));
    let (_, warnings, _) = update(&handler("noop"), &handler("stdio"));
    assert!(
        warnings.contains("compiledAdapter: replaces the handler of noop by one of stdio"),
        "{warnings}"
    );
    for (old, new) in [(&metric, &metric), (&Value::Null, &metric)] {
        assert_eq!(update(old, new).1, "");
    }
}
