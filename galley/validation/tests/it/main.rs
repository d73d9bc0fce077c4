//! Requests as the API server sends them, and what is answered.

mod garbage;
mod mixer;
mod pilot;
mod server;
mod service;
mod tables;
mod webhooks;

use galley_validation::{Answer, Outcome, Reason, Webhook};
use serde_json::{Value, json};

const JSON: Option<&str> = Some("application/json");

/// An object without content.
fn object(api_version: &str, kind: &str, spec: impl Into<Value>) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "forecast", "namespace": "weather", "uid": "x", "managedFields": []},
        "spec": spec.into(),
    })
}

/// A request as the API server makes it for an object.
fn request(operation: &str, object: &Value) -> Value {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": group, "version": version, "kind": kind},
            "resource": {"group": group, "version": version, "resource": format!("{}s", kind.to_lowercase())},
            "requestKind": {"group": group, "version": version, "kind": kind},
            "name": "forecast",
            "namespace": "weather",
            "operation": operation,
            "userInfo": {"username": "admin", "groups": ["system:authenticated"]},
            "object": object,
            "oldObject": null,
            "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    })
}

fn answer(webhook: Webhook, request: &Value) -> Answer {
    webhook.answer(JSON, request.to_string().as_bytes())
}

/// The response inside the review, after checking what surrounds it.
fn response(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200);
    let review: Value = serde_json::from_slice(&answer.body).expect("the answer is JSON");
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(review["kind"], "AdmissionReview");
    review["response"].clone()
}

/// Whether the request was allowed, and with which message or warnings.
fn verdict(webhook: Webhook, request: &Value) -> (bool, String, Outcome) {
    let answer = answer(webhook, request);
    let response = response(&answer);
    assert_eq!(response["uid"], request["request"]["uid"]);
    let allowed = response["allowed"].as_bool().expect("a boolean");
    let text = if allowed {
        let warnings = response["warnings"].as_array().into_iter().flatten();
        let warnings: Vec<_> = warnings.filter_map(Value::as_str).collect();
        warnings.join("\n")
    } else {
        assert_eq!(response["status"]["code"], 400);
        response["status"]["message"]
            .as_str()
            .expect("a message")
            .to_owned()
    };
    (allowed, text, answer.outcome)
}

fn reason(outcome: &Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Passed(_) => None,
        Outcome::Failed(_, reason) => Some(*reason),
        Outcome::HttpError(status) => panic!("answered {status}"),
    }
}
