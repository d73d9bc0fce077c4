//! A real Zipkin in the mesh, behind the service that proxies are told of.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use mesh_testing::{provision, zipkin};
use serde_json::{Value, json};

use crate::support::{TestMesh, exchange};

/// Its pod, and the port of its service.
const POD: &str = "zipkin";
const PORT: u16 = 9411;

/// The spans of a trace, each as Zipkin's API 2 has it.
pub(super) type Trace = Vec<Value>;

pub(super) struct Zipkin<'a>(&'a TestMesh);

/// Zipkin in a pod of istio-system that its service selects.
fn manifest(jar: &Path) -> Value {
    let command = zipkin::command(jar);
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(json!({"name": text(name), "value": text(value?)})));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": POD, "namespace": "istio-system", "labels": {"app": POD},
            "annotations": {"sidecar.istio.io/inject": "false"}
        },
        "spec": {
            "containers": [{
                "name": POD,
                "image": "docker.io/openzipkin/zipkin:2",
                "command": [text(command.get_program())],
                "args": command.get_args().map(text).collect::<Vec<_>>(),
                "env": variables.collect::<Vec<_>>(),
                "ports": [{"containerPort": PORT}],
                "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1}
            }]
        }
    })
}

// === impl Zipkin ===

impl<'a> Zipkin<'a> {
    /// Starts it.
    pub(super) async fn start(mesh: &'a TestMesh) -> Self {
        let jar = tokio::task::spawn_blocking(provision::zipkin).await;
        let jar = jar.expect("it ends").expect("a Zipkin");
        mesh.apply(&manifest(&jar).to_string()).await;
        let runs = |state: &e2e::mesh::state::State| state.pod(POD).is_some_and(|pod| pod.ready);
        let ready = mesh.mesh().wait_for(zipkin::PATIENCE, runs).await;
        ready.expect("Zipkin gets ready");
        Self(mesh)
    }

    /// The traces that a service has a span in, of which one is for a URL that holds this text.
    pub(super) async fn traces(&self, service: &str, url: &str) -> Result<Vec<Trace>> {
        let uri = format!("http://{POD}:{PORT}/api/v2/traces?serviceName={service}&limit=10000");
        let stream = self.0.mesh().connect(POD, PORT).await?;
        let answer = exchange(stream, Method::GET, &uri.parse()?, &[], "").await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        let mut traces: Vec<Trace> = serde_json::from_str(&answer.body).context("no list of traces")?;
        let is_for_url = |span: &Value| {
            let tag = span["tags"]["http.url"].as_str();
            tag.is_some_and(|tag| tag.contains(url))
        };
        traces.retain(|trace| trace.iter().any(is_for_url));
        Ok(traces)
    }
}
