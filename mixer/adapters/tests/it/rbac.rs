use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_adapters::rbac::Rbac;
use serde_json::{Value, json};

/// §7.12: the parameters are those of 1.1, and a handler is not to be had.
#[tokio::test]
async fn rbac_complies_and_never_builds() {
    let expected = Compliance {
        accepts: vec![
            Value::Null,
            json!({"configStoreUrl": "k8s://", "cache_duration": "30s"}),
        ],
        rejects: vec![(json!({"cacheDuration": "soon"}), "cacheDuration")],
        never_builds: Some("deprecated"),
        ..Compliance::default()
    };
    assert_compliance(&Rbac, &expected).await;
}
