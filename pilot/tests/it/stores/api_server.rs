//! Objects of all kinds, good, bad, large and many.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use mesh_config::Kind;
use mesh_testing::eventually;
use serde_json::json;

use super::{Store, gateway, in_force, left_out, shared, until_in_force, until_left_out};
use crate::PATIENCE;

const ENTRY: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1}]
";

/// One object of each kind that is not in [`ENTRY`] or [`route`].
const OTHERS: &str = "
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: one}
spec: {host: api.example.com, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: one}
spec: {workloadLabels: {app: nobody}, filters: [{filterName: envoy.fault, filterType: HTTP, filterConfig: {}}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: Sidecar
metadata: {name: one}
spec: {workloadSelector: {labels: {app: nobody}}, egress: [{hosts: ['*/*']}]}
---
apiVersion: config.istio.io/v1alpha2
kind: HTTPAPISpec
metadata: {name: one}
spec: {patterns: [{httpMethod: GET, uriTemplate: /status}]}
---
apiVersion: config.istio.io/v1alpha2
kind: HTTPAPISpecBinding
metadata: {name: one}
spec: {services: [{name: api}], apiSpecs: [{name: one}]}
---
apiVersion: config.istio.io/v1alpha2
kind: QuotaSpec
metadata: {name: one}
spec: {rules: [{quotas: [{quota: requests, charge: 1}]}]}
---
apiVersion: config.istio.io/v1alpha2
kind: QuotaSpecBinding
metadata: {name: one}
spec: {services: [{name: api}], quotaSpecs: [{name: one}]}
---
apiVersion: authentication.istio.io/v1alpha1
kind: Policy
metadata: {name: default}
spec: {peers: [{mtls: {mode: PERMISSIVE}}]}
---
apiVersion: authentication.istio.io/v1alpha1
kind: MeshPolicy
metadata: {name: default}
spec: {peers: [{mtls: {mode: PERMISSIVE}}]}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRole
metadata: {name: one}
spec: {rules: [{services: ['*'], methods: [GET]}]}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRoleBinding
metadata: {name: one}
spec: {subjects: [{user: somebody}], roleRef: {kind: ServiceRole, name: one}}
---
apiVersion: rbac.istio.io/v1alpha1
kind: RbacConfig
metadata: {name: default}
spec: {mode: 'OFF'}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ClusterRbacConfig
metadata: {name: default}
spec: {mode: 'OFF'}
";

/// Sends the requests for `api.example.com` to a path of their own.
fn route(path: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {{name: api}}
spec:
  hosts: [api.example.com]
  http: [{{rewrite: {{uri: {path}}}, route: [{{destination: {{host: api.example.com}}}}]}}]
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_2_objects_of_all_16_kinds_come_change_and_go() {
    let store = Store::of(shared().await, "kinds").await;
    store.apply(ENTRY).await;
    store.apply(&route("/first")).await;
    let pilot = store.pilot("", &[]).await;
    pilot.ready().await;
    let mut envoy = pilot.settled(&store.sidecar()).await;
    assert!(envoy.route("80").contains("/first"));

    store.apply(&(OTHERS.to_owned() + &gateway("one", 80))).await;
    for kind in Kind::PILOT {
        let name = match kind {
            Kind::ServiceEntry | Kind::VirtualService => "api",
            Kind::Policy | Kind::MeshPolicy | Kind::RbacConfig | Kind::ClusterRbacConfig => "default",
            _ => "one",
        };
        until_in_force(&pilot, kind.schema().kind, &[name]).await;
    }

    store.apply(&route("/second")).await;
    envoy.until(|envoy| envoy.route("80").contains("/second")).await;
    let updates = "pilot_k8s_cfg_events{event=\"update\",type=\"VirtualService\"}";
    pilot.until_metric(updates, 1.0).await;

    // Who writes the status of an object changes nothing.
    store
        .kubectl("patch virtualservice api --subresource=status --type=merge -p {\"status\":{\"seen\":true}}")
        .await;
    for kind in Kind::PILOT {
        let schema = kind.schema();
        let resource = format!("delete --all {}.{}", schema.plural, schema.group);
        store.kubectl(&resource).await;
    }
    for kind in Kind::PILOT {
        until_in_force(&pilot, kind.schema().kind, &[]).await;
    }
    assert_eq!(pilot.metric(updates).await, 1.0);
    pilot
        .until_metric(
            "pilot_k8s_cfg_events{event=\"delete\",type=\"VirtualService\"}",
            1.0,
        )
        .await;
    let sources = pilot.json("/debug/sourcez").await;
    assert_eq!(sources[0]["connected"], true, "{sources}");
    assert_eq!(sources[0]["kinds"]["Gateway"]["state"], "following", "{sources}");
}

/// The definitions check types only. Before there was a webhook, anything went in.
#[tokio::test(flavor = "multi_thread")]
async fn p5_2_an_invalid_object_is_left_out_and_what_it_said_before_stays() {
    let store = Store::of(shared().await, "invalid").await;
    store.apply(ENTRY).await;
    store.apply(&route("/good")).await;
    // Invalid from the beginning: it has no former form.
    let bad = gateway("bad", 80).replace("hosts: ['*']", "hosts: []");
    store.apply(&(bad.clone() + &gateway("good", 80))).await;
    let pilot = store.pilot("", &[]).await;
    pilot.ready().await;
    until_in_force(&pilot, "Gateway", &["good"]).await;
    let object = |kind: &str, name: &str| format!("{kind} {}/{name}", store.namespace);
    until_left_out(&pilot, &object("Gateway", "bad"), "servers[0].hosts").await;

    let mut envoy = pilot.settled(&store.sidecar()).await;
    let invalid = route("/bad").replace("route: [", "timeout: -1s, route: [");
    store.apply(&invalid).await;
    until_left_out(&pilot, &object("VirtualService", "api"), "http[0].timeout").await;
    assert!(
        in_force(&pilot, "VirtualService")
            .await
            .contains(&"api".to_owned())
    );
    assert!(
        pilot
            .settled(&store.sidecar())
            .await
            .route("80")
            .contains("/good")
    );
    let errors = |name: &str| format!("pilot_k8s_object_errors{{name=\"{}/{name}\"}}", store.namespace);
    for name in ["bad", "api"] {
        pilot.until_metric(&errors(name), 1.0).await;
    }

    // Exactly what it was before is a good object too, and a new one anyway.
    store.apply(&route("/good")).await;
    store.apply(&bad.replace("hosts: []", "hosts: ['*']")).await;
    until_in_force(&pilot, "Gateway", &["bad", "good"]).await;
    eventually(PATIENCE, async || {
        match left_out(&pilot, &object("VirtualService", "api")).await {
            None => Ok(()),
            Some(reason) => Err(reason),
        }
    })
    .await
    .unwrap();
    store.apply(&route("/better")).await;
    envoy.until(|envoy| envoy.route("80").contains("/better")).await;
    for name in ["bad", "api"] {
        pilot.until_metric(&errors(name), 0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_2_a_virtual_service_of_900_kb_and_5000_objects_at_once_all_arrive() {
    const COUNT: usize = 5000;
    let store = Store::of(shared().await, "many").await;
    let pilot = store.pilot("", &[]).await;
    pilot.ready().await;

    let api: Api<DynamicObject> = mesh_kube::config::api(
        store.server.client().await.unwrap(),
        Kind::VirtualService,
        Some(&store.namespace),
    );
    let api = Arc::new(api);
    let create = async |name: String, http: serde_json::Value| {
        let object = json!({
            "apiVersion": "networking.istio.io/v1alpha3", "kind": "VirtualService", "metadata": { "name": name },
            "spec": { "hosts": [format!("{name}.example.com")], "http": http },
        });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    };
    let rule = |path: &str| json!({ "match": [{ "uri": { "exact": path } }], "route": [{ "destination": { "host": "api.example.com" } }] });
    let rules: Vec<_> = (0..6200).map(|number| rule(&format!("/{number:060}"))).collect();
    let size = json!(rules).to_string().len();
    assert!(size > 850_000 && size < 1_000_000, "{size}");
    create("large".to_owned(), json!(rules)).await;
    stream::iter(0..COUNT)
        .map(|number| create(format!("small-{number}"), json!([rule("/")])))
        .buffer_unordered(32)
        .count()
        .await;
    pilot
        .until_metric(
            "pilot_k8s_cfg_events{event=\"add\",type=\"VirtualService\"}",
            5001.0,
        )
        .await;
    assert!(!pilot.metrics().await.contains("pilot_k8s_object_errors{"));
    // What was counted is in force with the next publication.
    eventually(PATIENCE, async || {
        match in_force(&pilot, "VirtualService").await.len() {
            count if count == COUNT + 1 => Ok(()),
            count => Err(format!("{count} are in force")),
        }
    })
    .await
    .unwrap();
}
