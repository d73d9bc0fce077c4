//! A real Prometheus in the mesh, with the configuration that the charts have for it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use mesh_testing::provision;

use super::{REQUEST, TELEMETRY, mixc};
use crate::support::fixture::MIXER;
use crate::support::prometheus::{control_plane, manifests, query};
use crate::support::{TestMesh, rules};

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
    mesh.apply(&manifests(program, &control_plane(), &[])).await;
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
