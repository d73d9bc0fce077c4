//! What Kubernetes knows of both ends of a request of which proxies tell nothing but who they are.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};

use super::scale;
use super::support::kubectl;
use crate::mixer::{POLICY, TELEMETRY, mixc};
use crate::support::{TestMesh, samples};

/// The labels of a metric that are looked at.
const LABELS: [&str; 10] = [
    "source_workload",
    "source_workload_namespace",
    "source_app",
    "source_version",
    "source_principal",
    "destination_workload",
    "destination_workload_namespace",
    "destination_app",
    "destination_version",
    "destination_service",
];

const SERVICE: &str = "forecast.weather.svc.cluster.local";

/// Tells of one request to forecast.
async fn report(mesh: &TestMesh, ends: &[&str]) -> Result<()> {
    let common =
        format!("context.protocol=http,context.reporter.kind=inbound,destination.service.host={SERVICE}");
    let args = [
        "report",
        "-m",
        TELEMETRY,
        "-s",
        &common,
        "-i",
        "response.code=200,destination.port=3002",
        "-t",
        "request.time=2026-01-01T00:00:00Z,response.time=2026-01-01T00:00:01Z",
    ];
    mixc(mesh, &[&args[..], ends].concat()).await.map(drop)
}

/// Tells of requests until one was counted with these values of [`LABELS`].
async fn counted(mesh: &TestMesh, what: &str, ends: &[&str], wanted: [&str; LABELS.len()]) {
    mesh.eventually(what, async || {
        report(mesh, ends).await?;
        let text = mesh.page("telemetry", "prometheus", "metrics").await?;
        let mut series = text
            .lines()
            .filter(|line| line.starts_with("istio_requests_total{"));
        let all = |line: &&str| {
            LABELS
                .iter()
                .zip(wanted)
                .all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
        };
        ensure!(series.any(|line| all(&line)), "{text}");
        Ok(())
    })
    .await;
}

/// As `mixc` takes addresses.
fn bytes(address: Ipv4Addr) -> String {
    address.octets().map(|byte| format!("{byte:02x}")).join(":")
}

fn uid(pod: &str) -> String {
    format!("kubernetes://{pod}.weather")
}

/// M55, M56, M57: UIDs and addresses alone become the labels of metrics, fields of access logs, and what policies ask for.
#[tokio::test(flavor = "multi_thread")]
async fn m55_m56_m57_kubernetes_tells_mixer_the_workloads_of_requests() {
    let mesh = TestMesh::on_kubernetes(&["weather", "sleep"]).await;
    let uids = |source: &str, destination: &str| {
        format!("source.uid={},destination.uid={}", uid(source), uid(destination))
    };
    let of_frontend = ["frontend-v1", "weather", "frontend", "v1", "unknown"];
    let of =
        |version: &'static str, workload: &'static str| [workload, "weather", "forecast", version, SERVICE];
    let wanted = |destination: [&'static str; 5]| {
        let mut all = of_frontend.into_iter().chain(destination);
        std::array::from_fn(|_| all.next().unwrap_or_default())
    };
    let both = uids("frontend-v1-0", "forecast-v1-0");
    counted(
        &mesh,
        "both ends are known by their uids",
        &["-s", &both],
        wanted(of("v1", "forecast-v1")),
    )
    .await;

    let address = mesh.pod_ip("frontend-v1-0").expect("it runs");
    let source = format!("source.ip={}", bytes(address));
    let destination = format!("destination.uid={}", uid("forecast-v2-0"));
    counted(
        &mesh,
        "the source is known by its address",
        &["-s", &destination, "--bytes_attributes", &source],
        wanted(of("v2", "forecast-v2")),
    )
    .await;

    // A pod that is new is known as soon as there is one.
    scale(&mesh, "advertisement-v1", 2).await;
    let late = uids("advertisement-v1-1", "forecast-v1-0");
    let mut expected = wanted(of("v1", "forecast-v1"));
    expected[0] = "advertisement-v1";
    expected[2] = "advertisement";
    counted(&mesh, "so is a pod that came later", &["-s", &late], expected).await;

    // The access log, which is off by default.
    let charts = format!("{}/../charts/mixer/config/stdio.yaml", env!("CARGO_MANIFEST_DIR"));
    kubectl(&mesh, &["apply", "-f", &charts]).await;
    mesh.eventually("the access log names workloads", async || {
        report(&mesh, &["-s", &both]).await?;
        let state = mesh.mesh().state();
        let telemetry = state.component("telemetry").context("no telemetry")?;
        let log = std::fs::read_to_string(&telemetry.log)?;
        let line = log.lines().find(|line| line.contains("\"accesslog."));
        let line = line.context("no line of the access log")?;
        for field in [
            "\"sourceWorkload\":\"frontend-v1\"",
            "\"destinationWorkload\":\"forecast-v1\"",
            "\"sourceName\":\"frontend-v1-0\"",
            "\"destinationOwner\":\"kubernetes://apis/apps/v1/namespaces/weather/deployments/forecast-v1\"",
        ] {
            ensure!(line.contains(field), "{field} is missing in {line}");
        }
        Ok(())
    })
    .await;

    // Labels that the request did not bring along.
    let blacklist = samples().join("mixer-rules/blacklist.yaml");
    kubectl(&mesh, &["apply", "-f", &blacklist.display().to_string()]).await;
    let verdict = async |source: &str| {
        let ends = uids(source, "advertisement-v1-0");
        let attributes = format!("context.reporter.kind=inbound,{ends}");
        let said = mixc(&mesh, &["check", "-m", POLICY, "-s", &attributes]).await?;
        anyhow::Ok(said.lines().next().unwrap_or_default().to_owned())
    };
    mesh.eventually("the frontend is refused by its labels", async || {
        let said = verdict("frontend-v1-0").await?;
        let denied = "PERMISSION_DENIED (denycustomerhandler.denier.weather:Not allowed)";
        ensure!(said.contains(denied), "{said}");
        Ok(())
    })
    .await;
    let said = verdict("forecast-v1-0").await.expect("a verdict");
    assert!(said.ends_with("was OK"), "{said}");
}
