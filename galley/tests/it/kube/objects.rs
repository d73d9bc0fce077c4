//! What is served of the objects that there are.

use mesh_config::Kind;
use serde_json::Value;

use super::{apply, delete, galley, gateway, names, shared, there};
use crate::harness::{TestSink, within};

/// A valid object of every kind that has rules. The others take anything.
fn spec(kind: Kind) -> &'static str {
    match kind {
        Kind::VirtualService => "{hosts: [a], http: [{route: [{destination: {host: a}}]}]}",
        Kind::DestinationRule => "{host: a}",
        Kind::ServiceEntry => {
            "{hosts: [a.example.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}"
        }
        Kind::Gateway => "{servers: [{hosts: ['*'], port: {number: 80, name: http, protocol: HTTP}}]}",
        Kind::Sidecar => "{egress: [{hosts: ['*/*']}]}",
        Kind::EnvoyFilter => {
            "{filters: [{filterName: envoy.lua, filterType: HTTP, filterConfig: {inlineCode: ''}}]}"
        }
        Kind::MeshPolicy => "{peers: [{mtls: {mode: PERMISSIVE}}]}",
        Kind::Policy => "{targets: [{name: a}], peers: [{mtls: {mode: PERMISSIVE}}]}",
        Kind::RbacConfig | Kind::ClusterRbacConfig => "{mode: 'ON'}",
        Kind::ServiceRole => "{rules: [{services: ['*'], methods: [GET]}]}",
        Kind::ServiceRoleBinding => "{subjects: [{user: '*'}], roleRef: {kind: ServiceRole, name: here}}",
        Kind::HttpApiSpec => {
            "{attributes: {attributes: {api.service: {stringValue: a}}}, patterns: [{attributes: {attributes: {api.operation: {stringValue: b}}}, httpMethod: GET, uriTemplate: /b}]}"
        }
        Kind::HttpApiSpecBinding => "{apiSpecs: [{name: a}], services: [{name: a}]}",
        Kind::QuotaSpec => "{rules: [{quotas: [{charge: 1, quota: a}]}]}",
        Kind::QuotaSpecBinding => "{quotaSpecs: [{name: a}], services: [{name: a}]}",
        Kind::Service => "{ports: [{port: 80}]}",
        Kind::Pod => "{containers: [{name: a, image: a}]}",
        Kind::Ingress => "{defaultBackend: {service: {name: a, port: {number: 80}}}}",
        _ => "{}",
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::MeshPolicy | Kind::RbacConfig | Kind::ClusterRbacConfig => "default",
        _ => "here",
    }
}

fn object(kind: Kind) -> String {
    let schema = kind.schema();
    let (group, version) = (schema.group, schema.version);
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let content = match kind {
        Kind::Endpoints => "subsets: []",
        _ => &format!("spec: {}", spec(kind)),
    };
    format!(
        "---\napiVersion: {api_version}\nkind: {}\nmetadata: {{name: {}}}\n{content}\n",
        schema.kind,
        name(kind)
    )
}

#[tokio::test]
async fn g4_and_g6_2_the_objects_of_every_collection_arrive() {
    let server = shared().await;
    let namespace = server.namespace("every").await.unwrap();
    let all: String = Kind::ALL.iter().map(|&kind| object(kind)).collect();
    apply(server, &namespace, &all).await;
    let galley = galley(server.admin(), &["--excludedResourceKinds="]);
    let mut sink = TestSink::start(galley.mcp, Kind::ALL);
    for &kind in Kind::ALL {
        sink.expect_where(kind, |configs| {
            configs.iter().any(|config| {
                let key = &config.meta.key;
                &*key.name == name(kind) && (key.namespace.is_empty() || *key.namespace == *namespace)
            })
        })
        .await;
    }
    let page = galley
        .json("/debug/configz?collection=istio/mesh/v1alpha1/MeshConfig")
        .await;
    assert_eq!(page[0]["objects"][0]["name"], "istio-system/meshconfig");
    // What belongs to no namespace would be found by other tests.
    delete(server, &namespace, "meshpolicies.authentication.istio.io default").await;
    delete(server, &namespace, "node here").await;
}

