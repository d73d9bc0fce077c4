use galley_validation::{Outcome, Reason, Warnings, Webhook};
use mesh_config::Config;
use serde_json::{Value, json};

use crate::{JSON, answer, object, reason, request, response, verdict};

const NETWORKING: &str = "networking.istio.io/v1alpha3";

fn virtual_service(spec: Value) -> Value {
    object(NETWORKING, "VirtualService", spec)
}

fn good() -> Value {
    virtual_service(json!({
        "hosts": ["forecast"],
        "http": [{"route": [{"destination": {"host": "forecast"}}]}],
    }))
}

fn bad() -> Value {
    virtual_service(json!({"hosts": [], "http": [{"timeout": "0s"}]}))
}

/// `G8.4`: each row of the flow, with what is counted.
#[test]
fn g8_4_what_is_admitted_and_what_is_not() {
    let cases: Vec<(&str, Value, bool, Option<Reason>, &str)> = vec![
        ("a good object", request("CREATE", &good()), true, None, ""),
        ("a good change", request("UPDATE", &good()), true, None, ""),
        (
            "a newer version",
            request(
                "CREATE",
                &object(
                    "networking.istio.io/v1",
                    "Gateway",
                    json!({
                        "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
                    }),
                ),
            ),
            true,
            None,
            "",
        ),
        (
            "a misspelled field",
            request("CREATE", &virtual_service(json!({"hosts": ["a"], "htp": []}))),
            false,
            Some(Reason::CrdConversionError),
            "configuration is invalid: VirtualService weather/forecast: htp: unknown field `htp`, did you mean `http`?",
        ),
        (
            "several faults of form",
            request(
                "CREATE",
                &virtual_service(json!({"hosts": "a", "http": [{"timeout": 5, "retires": {}}]})),
            ),
            false,
            Some(Reason::CrdConversionError),
            "configuration is invalid: VirtualService weather/forecast: 3 errors occurred:\n\
             \t* hosts: expected a list, found the string \"a\"\n\
             \t* http[0].retires: unknown field `retires`, did you mean `retries`?\n\
             \t* http[0].timeout: 5 is not a duration such as 10s, 500ms or 1h30m",
        ),
        (
            "a field beside the spec",
            request(
                "CREATE",
                &json!({
                    "apiVersion": NETWORKING, "kind": "VirtualService", "metadata": {"name": "forecast"}, "hosts": ["a"],
                }),
            ),
            false,
            Some(Reason::CrdConversionError),
            "configuration is invalid: VirtualService weather/forecast: hosts: unknown field `hosts`",
        ),
        (
            "a kind of Mixer",
            request("CREATE", &object("config.istio.io/v1alpha2", "rule", json!({}))),
            false,
            Some(Reason::UnknownType),
            "unrecognized type \"rule\"",
        ),
        (
            "a kind that nobody knows",
            request("CREATE", &object(NETWORKING, "VirtualServer", json!({}))),
            false,
            Some(Reason::UnknownType),
            "unrecognized type \"VirtualServer\"",
        ),
        (
            "no object",
            request("CREATE", &Value::Null),
            false,
            Some(Reason::YamlDecodeError),
            "cannot decode configuration: the request holds no object with apiVersion and kind",
        ),
        (
            "removal",
            request("DELETE", &Value::Null),
            true,
            Some(Reason::UnsupportedOperation),
            "",
        ),
        (
            "a connection",
            request("CONNECT", &json!({"apiVersion": "v1", "kind": "PodExecOptions"})),
            true,
            Some(Reason::UnsupportedOperation),
            "",
        ),
    ];
    for (name, request, allowed, expected, text) in cases {
        let (got, message, outcome) = verdict(Webhook::Pilot, &request);
        assert_eq!((got, reason(&outcome)), (allowed, expected), "{name}: {message}");
        assert_eq!(message, text, "{name}");
    }
}

