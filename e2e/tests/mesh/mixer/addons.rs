//! The add-ons behind ports of the ingress gateway: the samples of folder `addons`, through a real gateway.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::load::Answer;
use e2e::sample::echo::Echo;
use hyper::Method;
use mesh_testing::{eventually, provision};
use serde_json::json;

use crate::support::fixture::MIXER;
use crate::support::prometheus::{control_plane, manifests};
use crate::support::{GATEWAY, TestMesh, exchange, rules};

const BEHIND: &str = include_str!("addons.yaml");

/// Longer than Zipkin takes to start, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// Zipkin, which keeps its spans in memory.
fn zipkin(jar: &Path) -> String {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "zipkin", "namespace": "istio-system", "labels": {"app": "zipkin"},
            "annotations": {"sidecar.istio.io/inject": "false"}
        },
        "spec": {"containers": [{
            "name": "zipkin", "image": "docker.io/openzipkin/zipkin",
            "command": ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", jar],
            "env": [
                {"name": "QUERY_PORT", "value": "9411"},
                {"name": "STORAGE_TYPE", "value": "mem"},
                {"name": "SELF_TRACING_ENABLED", "value": "false"}
            ]
        }]}
    });
    format!("---\n{pod}\n")
}

/// A page behind a port of the ingress gateway, whatever the host.
async fn page(mesh: &TestMesh, port: u16, path: &str) -> Result<Answer> {
    let stream = mesh.mesh().connect(GATEWAY, port).await?;
    let uri = format!("http://gateway.example.com:{port}{path}").parse()?;
    exchange(stream, Method::GET, &uri, &[], "").await
}

/// Waits until a page of an add-on has a text in it.
async fn shows(mesh: &TestMesh, port: u16, path: &str, text: &str) {
    let shown = eventually(PATIENCE, async || {
        let answer = page(mesh, port, path).await?;
        let shown = answer.status == 200 && answer.body.contains(text);
        ensure!(shown, "{}: {}", answer.status, answer.body);
        anyhow::Ok(())
    });
    if let Err(error) = shown.await {
        panic!("{path} at {port}: {error}");
    }
}

/// M62, TEL-2, TEL-3: four gateways and four rules for all hosts, each for a port of its own.
#[test]
fn m62_add_ons_are_reached_through_the_gateway() {
    let program = provision::prometheus().expect("a Prometheus");
    let jar = provision::zipkin().expect("a Zipkin");
    MIXER.run(async |mesh| {
        let behind = [manifests(&program, &control_plane(), &[]), zipkin(&jar)];
        mesh.apply(&(behind.concat() + "---\n" + BEHIND)).await;
        for addon in ["kiali", "prometheus", "grafana", "tracing"] {
            mesh.apply(&rules(&format!("addons/{addon}.yaml"))).await;
        }

        for (port, path, app) in [(15029, "/kiali", "kiali"), (15031, "/", "grafana")] {
            shows(mesh, port, path, &format!("\"{app}\"")).await;
            let answer = page(mesh, port, path).await.expect("an answer");
            let echo: Echo = serde_json::from_str(&answer.body).expect("an answer of the test double");
            assert_eq!((&*echo.app, &*echo.path), (app, path));
        }
        // Debian's Prometheus has the frame of its page in files of its package, which is not installed; what the page shows is
        // asked for here as it does it.
        shows(mesh, 15030, "/api/v1/query?query=up", "\"status\":\"success\"").await;
        shows(mesh, 15032, "/zipkin/", "<title>Zipkin</title>").await;
        // Where one starts.
        for (port, start) in [(15030, "/graph"), (15032, "/zipkin/")] {
            let answer = page(mesh, port, "/").await.expect("an answer");
            let leads = answer.status == 302 && answer.header("location").ends_with(start);
            assert!(leads, "{port}: {} {}", answer.status, answer.header("location"));
        }
    });
}