#[tokio::test]
async fn g5_and_g6_2_changes_follow_and_what_is_no_change_does_not() {
    let server = shared().await;
    let namespace = server.namespace("changes").await.unwrap();
    apply(server, &namespace, &(gateway("a", 80) + &gateway("b", 80))).await;
    let galley = galley(server.admin(), &[]);
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway, Kind::Service]);
    sink.expect_where(Kind::Gateway, there(&namespace, &["a", "b"]))
        .await;
    assert_eq!(
        sink.names(Kind::Service).unwrap_or_default(),
        [""; 0],
        "excluded by default"
    );
    let version = |sink: &TestSink, name: &str| {
        let of_name = |config: &&mesh_config::Config| {
            *config.meta.key.name == *name && *config.meta.key.namespace == *namespace
        };
        sink.configs(Kind::Gateway)
            .iter()
            .find(of_name)
            .unwrap()
            .meta
            .version
            .clone()
    };
    let before = version(&sink, "b");

    apply(server, &namespace, &(gateway("a", 81) + &gateway("c", 80))).await;
    sink.expect_where(Kind::Gateway, there(&namespace, &["a", "b", "c"]))
        .await;
    // A status is nothing that anybody is told.
    let status = [
        "-n",
        &namespace,
        "patch",
        "gateway",
        "b",
        "--subresource=status",
        "--type=merge",
    ];
    let patch = ["-p", r#"{"status": {"seen": "true"}}"#];
    server
        .admin()
        .kubectl(&[&status[..], &patch].concat(), "")
        .await
        .unwrap();
    delete(server, &namespace, "gateways.networking.istio.io a").await;
    sink.expect_where(Kind::Gateway, there(&namespace, &["b", "c"]))
        .await;
    assert_eq!(version(&sink, "b"), before);

    let page = galley.json("/debug/source").await;
    assert_eq!(page["source"], "kubernetes");
    let row = |collection: &str| {
        let kinds = page["kinds"].as_array().unwrap();
        kinds.iter().find(|row| row["collection"] == collection).cloned()
    };
    assert_eq!(row(Kind::Gateway.collection()).unwrap()["state"], "following");
    assert_eq!(row(Kind::Pod.collection()), None);
}

/// A protocol that does not exist is valid by the definition, as for what was stored before there was a validation.
pub(super) fn broken(name: &str) -> String {
    gateway(name, 80).replace("protocol: HTTP", "protocol: SMTPS")
}

#[tokio::test]
async fn pain_10_an_object_that_becomes_invalid_stays_in_force_and_is_reported() {
    let server = shared().await;
    let namespace = server.namespace("invalid").await.unwrap();
    apply(server, &namespace, &(gateway("good", 80) + &broken("never"))).await;
    let galley = galley(server.admin(), &[]);
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway]);
    sink.expect_where(Kind::Gateway, there(&namespace, &["good"]))
        .await;
    let reported = async |name: &str| {
        let object = format!("Gateway {namespace}/{name}");
        let errors = galley.errors().await;
        errors.into_iter().find(|row| row["object"] == *object)
    };
    let row = within("the object that was never valid", async || {
        reported("never").await
    })
    .await;
    assert!(row["field"].as_str().unwrap().ends_with("port.protocol"), "{row}");
    assert!(row["reason"].as_str().unwrap().contains("SMTPS"), "{row}");

    apply(server, &namespace, &(broken("good") + &gateway("other", 80))).await;
    sink.expect_where(Kind::Gateway, there(&namespace, &["good", "other"]))
        .await;
    within("the object that was valid", async || reported("good").await).await;
    assert_eq!(names(sink.configs(Kind::Gateway), &namespace), ["good", "other"]);
    let told =
        |line: &Value| line["msg"] == "not served" && line["object"] == format!("Gateway {namespace}/good");
    let line = galley.log_line("not served", told).await;
    assert_eq!(line["level"], "warn");
    assert_eq!(line["field"], row["field"]);
    let counter = "galley_source_rejected_objects_total{kind=\"Gateway\"}";
    assert!(galley.metric(counter).await >= 2.0);

    // Repaired, and gone.
    apply(server, &namespace, &gateway("good", 81)).await;
    delete(server, &namespace, "gateways.networking.istio.io never").await;
    within("no error", async || {
        (reported("good").await.is_none() && reported("never").await.is_none()).then_some(())
    })
    .await;
    // What was valid and is not goes when the object goes.
    apply(server, &namespace, &broken("other")).await;
    within("the error", async || reported("other").await).await;
    delete(server, &namespace, "gateways.networking.istio.io other").await;
    sink.expect_where(Kind::Gateway, there(&namespace, &["good"]))
        .await;
}

#[tokio::test]
async fn g1_a_restart_of_galley_is_not_noticed_by_sinks() {
    let server = shared().await;
    let namespace = server.namespace("restart").await.unwrap();
    apply(server, &namespace, &gateway("a", 80)).await;
    let first = galley(server.admin(), &[]);
    let address = first.mcp.to_string();
    let mut sink = TestSink::start(first.mcp, &[Kind::Gateway]);
    sink.expect_where(Kind::Gateway, there(&namespace, &["a"])).await;
    let before = sink.configs(Kind::Gateway).to_vec();
    first.kill();
    apply(server, &namespace, &gateway("b", 80)).await;
    let _second = super::galley_at(server.admin(), &address, &[]);
    sink.expect_where(Kind::Gateway, there(&namespace, &["a", "b"]))
        .await;
    let own = |config: &&mesh_config::Config| *config.meta.key.namespace == *namespace;
    assert_eq!(
        sink.configs(Kind::Gateway).iter().find(own),
        before.iter().find(own)
    );
}