#[test]
fn broken_rules_are_all_named_with_their_fields() {
    let request = request("CREATE", &bad());
    let (allowed, message, outcome) = verdict(Webhook::Pilot, &request);
    assert!(!allowed);
    assert_eq!(reason(&outcome), Some(Reason::InvalidResource));
    let start = "configuration is invalid: VirtualService weather/forecast: ";
    assert!(message.starts_with(start), "{message}");
    let response = response(&answer(Webhook::Pilot, &request));
    let causes = response["status"]["details"]["causes"]
        .as_array()
        .expect("causes");
    assert!(causes.len() > 1, "{response}");
    for cause in causes {
        let (field, text) = (cause["field"].as_str(), cause["message"].as_str());
        let line = format!("\n\t* {}: {}", field.expect("a field"), text.expect("a message"));
        assert!(message.contains(&line), "{line:?} is not in {message}");
    }
}

/// G9: labels of `galley_validation_passed` and `galley_validation_failed`.
#[test]
fn g9_the_outcome_names_group_version_and_resource() {
    for (object, passed) in [(good(), true), (bad(), false)] {
        let resource = match answer(Webhook::Pilot, &request("CREATE", &object)).outcome {
            Outcome::Passed(resource) if passed => resource,
            Outcome::Failed(resource, Reason::InvalidResource) if !passed => resource,
            outcome => panic!("{outcome:?}"),
        };
        assert_eq!(
            (
                resource.group.as_str(),
                resource.version.as_str(),
                resource.resource.as_str()
            ),
            ("networking.istio.io", "v1alpha3", "virtualservices")
        );
    }
    let reasons = [
        Reason::UnsupportedOperation,
        Reason::YamlDecodeError,
        Reason::UnknownType,
        Reason::CrdConversionError,
        Reason::InvalidResource,
    ];
    assert_eq!(
        reasons.map(|reason| reason.to_string()).join(" "),
        "unsupported_operation yaml_decode_error unknown_type crd_conversion_error invalid_resource"
    );
}

#[test]
fn a_dry_run_is_judged_like_any_other() {
    for (object, allowed) in [(good(), true), (bad(), false)] {
        let mut request = request("CREATE", &object);
        request["request"]["dryRun"] = true.into();
        assert_eq!(verdict(Webhook::Pilot, &request).0, allowed);
    }
}

/// What was stored before it was checked can be labelled, be given a status and lose its finalizers, but not be changed for
/// another wrong content.
#[test]
fn an_update_without_a_change_is_admitted_with_a_warning() {
    let mut labelled = bad();
    labelled["metadata"]["labels"] = json!({"team": "weather"});
    labelled["status"] = json!({"seen": true});
    let mut same = request("UPDATE", &labelled);
    same["request"]["oldObject"] = bad();
    let (allowed, warnings, outcome) = verdict(Webhook::Pilot, &same);
    assert!(allowed);
    assert_eq!(reason(&outcome), None);
    assert!(
        warnings.contains("VirtualService weather/forecast: hosts: "),
        "{warnings}"
    );

    let mut changed = request(
        "UPDATE",
        &virtual_service(json!({"hosts": [], "http": [{"timeout": "0.1ms"}]})),
    );
    changed["request"]["oldObject"] = bad();
    assert!(!verdict(Webhook::Pilot, &changed).0);

    let mut created = request("CREATE", &bad());
    created["request"]["oldObject"] = bad();
    assert!(!verdict(Webhook::Pilot, &created).0);

    let mut status = request("UPDATE", &bad());
    status["request"]["subResource"] = "status".into();
    assert!(verdict(Webhook::Pilot, &status).0);
}

#[test]
fn the_request_completes_the_name() {
    let mut unnamed = bad();
    unnamed["metadata"] = json!({});
    let (_, message, _) = verdict(Webhook::Pilot, &request("CREATE", &unnamed));
    assert!(message.contains("VirtualService weather/forecast: "), "{message}");

    unnamed["metadata"] = json!({"generateName": "night-"});
    let mut generated = request("CREATE", &unnamed);
    generated["request"]["name"] = "".into();
    let (_, message, _) = verdict(Webhook::Pilot, &generated);
    assert!(message.contains("VirtualService weather/night: "), "{message}");

    generated["request"]["object"] = good();
    generated["request"]["object"]["metadata"] = json!({"generateName": "night-"});
    assert!(verdict(Webhook::Pilot, &generated).0);
}

