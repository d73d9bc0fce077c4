use galley_validation::{MAX_BODY_BYTES, Outcome, Webhook};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{JSON, object, request, response};

const BOTH: [Webhook; 2] = [Webhook::Pilot, Webhook::Mixer];

/// `G8.3`: the checks in their order.
#[test]
fn g8_3_what_is_no_request_is_answered_by_its_status() {
    let long = vec![b' '; MAX_BODY_BYTES + 1];
    for webhook in BOTH {
        for (content_type, body, status) in [
            (None, &b""[..], 400),
            (None, b"{}", 415),
            (Some("text/plain"), b"{}", 415),
            (Some("application/json; charset=utf-8"), b"{}", 415),
            (JSON, &long, 413),
        ] {
            let answer = webhook.answer(content_type, body);
            assert_eq!(answer.status, status);
            assert_eq!(answer.outcome, Outcome::HttpError(status));
            assert!(!answer.body.is_empty());
        }
    }
    assert_eq!(BOTH.map(Webhook::path), ["/admitpilot", "/admitmixer"]);
}

#[test]
fn g8_3_what_is_no_review_is_refused_in_a_review() {
    let wrong_version =
        json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {}});
    let empty = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"});
    let without_uid = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {}});
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for webhook in BOTH {
        for body in [
            "garbage",
            "[]",
            "{}",
            "null",
            "\u{0}",
            &deep,
            &wrong_version.to_string(),
            &empty.to_string(),
            &without_uid.to_string(),
        ] {
            let response = response(&webhook.answer(JSON, body.as_bytes()));
            assert_eq!(response["allowed"], false);
            let message = response["status"]["message"].as_str().expect("a message");
            assert!(message.starts_with("could not decode the body: "), "{message}");
            assert!(message.len() < 500, "{message}");
        }
    }
}

/// Any JSON, not too deep.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let names = prop_oneof![
            Just("hosts".to_owned()),
            Just("http".to_owned()),
            Just("match".to_owned()),
            Just("selector".to_owned()),
            ".{0,6}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_body_is_answered(body in prop::collection::vec(any::<u8>(), 1..200)) {
        for webhook in BOTH {
            prop_assert_eq!(&response(&webhook.answer(JSON, &body))["allowed"], &Value::Bool(false));
        }
    }

    /// Every part of a request may be anything.
    #[test]
    fn any_request_is_answered(value in anything(), part in 0..8_usize, kind in 0..3_usize) {
        let (api_version, kind) = [
            ("networking.istio.io/v1alpha3", "VirtualService"),
            ("config.istio.io/v1alpha2", "rule"),
            ("rbac.istio.io/v1alpha1", "ServiceRole"),
        ][kind];
        let mut review = request("UPDATE", &object(api_version, kind, json!({})));
        let request = &mut review["request"];
        match part {
            0 => request["object"]["spec"] = value,
            1 => request["object"]["metadata"] = value,
            2 => request["object"] = value,
            3 => request["oldObject"] = value,
            4 => request["kind"] = value,
            5 => request["operation"] = value,
            6 => request["object"]["kind"] = value,
            _ => request["name"] = value,
        }
        let body = review.to_string();
        for webhook in BOTH {
            prop_assert!(response(&webhook.answer(JSON, body.as_bytes()))["allowed"].is_boolean());
        }
    }
}
