//! A real Prometheus in a pod of the mesh, with the jobs that the charts have for it.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use mesh_config::yaml;
use serde_json::{Value, json};

use super::{TestMesh, exchange};

/// Its pod, and its port there.
pub(crate) const PROMETHEUS: &str = "prometheus";
pub(crate) const PORT: u16 = 9090;

/// Where the ports are that the jobs of the charts select.
const TARGETS: [(&str, &str); 5] = [
    ("istio-telemetry;prometheus", "istio-telemetry.istio-system:42422"),
    (
        "istio-telemetry;http-monitoring",
        "istio-telemetry.istio-system:15014",
    ),
    ("istio-policy;http-monitoring", "istio-policy.istio-system:15014"),
    ("istio-pilot;http-monitoring", "istio-pilot.istio-system:15014"),
    ("istio-galley;http-monitoring", "istio-galley.istio-system:15014"),
];

/// Where Envoys show their statistics.
const ENVOY_STATS: u16 = 15090;

/// The jobs of the charts.
fn charts() -> Vec<Value> {
    let charts =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/istio/charts/prometheus/prometheus.yml");
    let text = std::fs::read_to_string(charts).expect("the configuration of the charts");
    let mut documents = yaml::documents("prometheus.yml", &text).into_iter();
    let charts = documents.next().expect("a document").expect("YAML").value;
    charts["scrape_configs"].as_array().expect("jobs").clone()
}

/// The jobs of the charts that scrape the control plane, each with the address of what it selects: Debian's Prometheus asks
/// no API server.
pub(crate) fn control_plane() -> Vec<Value> {
    let jobs = charts().into_iter().filter_map(|job| {
        let selected = &job["relabel_configs"][0]["regex"];
        let (_, target) = TARGETS.iter().find(|(services, _)| selected == services)?;
        Some(json!({"job_name": job["job_name"], "static_configs": [{"targets": [target]}]}))
    });
    jobs.collect()
}

/// The job of the charts for Envoys, for these pods, each with labels.
pub(crate) fn envoy_stats(pods: &[(Ipv4Addr, Value)]) -> Value {
    let mut jobs = charts().into_iter();
    let job = jobs.find(|job| job["job_name"] == "envoy-stats").expect("a job");
    let target = |(ip, labels): &(Ipv4Addr, Value)| json!({"targets": [format!("{ip}:{ENVOY_STATS}")], "labels": labels});
    json!({
        "job_name": job["job_name"], "metrics_path": job["metrics_path"],
        "metric_relabel_configs": job["metric_relabel_configs"],
        "static_configs": pods.iter().map(target).collect::<Vec<_>>(),
    })
}

/// Prometheus in a pod of istio-system, with its configuration in ConfigMap `prometheus` (M65), and containers beside it.
pub(crate) fn manifests(program: &Path, jobs: &[Value], beside: &[Value]) -> String {
    let prometheus = json!({
        "name": PROMETHEUS,
        "image": "docker.io/prom/prometheus:v2.3.1",
        "command": [program],
        "args": ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": PORT}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/prometheus"},
            {"name": "data", "mountPath": "/prometheus"}
        ]
    });
    let containers: Vec<&Value> = std::iter::once(&prometheus).chain(beside).collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": PROMETHEUS, "namespace": "istio-system", "labels": {"app": PROMETHEUS},
            "annotations": {"sidecar.istio.io/inject": "false"}
        },
        "spec": {
            "containers": containers,
            "volumes": [
                {"name": "config", "configMap": {"name": PROMETHEUS}},
                {"name": "data", "emptyDir": {}}
            ]
        }
    });
    let config = json!({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs});
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": PROMETHEUS, "namespace": "istio-system"},
        "data": {"prometheus.yml": config.to_string()}
    });
    format!("{map}\n---\n{pod}\n")
}

/// What Prometheus answers under a path, with a parameter.
async fn ask(mesh: &TestMesh, path: &str, parameter: &str, value: &str) -> Result<Value> {
    let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let uri = format!("http://{PROMETHEUS}:{PORT}/api/v1/{path}?{parameter}={escaped}").parse()?;
    let stream = mesh.mesh().connect(PROMETHEUS, PORT).await?;
    let answer = exchange(stream, Method::GET, &uri, &[], "").await?;
    let answer: Value = serde_json::from_str(&answer.body)?;
    ensure!(answer["status"] == "success", "{value}: {answer}");
    Ok(answer["data"].clone())
}

/// The result of a query, a vector: the labels and the value of each of its elements.
pub(crate) async fn query(mesh: &TestMesh, query: &str) -> Result<Vec<(Value, f64)>> {
    let data = ask(mesh, "query", "query", query).await?;
    let result = data["result"].as_array().context("no vector")?;
    result
        .iter()
        .map(|element| {
            let value = element["value"][1].as_str().context("no value")?;
            Ok((element["metric"].clone(), value.parse()?))
        })
        .collect()
}

/// The values of a label over some series.
pub(crate) async fn label_values(mesh: &TestMesh, selector: &str, label: &str) -> Result<Vec<String>> {
    let data = ask(mesh, &format!("label/{label}/values"), "match[]", selector).await?;
    Ok(serde_json::from_value(data)?)
}
