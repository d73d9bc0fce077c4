//! The definitions on a real API server, as users meet them with kubectl.

use std::path::{Path, PathBuf};

use charts::crd::{File, definitions};
use mesh_testing::kube::ApiServer;
use serde_json::Value;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

fn files() -> impl Iterator<Item = PathBuf> {
    let folder = workspace().join("charts/istio-init/files");
    File::ALL.iter().map(move |file| folder.join(file.name()))
}

/// Runs kubectl with arguments that are separated by blanks; what it prints, or says when it fails.
async fn kubectl(server: &ApiServer, args: &str, input: &str) -> Result<String, String> {
    let output = server.admin().run(args, input).await;
    output.map_err(|error| error.to_string())
}

/// Runs kubectl as [`kubectl`] does, where it must not fail.
async fn done(server: &ApiServer, args: &str, input: &str) -> String {
    kubectl(server, args, input)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

async fn read(server: &ApiServer, args: &str) -> Value {
    let text = done(server, &format!("get {args} -o json"), "").await;
    serde_json::from_str(&text).expect("kubectl prints JSON")
}

/// A server that has the definitions.
async fn server() -> &'static ApiServer {
    ApiServer::shared_with_kinds()
        .await
        .unwrap_or_else(|error| panic!("{error:?}"))
}

#[tokio::test]
async fn every_definition_is_established_and_structural() {
    let server = server().await;
    let list = read(server, "crd").await;
    let items = list["items"].as_array().expect("a list");
    assert_eq!(items.len(), definitions().len());
    for item in items {
        let conditions = item["status"]["conditions"].as_array().expect("conditions");
        let is = |name: &str| {
            conditions
                .iter()
                .any(|condition| condition["type"] == name && condition["status"] == "True")
        };
        let name = &item["metadata"]["name"];
        assert!(is("Established") && is("NamesAccepted"), "{name}: {conditions:?}");
        assert!(!is("NonStructuralSchema"), "{name}: {conditions:?}");
    }
    // A second time nothing changes: what the server stores is what was applied.
    for file in files() {
        let apply = format!("apply -f {}", file.display());
        done(server, &apply, "").await;
        let again = done(server, &apply, "").await;
        assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
    }
}

/// `CHT-3`: what the samples hold can be applied, from the client's side and from the server's.
#[tokio::test]
async fn the_samples_are_applied() {
    let server = server().await;
    let samples = workspace().join("e2e/samples");
    crate::control_plane_namespace(server).await;
    done(
        server,
        &format!("apply -f {}", samples.join("weather/namespace.yaml").display()),
        "",
    )
    .await;
    for args in ["", "--server-side --force-conflicts"] {
        let said = done(server, &format!("apply {args} -R -f {}", samples.display()), "").await;
        for kind in ["virtualservice", "destinationrule", "gateway"] {
            assert!(said.contains(&format!("{kind}.networking.istio.io/")), "{said}");
        }
    }
    let table = done(server, "get vs,dr,gw,se -n weather", "").await;
    for columns in [
        &["NAME", "GATEWAYS", "HOSTS", "AGE"][..],
        &["NAME", "HOST", "AGE"],
        &[
            "virtualservice.networking.istio.io/frontend-route",
            "[\"istio-system/weather-gateway\"]",
        ],
        &["destinationrule.networking.istio.io/forecast-dr", "forecast"],
    ] {
        let found = table.lines().any(|line| {
            let cells: Vec<_> = line.split_whitespace().collect();
            cells.starts_with(columns)
        });
        assert!(found, "{columns:?} is not in\n{table}");
    }
    let family = done(server, "get networking-istio-io -n weather -o name", "").await;
    assert!(
        family.contains("virtualservice.networking.istio.io/frontend-route"),
        "{family}"
    );
    let all = done(server, "get istio-io -n weather -o name", "").await;
    assert!(
        all.contains("destinationrule.networking.istio.io/forecast-dr"),
        "{all}"
    );
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let server = server().await;
    for (field, words) in [
        ("virtualservice", "Rules that choose the real backend"),
        ("virtualservice.spec.http", "Rules for HTTP, HTTP/2, gRPC and TLS"),
        ("vs.spec.http.retries.attempts", "Number of retries"),
        ("dr.spec.trafficPolicy.tls.mode", "ISTIO_MUTUAL"),
        ("gw.spec.servers.hosts", "Published hosts"),
        ("meshpolicy.spec.peers.mtls", "A client certificate of the mesh."),
        ("quotaspec.spec.rules.quotas.charge", "A whole number."),
        ("handler.spec.compiledAdapter", "adapter built into Mixer"),
        ("denier.spec", "which refuses requests"),
    ] {
        let text = done(server, &format!("explain {field}"), "").await;
        // Lines are broken to fit the terminal.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "{field}: {text}");
        assert!(!text.contains("<no description>"), "{field}: {text}");
    }
}

