//! Definitions that are missing, come, are changed and go.

use mesh_config::Kind;
use mesh_testing::kube::ApiServer;
use serde_json::Value;

use super::{apply, delete, galley, gateway, there};
use crate::harness::{TestSink, within};

/// A definition as those of 1.1 were: everything may be stored.
const LAX: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gateways.networking.istio.io}
spec:
  group: networking.istio.io
  scope: Namespaced
  names: {kind: Gateway, plural: gateways, singular: gateway, listKind: GatewayList}
  versions:
  - name: v1alpha3
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

const UNREADABLE: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {name: unreadable}
spec: {serverz: 7}
";

#[tokio::test]
async fn pain_18_definitions_may_be_missing_and_come_and_go() {
    let server = ApiServer::start().await.unwrap();
    let galley = galley(server.admin(), &[]);
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway, Kind::Sidecar]);
    // Nothing is installed: everything is empty, and that is an answer.
    sink.expect(Kind::Gateway, &[]).await;
    sink.expect(Kind::Sidecar, &[]).await;
    within("readiness", async || {
        (galley.get("/ready").await.0 == 200).then_some(())
    })
    .await;
    let about = |line: &Value| {
        line["kind"] == "gateways.networking.istio.io"
            && line["msg"]
                .as_str()
                .is_some_and(|message| message.starts_with("kind is not served"))
    };
    assert_eq!(galley.log_lines(about), 1);

    // Later it is, and lets everything in.
    apply(&server, "default", LAX).await;
    apply(&server, "default", &(UNREADABLE.to_owned() + &gateway("a", 80))).await;
    sink.expect(Kind::Gateway, &["default/a"]).await;
    let error = within("the object that cannot be read", async || {
        galley.errors().await.into_iter().next()
    })
    .await;
    assert_eq!(
        (error["object"].as_str(), error["field"].as_str()),
        (Some("Gateway default/unreadable"), Some("serverz"))
    );

    // And then gone, with its objects.
    delete(
        &server,
        "default",
        "customresourcedefinition gateways.networking.istio.io",
    )
    .await;
    sink.expect(Kind::Gateway, &[]).await;
    within("no error", async || {
        galley.errors().await.is_empty().then_some(())
    })
    .await;

    // All of them at once.
    server.define_kinds().await.unwrap();
    apply(&server, "default", &gateway("b", 80)).await;
    sink.expect_where(Kind::Gateway, there("default", &["b"])).await;
}