/// `kubectl apply` makes an empty peer of `mtls:` without a value.
#[test]
fn a_peer_that_asks_for_nothing_is_admitted_with_a_warning() {
    let policy = |peers: Value| {
        object(
            "authentication.istio.io/v1alpha1",
            "MeshPolicy",
            json!({"peers": peers}),
        )
    };
    for (peers, warning) in [
        (json!([{"mtls": null}]), ""),
        (json!([{"mtls": {}}]), ""),
        (
            json!([{"mtls": {}}, {}]),
            "MeshPolicy default: peers[1]: asks for no proof of identity; `mtls: {}` asks for mutual TLS",
        ),
    ] {
        let mut object = policy(peers);
        object["metadata"] = json!({"name": "default"});
        let (allowed, text, _) = verdict(Webhook::Pilot, &request("CREATE", &object));
        assert!(allowed, "{text}");
        assert_eq!(text, warning);
    }
}

/// A request that says one thing and holds another is not the API server's.
#[test]
fn the_object_is_the_one_that_the_request_is_about() {
    let mut request = request("CREATE", &good());
    request["request"]["kind"]["kind"] = "Gateway".into();
    let (allowed, message, outcome) = verdict(Webhook::Pilot, &request);
    assert!(!allowed);
    assert_eq!(reason(&outcome), Some(Reason::YamlDecodeError));
    assert!(
        message.contains("Gateway") && message.contains("VirtualService"),
        "{message}"
    );
}

/// As large as the API server stores, and wrong in its last field.
#[test]
fn an_object_of_900_kb_is_judged_whole() {
    let route = |index: usize| {
        json!({
            "match": [{"uri": {"prefix": format!("/a/rather/long/path/of/the/application/{index}")}}],
            "route": [{"destination": {"host": "forecast.weather.svc.cluster.local", "port": {"number": 3002}}}],
        })
    };
    let mut routes: Vec<Value> = (0..5_600).map(route).collect();
    let large = virtual_service(json!({"hosts": ["forecast"], "http": routes}));
    let size = large.to_string().len();
    assert!((900_000..1_200_000).contains(&size), "{size}");
    let (allowed, message, _) = verdict(Webhook::Pilot, &request("CREATE", &large));
    assert!(allowed, "{message}");

    if let Some(last) = routes.last_mut() {
        last["route"][0]["weigth"] = 100.into();
    }
    let large = virtual_service(json!({"hosts": ["forecast"], "http": routes}));
    let (allowed, message, _) = verdict(Webhook::Pilot, &request("CREATE", &large));
    assert!(!allowed);
    assert!(
        message.ends_with("http[5599].route[0].weigth: unknown field `weigth`, did you mean `weight`?"),
        "{message}"
    );
}

/// Thousands of faults are a short message all the same.
#[test]
fn a_message_stays_readable() {
    let hosts: Vec<String> = (0..5_000).map(|index| format!("bad_host_{index}.")).collect();
    let many =
        virtual_service(json!({"hosts": hosts, "http": [{"route": [{"destination": {"host": "a"}}]}]}));
    let (allowed, message, _) = verdict(Webhook::Pilot, &request("CREATE", &many));
    assert!(!allowed);
    assert!(message.contains("\n\t* and "), "{message}");
    assert!(message.len() < 8_192, "{} bytes", message.len());
}

/// Whoever knows other objects has a say about what is admitted, and about nothing else.
#[test]
fn pain_11_more_is_said_about_what_is_admitted() {
    struct Hosts;
    impl Warnings for Hosts {
        fn about(&self, object: &Config) -> Vec<String> {
            vec![format!("hosts[0]: no {} has it", object.meta.key.kind)]
        }
    }
    let answered = |hosts: Value| {
        let object = virtual_service(json!({
            "hosts": hosts, "http": [{"route": [{"destination": {"host": "forecast"}}]}],
        }));
        let body = request("CREATE", &object).to_string();
        response(&Webhook::Pilot.answer_with(JSON, body.as_bytes(), &Hosts))
    };
    assert_eq!(
        answered(json!(["forecast"]))["warnings"],
        json!(["VirtualService weather/forecast: hosts[0]: no VirtualService has it"])
    );
    assert_eq!(answered(json!([]))["warnings"], Value::Null);
}
