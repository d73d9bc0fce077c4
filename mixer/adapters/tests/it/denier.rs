use std::time::Duration;

use mesh_api::istio::policy::v1beta1::DirectHttpResponse;
use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_adapters::denier::Denier;
use serde_json::{Value, json};

use crate::support::{build, once};

#[tokio::test]
async fn denier_complies() {
    let expected = Compliance {
        accepts: vec![
            Value::Null,
            json!({"status": {"code": 1333, "message": "Not allowed"}, "valid_duration": "0s", "validUseCount": -1}),
        ],
        rejects: vec![
            (json!({"validDuration": "-1s"}), "validDuration"),
            (json!({"validDuration": 5}), "validDuration"),
            (json!({"validUseCount": "many"}), "validUseCount"),
            (json!({"status": {"code": "bad"}}), "status.code"),
        ],
        ..Compliance::default()
    };
    assert_compliance(&Denier, &expected).await;
}

/// §7.7: who gives nothing gets FAILED_PRECONDITION for 5 s and 1000 uses.
#[tokio::test]
async fn defaults_are_those_of_1_1() {
    let denier = build(&Denier, Value::Null).await;
    let answer = denier.check_nothing().await;
    assert_eq!((answer.status.code, answer.valid_use_count), (9, 1000));
    assert_eq!(answer.valid_duration, Duration::from_secs(5));
}

/// A code that gRPC does not know passes as it is, for every template; a quota gets nothing.
#[tokio::test]
async fn m43_m44_status_code_1333_passes() {
    let denier = build(
        &Denier,
        json!({"status": {"code": 1333, "message": "Not allowed"}}),
    )
    .await;
    for answer in [
        denier.check_nothing().await,
        denier.list_entry(Some("forecast".into())).await,
    ] {
        assert_eq!(
            (answer.status.code, answer.status.message.as_str()),
            (1333, "Not allowed")
        );
    }
    let quota = denier.quota("q.instance.weather", &[], &once(7)).await;
    assert_eq!((quota.amount, quota.valid_duration), (0, Duration::ZERO));
}

/// The handler's part of a book example: PERMISSION_DENIED and its message.
#[tokio::test]
async fn m85_the_blacklist_of_the_book_denies() {
    let denier = build(&Denier, json!({"status": {"code": 7, "message": "Not allowed"}})).await;
    let status = denier.check_nothing().await.status;
    assert_eq!((status.code, status.message.as_str()), (7, "Not allowed"));
}

/// §2.5: a direct response travels in the details.
#[tokio::test]
async fn a_direct_response_passes() {
    let denier = build(
        &Denier,
        json!({"status": {"code": 7, "details": [{
            "@type": "type.googleapis.com/istio.policy.v1beta1.DirectHttpResponse",
            "code": "MovedPermanently",
            "body": "gone",
            "headers": {"location": "/elsewhere"},
        }]}}),
    )
    .await;
    let status = denier.check_nothing().await.status;
    let response: DirectHttpResponse = status.details[0].unpack().expect("a direct response");
    assert_eq!((response.code, response.body.as_str()), (301, "gone"));
    assert_eq!(response.headers["location"], "/elsewhere");
}
