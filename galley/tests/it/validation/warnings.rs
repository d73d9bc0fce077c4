//! Warnings that kubectl prints about what is admitted.

#![allow(
    clippy::needless_pass_by_value,
    reason = "objects are read best where they are written in place"
)]

use mesh_testing::eventually;
use serde_json::{Value, json};

use super::site::{PATIENCE, Site, shared};

fn object(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name }, "spec": spec })
}

fn networking(kind: &str, name: &str, spec: Value) -> Value {
    object("networking.istio.io/v1alpha3", kind, name, spec)
}

fn rule(name: &str, more: Value) -> Value {
    let mut spec =
        json!({ "hosts": ["a.com"], "http": [{ "route": [{ "destination": { "host": "forecast" } }] }] });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    networking("VirtualService", name, spec)
}

/// A route to this destination.
fn to(name: &str, destination: Value) -> Value {
    rule(
        name,
        json!({ "http": [{ "route": [{ "destination": destination }] }] }),
    )
}

fn list(items: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

/// A mesh in which nothing is wrong.
fn mesh() -> Vec<Value> {
    let mut pod = object(
        "v1",
        "Pod",
        "forecast-v1",
        json!({ "containers": [{ "name": "forecast", "image": "forecast" }] }),
    );
    pod["metadata"]["labels"] = json!({ "app": "forecast", "version": "v1" });
    vec![
        object(
            "v1",
            "Service",
            "forecast",
            json!({ "selector": { "app": "forecast" }, "ports": [{ "name": "http", "port": 3002 }] }),
        ),
        pod,
        networking(
            "DestinationRule",
            "forecast",
            json!({
                "host": "forecast",
                "trafficPolicy": { "tls": { "mode": "DISABLE" } },
                "subsets": [{ "name": "v1", "labels": { "version": "v1" } }],
            }),
        ),
        rule(
            "forecast",
            json!({
                "hosts": ["forecast"],
                "http": [{ "route": [{ "destination": { "host": "forecast", "subset": "v1" } }] }],
            }),
        ),
        networking("Sidecar", "default", json!({ "egress": [{ "hosts": ["./*"] }] })),
        networking(
            "ServiceEntry",
            "wiki",
            json!({ "hosts": ["wiki.org"], "ports": [{ "number": 443, "name": "tls", "protocol": "TLS" }] }),
        ),
    ]
}

/// Objects with mistakes, and the warning that each deserves after its name.
fn mistakes(apps: &str) -> Vec<(Value, String)> {
    let forecast = format!("forecast.{apps}.svc.cluster.local");
    let server = |name: &str| json!({ "hosts": ["a.com"], "port": { "number": 80, "name": name, "protocol": "HTTP" } });
    vec![
        (rule("gate", json!({ "gateways": ["gate"] })), format!("gateways[0]: there is no Gateway {apps}/gate")),
        (
            to("host", json!({ "host": "forcast" })),
            format!("http[0].route[0].destination.host: no Service of this cluster and no ServiceEntry is called forcast.{apps}.svc.cluster.local"),
        ),
        (
            to("port", json!({ "host": "forecast", "port": { "number": 80 } })),
            format!("http[0].route[0].destination.port.number: {forecast} has no port 80"),
        ),
        (
            to("subset", json!({ "host": "forecast", "subset": "v2" })),
            format!("http[0].route[0].destination.subset: no DestinationRule declares v2 of {forecast}"),
        ),
        (
            rule("order", json!({ "http": [
                { "route": [{ "destination": { "host": "forecast" } }] },
                { "match": [{ "uri": { "prefix": "/a" } }], "route": [{ "destination": { "host": "forecast" } }] },
            ] })),
            "http[1]: never reached: http[0] has no match and takes everything".to_owned(),
        ),
        (
            rule("twin", json!({ "hosts": ["forecast"] })),
            format!("hosts[0]: VirtualService {apps}/forecast is for {forecast} too; sidecars follow the older: that one is"),
        ),
        (
            rule("inside", json!({ "hosts": ["forecast"], "gateways": ["gate"] })),
            "gateways: forecast is a service of the mesh, but sidecars do not follow these rules: `mesh` is not listed"
                .to_owned(),
        ),
        (
            networking("DestinationRule", "nowhere", json!({ "host": "nowhere" })),
            format!("host: no Service of this cluster and no ServiceEntry is called nowhere.{apps}.svc.cluster.local"),
        ),
        (
            networking("DestinationRule", "twin", json!({
                "host": "forecast", "subsets": [{ "name": "v2", "labels": { "version": "v2" } }],
            })),
            format!("host: DestinationRule {apps}/forecast is for {forecast} too"),
        ),
        (
            networking("DestinationRule", "twin", json!({
                "host": "forecast", "subsets": [{ "name": "v2", "labels": { "version": "v2" } }],
            })),
            format!("subsets[0].labels: no pod of {forecast} has them: subset v2 is empty"),
        ),
        (
            networking("Gateway", "nobody", json!({ "selector": { "istio": apps }, "servers": [server("a")] })),
            "selector: no pod has these labels".to_owned(),
        ),
        (
            networking("Gateway", "twice", json!({ "servers": [server("a"), server("b")] })),
            "servers[1]: servers[0] has port 80 and host a.com too".to_owned(),
        ),
        (
            networking("ServiceEntry", "inside", json!({
                "hosts": [forecast], "ports": [{ "number": 80, "name": "http", "protocol": "HTTP" }],
            })),
            format!("hosts[0]: Service {apps}/forecast is called {forecast} already"),
        ),
        (
            networking("ServiceEntry", "twin", json!({
                "hosts": ["wiki.org"], "ports": [{ "number": 443, "name": "tls", "protocol": "TLS" }],
            })),
            format!("hosts[0]: ServiceEntry {apps}/wiki has port 443 of wiki.org too"),
        ),
        (
            networking("Sidecar", "twin", json!({ "egress": [{ "hosts": ["nowhere/*"] }] })),
            format!("workloadSelector: missing, and Sidecar {apps}/default has none either"),
        ),
        (
            networking("Sidecar", "twin", json!({ "egress": [{ "hosts": ["nowhere/*"] }] })),
            "egress[0].hosts[0]: nowhere/* stands for no service: nothing is imported by it".to_owned(),
        ),
        (
            object("authentication.istio.io/v1alpha1", "Policy", "default", json!({ "peers": [{ "mtls": {} }] })),
            format!("peers: STRICT, but by DestinationRule {apps}/forecast callers of {forecast} use no TLS"),
        ),
        (
            object("rbac.istio.io/v1alpha1", "ServiceRoleBinding", "viewers", json!({
                "subjects": [{ "user": "*" }], "roleRef": { "kind": "ServiceRole", "name": "viewer" },
            })),
            format!("roleRef.name: there is no ServiceRole viewer in {apps}"),
        ),
        (
            object("config.istio.io/v1alpha2", "rule", "log", json!({
                "actions": [{ "handler": "log", "instances": ["line"] }],
            })),
            format!("actions[0].handler: there is no handler {apps}/log"),
        ),
        (
            object("config.istio.io/v1alpha2", "rule", "log", json!({
                "actions": [{ "handler": "log", "instances": ["line"] }],
            })),
            format!("actions[0].instances[0]: there is no instance {apps}/line"),
        ),
        (
            object("v1", "Service", "web", json!({ "ports": [{ "name": "web", "port": 80 }] })),
            "ports[0].name: \"web\" names no protocol".to_owned(),
        ),
    ]
}

/// The webhooks for all kinds that are looked at, Services of labelled namespaces among them.
fn configuration(site: &Site) -> Value {
    let mut configuration = site.configuration();
    let template = configuration["webhooks"][0].clone();
    let webhook = |name: &str, path: &str, groups: &[&str], resources: &[&str]| {
        let mut webhook = template.clone();
        webhook["name"] = name.into();
        webhook["clientConfig"]["service"]["path"] = path.into();
        webhook["rules"][0]["apiGroups"] = groups.into();
        webhook["rules"][0]["resources"] = resources.into();
        webhook
    };
    let groups = ["networking.istio.io", "authentication.istio.io", "rbac.istio.io"];
    let mut services = webhook(
        "service.validation.istio.io",
        "/admitservice",
        &[""],
        &["services"],
    );
    // It only warns: nobody needs to wait for it.
    services["failurePolicy"] = "Ignore".into();
    services["namespaceSelector"]["matchLabels"] = json!({ "istio-injection": "enabled" });
    configuration["webhooks"] = json!([
        webhook("pilot.validation.istio.io", "/admitpilot", &groups, &["*"]),
        webhook(
            "mixer.validation.istio.io",
            "/admitmixer",
            &["config.istio.io"],
            &["rules"]
        ),
        services,
    ]);
    configuration
}

/// Every mistake is named by kubectl when it is applied, and nothing is said of what is right.
#[tokio::test]
async fn pain_11_pain_16_kubectl_warns_of_what_is_surely_a_mistake() {
    let site = Site::new(shared().await).await;
    site.write("webhook.yaml", &configuration(&site).to_string());
    let label = format!("label namespace {} istio-injection=enabled", site.apps);
    site.admin.run(&label, "").await.unwrap();
    let _galley = site.serving().await;
    site.done("apply -f -", &list(&mesh())).await;

    let (objects, expected): (Vec<_>, Vec<_>) = mistakes(&site.apps)
        .into_iter()
        .map(|(object, warning)| {
            let name = format!("{} {}", object["kind"].as_str().unwrap(), site.apps);
            let name = format!("{name}/{}", object["metadata"]["name"].as_str().unwrap());
            (object, format!("Warning: {name}: {warning}"))
        })
        .unzip();
    let trial = "apply --dry-run=server --warnings-as-errors -f -";
    // What was applied just now is known a moment later.
    eventually(PATIENCE, async || {
        let said = site.refused(trial, &list(&objects)).await;
        let missing: Vec<_> = expected.iter().filter(|line| !said.contains(*line)).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:#?} are not in {said}"))
        }
    })
    .await
    .unwrap();
    // The whole mesh is known now.
    site.done(trial, &list(&mesh())).await;
    // With warnings, but applied all the same.
    site.refused("apply --warnings-as-errors -f -", &objects[0].to_string())
        .await;
    let get = "get virtualservices.networking.istio.io gate -o name";
    assert!(site.done(get, "").await.contains("/gate"));
}
