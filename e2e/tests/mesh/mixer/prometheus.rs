//! A real Prometheus in the mesh, with the configuration that the charts have for it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use mesh_config::yaml;
use mesh_testing::provision;
use serde_json::{Value, json};

use super::{REQUEST, TELEMETRY, mixc};
use crate::support::fixture::MIXER;
use crate::support::{TestMesh, exchange, rules};

/// Its pod and its port.
const PROMETHEUS: &str = "prometheus";
const PORT: u16 = 9090;

/// Labels of the metrics of HTTP (`spec 05` §7.3).
const LABELS: [&str; 20] = [
    "reporter",
    "source_app",
    "source_principal",
    "source_workload",
    "source_workload_namespace",
    "source_version",
    "destination_app",
    "destination_principal",
    "destination_workload",
    "destination_workload_namespace",
    "destination_version",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "response_code",
    "response_flags",
    "permissive_response_code",
    "permissive_response_policyid",
    "connection_security_policy",
];

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

/// The jobs of the charts that scrape the control plane, each with the address of what it selects: Debian's Prometheus asks
/// no API server.
fn config() -> Value {
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/prometheus/prometheus.yml");
    let text = std::fs::read_to_string(charts).expect("the configuration of the charts");
    let mut documents = yaml::documents("prometheus.yml", &text).into_iter();
    let charts = documents.next().expect("a document").expect("YAML").value;
    let jobs = charts["scrape_configs"].as_array().expect("jobs").iter();
    let jobs = jobs.filter_map(|job| {
        let selected = &job["relabel_configs"][0]["regex"];
        let (_, target) = TARGETS.iter().find(|(services, _)| selected == services)?;
        Some(json!({"job_name": job["job_name"], "static_configs": [{"targets": [target]}]}))
    });
    json!({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs.collect::<Vec<_>>()})
}

/// Prometheus in a pod of istio-system, with its configuration in ConfigMap `prometheus` (M65).
fn manifests(program: &Path) -> String {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": PROMETHEUS, "namespace": "istio-system", "labels": {"app": PROMETHEUS},
            "annotations": {"sidecar.istio.io/inject": "false"}
        },
        "spec": {
            "containers": [{
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
            }],
            "volumes": [
                {"name": "config", "configMap": {"name": PROMETHEUS}},
                {"name": "data", "emptyDir": {}}
            ]
        }
    });
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": PROMETHEUS, "namespace": "istio-system"},
        "data": {"prometheus.yml": config().to_string()}
    });
    format!("{map}\n---\n{pod}\n")
}

/// The result of a query, a vector: the labels and the value of each of its elements.
async fn query(mesh: &TestMesh, query: &str) -> Result<Vec<(Value, f64)>> {
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let uri = format!("http://{PROMETHEUS}:{PORT}/api/v1/query?query={escaped}").parse()?;
    let stream = mesh.mesh().connect(PROMETHEUS, PORT).await?;
    let answer = exchange(stream, Method::GET, &uri, &[], "").await?;
    let answer: Value = serde_json::from_str(&answer.body)?;
    ensure!(answer["status"] == "success", "{query}: {answer}");
    let result = answer["data"]["result"].as_array().context("no vector")?;
    result
        .iter()
        .map(|element| {
            let value = element["value"][1].as_str().context("no value")?;
            Ok((element["metric"].clone(), value.parse()?))
        })
        .collect()
}

async fn report(mesh: &TestMesh, times: usize, more: &[&str]) -> Result<()> {
    let times = times.to_string();
    let args = ["report", "-m", TELEMETRY, "-r", &times];
    mixc(mesh, &[&args[..], &REQUEST, more].concat()).await.map(drop)
}

/// M20, M65: every job of the control plane is up. M66, M67: the default metrics answer with every label. M68: a metric that
/// is applied live is there as well.
#[test]
fn m20_m65_m66_m67_m68_prometheus_scrapes_the_mesh() {
    let program = provision::prometheus().expect("a Prometheus");
    MIXER.run(async |mesh| scraped(mesh, &program).await);
}

async fn scraped(mesh: &TestMesh, program: &Path) {
    mesh.apply(&manifests(program)).await;
    mesh.eventually("every job is up", async || {
        let up: BTreeSet<String> = query(mesh, "up == 1")
            .await?
            .into_iter()
            .map(|(labels, _)| labels["job"].as_str().unwrap_or_default().to_owned())
            .collect();
        for job in ["istio-mesh", "istio-policy", "istio-telemetry", "pilot", "galley"] {
            ensure!(up.contains(job), "{job} is missing: {up:?}");
        }
        Ok(())
    })
    .await;

    let known = [
        "-s",
        "source.workload.name=frontend-v1,destination.workload.name=advertisement-v1,\
         destination.service.host=advertisement.weather.svc.cluster.local,destination.service.name=advertisement,\
         destination.service.namespace=weather",
        "--duration_attributes",
        "response.duration=30ms",
        "-i",
    ];
    let told = async |times: usize, code: &'static str| {
        report(mesh, times, &[&known[..], &[code]].concat())
            .await
            .expect("reported");
    };
    // A rate needs a value before and one after.
    told(1, "response.code=200").await;
    told(1, "response.code=503").await;
    let total = "istio_requests_total{destination_service=\"advertisement.weather.svc.cluster.local\"}";
    mesh.eventually("both series are there", async || {
        let found = query(mesh, total).await?;
        ensure!(found.len() == 2, "{found:?}");
        Ok(())
    })
    .await;
    told(6, "response.code=200").await;
    told(2, "response.code=503").await;
    mesh.eventually("what was told is counted, with every label", async || {
        let found = query(mesh, total).await?;
        let sum: f64 = found.iter().map(|(_, value)| value).sum();
        ensure!((sum - 10.0).abs() < 0.5, "{found:?}");
        for (labels, _) in &found {
            let labels = labels.as_object().context("labels")?;
            let missing: Vec<_> = LABELS
                .iter()
                .filter(|label| !labels.contains_key(**label))
                .collect();
            ensure!(missing.is_empty(), "{missing:?} are missing in {labels:?}");
        }
        let median = "histogram_quantile(0.5, sum(istio_request_duration_seconds_bucket{destination_service_name=\"advertisement\"}) by (le))";
        let found = query(mesh, median).await?;
        ensure!(
            found.len() == 1 && (0.025..=0.05).contains(&found[0].1),
            "{found:?}"
        );
        Ok(())
    })
    .await;
    let rate = |code: &str| {
        format!(
            "sum(rate(istio_requests_total{{reporter=\"destination\",destination_service=~\"advertisement.*\"{code}}}[5m]))"
        )
    };
    let success = format!("{} / {}", rate(",response_code!~\"5.*\""), rate(""));
    mesh.eventually("the success rate of the book", async || {
        let found = query(mesh, &success).await?;
        // 6 of 8.
        ensure!(found.len() == 1 && (0.6..0.9).contains(&found[0].1), "{found:?}");
        Ok(())
    })
    .await;

    mesh.apply(&rules("mixer-rules/custom-metric.yaml")).await;
    mesh.eventually("the metric of one's own is there", async || {
        let request = ["-s", "request.method=GET,request.path=/ad,request.useragent=curl"];
        report(mesh, 1, &request).await?;
        let found = query(mesh, "istio_customer_request_count").await?;
        let labels = found.first().map(|(labels, _)| labels).context("nothing")?;
        let shown = ["method", "path", "user_agent"].map(|label| labels[label].clone());
        ensure!(shown == ["GET", "/ad", "curl"], "{labels}");
        Ok(())
    })
    .await;
}