/// What the schema does not know reaches whoever validates the object, and so does every JSON form that 1.1 read.
#[tokio::test]
async fn nothing_that_is_written_is_lost() {
    let server = server().await;
    let namespace = server.namespace("kept").await.expect("a namespace");
    let object = r#"
        apiVersion: networking.istio.io/v1alpha3
        kind: DestinationRule
        metadata: {name: kept}
        spec:
          host: forecast
          trafic_policy: {}
          traffic_policy: {load_balancer: {simple: 2}}
          trafficPolicy:
            tls: {mode: 3, snl: x}
            connectionPool: {http: {maxRetries: "5"}}
          subsets: [{name: v1, labels: {version: null}}]
        hosts: [a]
    "#;
    let in_namespace = format!("-n {namespace}");
    done(server, &format!("create {in_namespace} -f -"), object).await;
    let stored = read(
        server,
        &format!("{in_namespace} destinationrules.v1alpha3.networking.istio.io kept"),
    )
    .await;
    let expected = serde_json::json!({
        "host": "forecast",
        "trafic_policy": {},
        "traffic_policy": {"load_balancer": {"simple": 2}},
        "trafficPolicy": {
            "tls": {"mode": 3, "snl": "x"},
            "connectionPool": {"http": {"maxRetries": "5"}},
        },
        "subsets": [{"name": "v1", "labels": {"version": null}}],
    });
    assert_eq!(stored["spec"], expected);
    assert_eq!(stored["hosts"], serde_json::json!(["a"]));
    // Other versions are the same object.
    for version in ["v1beta1", "v1"] {
        let args = format!("{in_namespace} destinationrules.{version}.networking.istio.io kept");
        let other = read(server, &args).await;
        assert_eq!(other["apiVersion"], format!("networking.istio.io/{version}"));
        assert_eq!(other["spec"], expected, "{version}");
    }
    let policy = "{apiVersion: authentication.istio.io/v1alpha1, kind: Policy, metadata: {name: kept}, \
                  spec: {peers: [{mtls: null}]}}";
    done(server, &format!("create {in_namespace} -f -"), policy).await;
    let stored = read(
        server,
        &format!("{in_namespace} policies.authentication.istio.io kept"),
    )
    .await;
    assert_eq!(stored["spec"]["peers"], serde_json::json!([{"mtls": null}]));
}

#[tokio::test]
async fn the_server_refuses_wrong_types_by_itself() {
    let server = server().await;
    let namespace = server.namespace("types").await.expect("a namespace");
    for (spec, field) in [
        ("{hosts: forecast}", "spec.hosts"),
        ("{http: [{timeout: 5}]}", "spec.http[0].timeout"),
        (
            "{http: [{route: [{weight: 1.5}]}]}",
            "spec.http[0].route[0].weight",
        ),
        (
            "{http: [{match: [{headers: {a: b}}]}]}",
            "spec.http[0].match[0].headers.a",
        ),
    ] {
        let object = format!(
            "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: a}}, spec: {spec}}}"
        );
        let refused = kubectl(server, &format!("apply -n {namespace} -f -"), &object).await;
        let error = refused.expect_err(spec);
        assert!(error.contains(field), "{spec}: {error}");
    }
}

#[tokio::test]
async fn kinds_of_the_whole_mesh_have_no_namespace() {
    let server = server().await;
    let mut cluster: Vec<String> = Vec::new();
    for group in ["networking", "config", "authentication", "rbac"] {
        let args =
            format!("api-resources --no-headers --namespaced=false -o name --api-group={group}.istio.io");
        cluster.extend(done(server, &args, "").await.lines().map(str::to_owned));
    }
    cluster.sort();
    assert_eq!(
        cluster,
        [
            "clusterrbacconfigs.rbac.istio.io",
            "meshpolicies.authentication.istio.io"
        ]
    );
}

/// Whoever reports about an object changes neither it nor its generation.
#[tokio::test]
async fn status_is_apart_from_what_users_write() {
    let server = server().await;
    let namespace = server.namespace("status").await.expect("a namespace");
    let object =
        "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}, spec: {selector: {a: b}}}";
    done(server, &format!("apply -n {namespace} -f -"), object).await;
    let gateway = format!("gateways.networking.istio.io a -n {namespace}");
    let patch = r#"{"spec":{"selector":null},"status":{"anything":[{"field":"servers"}]}}"#;
    done(
        server,
        &format!("patch {gateway} --subresource=status --type=merge -p {patch}"),
        "",
    )
    .await;
    let seen = read(server, &gateway).await;
    assert_eq!(seen["status"]["anything"][0]["field"], "servers");
    assert_eq!(seen["spec"]["selector"]["a"], "b");
    assert_eq!(seen["metadata"]["generation"], 1);
}
