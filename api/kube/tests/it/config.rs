//! Kinds of configuration: definitions that come and go, objects that cannot be read.

use kube::Client;
use mesh_config::{Config, Kind};
use mesh_kube::{Served, State, WatchOptions, config};
use mesh_runtime::Spawner;
use mesh_testing::eventually;
use mesh_testing::kube::ApiServer;
use serde_json::json;

use crate::support::{PATIENCE, View, eager};

/// A definition that lets everything in, as those of 1.1 did.
fn definition(kind: Kind) -> String {
    let schema = kind.schema();
    let anything = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{}", schema.plural, schema.group) },
        "spec": {
            "group": schema.group,
            "scope": "Namespaced",
            "names": { "kind": schema.kind, "plural": schema.plural },
            "versions": [{
                "name": schema.version, "served": true, "storage": true, "schema": { "openAPIV3Schema": anything },
            }],
        },
    })
    .to_string()
}

fn object(kind: Kind, name: &str, spec: &str) -> String {
    let schema = kind.schema();
    let api_version = format!("{}/{}", schema.group, schema.version);
    format!(
        "---\napiVersion: {api_version}\nkind: {}\nmetadata: {{name: {name}}}\nspec: {spec}\n",
        schema.kind
    )
}

async fn apply(server: &ApiServer, namespace: &str, yaml: &str) {
    let args = ["-n", namespace, "apply", "-f", "-"];
    // A definition is served a moment after it is there.
    eventually(PATIENCE, async || server.admin().kubectl(&args, yaml).await)
        .await
        .unwrap();
}

fn follow(client: Client, kind: Kind, namespace: &str, options: WatchOptions) -> View<Config> {
    View::new(config::watch(client, kind, Some(namespace), options))
}

#[tokio::test]
async fn g6_2_a_kind_is_taken_up_when_its_definition_appears() {
    let kind = Kind::QuotaSpec;
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("defined").await.unwrap();
    let client = server.client().await.unwrap();
    let options = WatchOptions {
        served: Served::follow(client.clone(), &Spawner::default()),
        ..WatchOptions::default()
    };
    let mut view = follow(client, kind, &namespace, options);
    view.until(|view| view.synced == 1).await;
    assert_eq!(view.status().state, State::NotServed);
    apply(server, &namespace, &definition(kind)).await;
    apply(server, &namespace, &object(kind, "calls", "{rules: []}")).await;
    view.until(|view| view.objects.contains_key("calls")).await;
    assert_eq!(view.synced, 1);

    // And is empty again without it.
    let schema = kind.schema();
    let name = format!("{}.{}", schema.plural, schema.group);
    let delete = ["delete", "customresourcedefinition", &name, "--wait=false"];
    server.admin().kubectl(&delete, "").await.unwrap();
    view.until(|view| view.objects.is_empty()).await;
    view.until_state(|state| *state == State::NotServed).await;
}

#[tokio::test]
async fn p5_2_an_object_that_cannot_be_read_harms_no_other() {
    let kind = Kind::VirtualService;
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("unreadable").await.unwrap();
    apply(server, &namespace, &definition(kind)).await;
    let good = object(kind, "good", "{hosts: [good]}");
    let bad = object(kind, "bad", "{hostz: [bad]}");
    apply(server, &namespace, &(good + &bad)).await;
    let mut view = follow(server.client().await.unwrap(), kind, &namespace, eager());
    view.until(|view| view.synced == 1).await;
    assert_eq!(view.objects.keys().collect::<Vec<_>>(), ["good"]);
    assert!(view.rejected["bad"].contains("hostz"), "{:?}", view.rejected);
    assert_eq!((view.status().objects, view.status().rejected), (1, 1));

    // What an object was before it became unreadable stays known.
    apply(server, &namespace, &object(kind, "good", "{hosts: 7}")).await;
    apply(server, &namespace, &object(kind, "bad", "{hosts: [mended]}")).await;
    view.until(|view| view.rejected.contains_key("good") && view.objects.contains_key("bad"))
        .await;
    assert!(view.objects.contains_key("good"));
    assert_eq!(view.status().rejected, 1);

    let delete = [
        "-n",
        &namespace,
        "delete",
        "virtualservices.networking.istio.io",
        "--all",
    ];
    server.admin().kubectl(&delete, "").await.unwrap();
    view.until(|view| view.objects.is_empty() && view.rejected.is_empty())
        .await;
}

#[tokio::test]
async fn g6_2_kinds_of_kubernetes_itself_are_configuration_too() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("builtin").await.unwrap();
    let service =
        "{apiVersion: v1, kind: Service, metadata: {name: forecast}, spec: {ports: [{port: 3002}]}}";
    apply(server, &namespace, service).await;
    let mut view = follow(server.client().await.unwrap(), Kind::Service, &namespace, eager());
    view.until(|view| view.objects.contains_key("forecast")).await;
    let meta = &view.objects["forecast"].meta;
    assert_eq!(meta.key.to_string(), format!("Service {namespace}/forecast"));
    assert!(!meta.version.is_empty());
    assert!(meta.created.seconds > 0);
}
