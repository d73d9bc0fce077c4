//! What stands in the status of objects that cannot be served.

use mesh_testing::kube::ApiServer;
use serde_json::Value;

use super::objects::broken;
use super::{PATIENCE, apply, galley, gateway, shared};

/// Waits for the conditions of an object.
async fn conditions(server: &ApiServer, namespace: &str, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let get = ["-n", namespace, "get", "gateway", name, "-o", "json"];
    mesh_testing::eventually(PATIENCE, async || {
        let text = server.admin().kubectl(&get, "").await?;
        let object: Value = serde_json::from_str(&text)?;
        anyhow::ensure!(fits(&object["status"]["conditions"]), "{object:#}");
        anyhow::Ok(object)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn pain_11_what_is_wrong_stands_in_the_status_until_it_is_repaired() {
    let server = shared().await;
    let namespace = server.namespace("status").await.unwrap();
    apply(server, &namespace, &(broken("bad") + &gateway("good", 80))).await;
    let flag = format!("--deployment-namespace={namespace}");
    let galleys = [galley(server.admin(), &[&flag]), galley(server.admin(), &[&flag])];
    let object = conditions(server, &namespace, "bad", |conditions| conditions.is_array()).await;
    let condition = &object["status"]["conditions"][0];
    assert_eq!(condition["type"], "Accepted");
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&"False".into(), &"Invalid".into())
    );
    let message = condition["message"].as_str().unwrap();
    assert!(
        message.contains("port.protocol: ") && message.contains("SMTPS"),
        "{message}"
    );
    assert_eq!(condition["observedGeneration"], object["metadata"]["generation"]);

    apply(server, &namespace, &gateway("bad", 80)).await;
    let repaired = conditions(server, &namespace, "bad", Value::is_null).await;
    // Nobody writes any more, and only one wrote.
    let again = conditions(server, &namespace, "bad", Value::is_null).await;
    assert_eq!(
        again["metadata"]["resourceVersion"],
        repaired["metadata"]["resourceVersion"]
    );
    let good = conditions(server, &namespace, "good", Value::is_null).await;
    assert_eq!(good["metadata"]["generation"], 1);
    let mut leaders = 0;
    for galley in &galleys {
        let written = galley
            .metric("galley_source_status_writes_total{result=\"written\"}")
            .await;
        leaders += usize::from(written > 0.0);
    }
    assert_eq!(leaders, 1);
}
