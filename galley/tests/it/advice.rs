//! What is not known is not said to be missing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use galley::advice::Advice;
use galley_validation::Warnings as _;
use mesh_config::{Config, decode};
use mesh_runtime::Spawner;
use mesh_testing::eventually;
use mesh_testing::kube::ApiServer;
use serde_json::json;

/// Longer than anything takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A VirtualService whose gateway and destination do not exist.
fn lost() -> Config {
    let object = json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "VirtualService",
        "metadata": { "name": "lost", "namespace": "nowhere" },
        "spec": {
            "hosts": ["a.com"],
            "gateways": ["gate"],
            "http": [{ "route": [{ "destination": { "host": "forecast" } }] }],
        },
    });
    decode::from_json(None, &object).unwrap()
}

/// A kind that Galley may not read is one of which nothing is said to be missing, and the others are not held up.
#[tokio::test]
async fn pain_11_without_the_right_to_read_gateways_none_is_missing() {
    let server = ApiServer::shared_with_kinds().await.unwrap();
    let admin = server.admin();
    let allow = async |name: &str, resources: &str| {
        let role = format!("create clusterrole {name} --verb=list,watch --resource={resources}");
        admin.run(&role, "").await.unwrap();
        let binding = format!("create clusterrolebinding {name} --clusterrole={name} --group=advisers");
        admin.run(&binding, "").await.unwrap();
    };
    allow("adviser-services", "services,serviceentries.networking.istio.io").await;
    let client = admin
        .as_user("adviser", &["advisers"])
        .unwrap()
        .client()
        .await
        .unwrap();
    let advice = Advice::start(&client, "cluster.local", &Spawner::default());

    let host = "http[0].route[0].destination.host: no Service of this cluster and no ServiceEntry is called \
                forecast.nowhere.svc.cluster.local";
    let until = async |expected: &[&str]| {
        let said = eventually(PATIENCE, async || {
            let said = advice.about(&lost());
            if said == expected {
                Ok(())
            } else {
                Err(format!("{said:?}"))
            }
        });
        said.await.unwrap();
    };
    until(&[host]).await;
    // When they may be read, it is known that there is none.
    allow("adviser-gateways", "gateways.networking.istio.io").await;
    until(&["gateways[0]: there is no Gateway nowhere/gate", host]).await;
}
