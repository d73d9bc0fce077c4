use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_adapters::noop::Noop;
use serde_json::{Value, json};

#[tokio::test]
async fn noop_complies() {
    let expected = Compliance {
        accepts: vec![Value::Null, json!({})],
        rejects: vec![],
        ..Compliance::default()
    };
    assert_compliance(&Noop, &expected).await;
}
