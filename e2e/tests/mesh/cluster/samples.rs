//! All samples, with Galley's webhook between kubectl and the API server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use mesh_config::{Kind, yaml};

use super::support::{kubectl, server};
use crate::support::{TestMesh, samples};

/// What no webhook admits, by the reason that kubectl prints.
const BROKEN: [(&str, &str, &str); 4] = [
    (
        "VirtualService",
        "{hosts: [forecast], http: [{route: [{destination: {host: forecast}}], retires: {attempts: 3}}]}",
        "http[0].retires",
    ),
    (
        "DestinationRule",
        "{host: forecast, subsets: [{labels: {version: v1}}]}",
        "subsets[0].name",
    ),
    (
        "Gateway",
        "{servers: [{hosts: ['*'], port: {number: 80, name: http, protocol: SMOKE}}]}",
        "servers[0].port.protocol",
    ),
    (
        "ServiceEntry",
        "{hosts: [api.example.com], ports: [{number: 70000, name: http, protocol: HTTP}], resolution: DNS}",
        "ports[0].number",
    ),
];

/// Would take the place of the installed gateway, on a node of which another sample has the ports.
const OTHER_GATEWAY: &str = "host-network/istio-ingressgateway.yaml";

fn object(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3\nkind: {kind}\nmetadata: {{name: broken, namespace: weather}}\nspec: {spec}\n"
    )
}

/// Waits until kubectl is told by Galley what is wrong with an object.
async fn refused(mesh: &TestMesh, (kind, spec, field): (&str, &str, &str)) {
    mesh.eventually(&format!("a broken {kind} is refused"), async || {
        let trial = ["create", "--dry-run=server", "-f", "-"];
        let answer = server(mesh).admin().kubectl(&trial, &object(kind, spec)).await;
        let text = answer.err().context("it is admitted")?.to_string();
        ensure!(
            text.contains("denied the request") && text.contains(field),
            "{text}"
        );
        Ok(())
    })
    .await;
}

/// The files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
        .into_iter()
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect()
}

/// The objects of Istio in a file: kind, namespace, name.
fn rules(path: &Path) -> BTreeSet<(&'static str, String, String)> {
    let text = std::fs::read_to_string(path).expect("a file");
    let documents = yaml::documents(&path.display().to_string(), &text).into_iter();
    let values = documents.map(|document| document.expect("YAML").value);
    let objects = values.filter_map(|value| {
        let group = value["apiVersion"].as_str()?.split_once('/')?.0.to_owned();
        let kind = Kind::by_name(&group, value["kind"].as_str()?)?;
        let text = |name: &str| value["metadata"][name].as_str().map(str::to_owned);
        let namespace = text("namespace").unwrap_or_else(|| "default".to_owned());
        Kind::PILOT
            .contains(&kind)
            .then_some((kind.schema().kind, namespace, text("name")?))
    });
    objects.collect()
}

/// `G8.1`, `G8.4`, `G2.1`: with the webhook of Galley switched on, what is broken is refused with its reason, and every sample
/// is admitted by kubectl, served over MCP, and followed by Envoys.
#[tokio::test(flavor = "multi_thread")]
async fn g8_1_g8_4_every_sample_is_admitted_and_what_is_broken_is_refused() {
    let mesh = TestMesh::on_kubernetes(&["weather"]).await;
    for broken in BROKEN {
        refused(&mesh, broken).await;
    }

    let mut expected = BTreeSet::new();
    for file in files(&samples()) {
        let mut apply = vec!["apply", "-f"];
        if file.ends_with(OTHER_GATEWAY) {
            apply.insert(1, "--dry-run=server");
        }
        let path = file.display().to_string();
        apply.push(&path);
        kubectl(&mesh, &apply).await;
        expected.extend(rules(&file));
    }
    assert!(expected.len() > 20, "{expected:?}");
    mesh.eventually("Pilot has every rule", async || {
        for (kind, namespace, name) in &expected {
            mesh.stored(kind, namespace, name).await?;
        }
        Ok(())
    })
    .await;

    // Of applications that came after the mesh, and by rules of theirs.
    let httpbin = [("host", "httpbin.example.com")];
    mesh.eventually_status("/status/418", &httpbin, 418).await;
    mesh.eventually("bookinfo is served", async || {
        let page = "http://productpage:9080/productpage";
        let answer = mesh.from("sleep-0").get(page, &[]).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        Ok(())
    })
    .await;
    for broken in BROKEN {
        refused(&mesh, broken).await;
    }
}
