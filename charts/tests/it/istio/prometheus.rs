//! What Prometheus is given: a configuration, flags, and rights.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mesh_testing::eventually;
use mesh_testing::prometheus::Prometheus;
use serde_json::{Map, Value, json};

use super::Release;

const PATIENCE: Duration = Duration::from_secs(60);

/// Something that Kubernetes knows, as Prometheus would find it there.
struct Candidate {
    /// In which role it is found.
    role: &'static str,
    namespace: String,
    address: &'static str,
    /// What is known of it, without `__meta_kubernetes_`.
    labels: &'static [(&'static str, &'static str)],
}

/// Spec 05 §7.4: every job finds what it scrapes, and nothing else, and scrapes it where it is to be scraped: a real
/// Prometheus sorts what Kubernetes could have told it. That of Debian, which this is, cannot ask Kubernetes by itself.
#[tokio::test]
async fn m60_m65_prometheus_scrapes_the_mesh_and_kubernetes() {
    let release = Release::install("scraped", &[]).await;
    let candidates = candidates(&release.namespace);
    let mut config = release.document("prometheus", "prometheus.yml").await;
    for job in config["scrape_configs"].as_array_mut().expect("jobs") {
        tell(job.as_object_mut().expect("a job"), &candidates);
    }
    let flags = flags(&release).await.expect("the flags of the Deployment");
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let prometheus = Prometheus::configured(&config.to_string(), &flags)
        .await
        .expect("a Prometheus");
    let expected: BTreeSet<String> = [
        "citadel http://192.0.2.6:15014/metrics",
        "envoy-stats http://192.0.2.21:15090/stats/prometheus",
        "galley http://192.0.2.5:15014/metrics",
        "istio-mesh http://192.0.2.2:42422/metrics",
        "istio-policy http://192.0.2.3:15014/metrics",
        "istio-telemetry http://192.0.2.2:15014/metrics",
        "kubernetes-apiservers https://192.0.2.1:6443/metrics",
        "kubernetes-cadvisor https://192.0.2.30:10250/metrics/cadvisor",
        "kubernetes-nodes https://192.0.2.30:10250/metrics",
        "kubernetes-pods http://192.0.2.22:9100/own",
        "kubernetes-pods http://192.0.2.24:80/metrics",
        "kubernetes-service-endpoints https://192.0.2.10:9102/metrics",
        "pilot http://192.0.2.4:15014/metrics",
    ]
    .map(str::to_owned)
    .into();
    eventually(PATIENCE, async || -> Result<()> {
        let targets = prometheus.api("targets?state=active").await?;
        let targets = targets["activeTargets"].as_array().context("no targets")?.iter();
        let found = targets.map(|target| {
            let (job, url) = (target["scrapePool"].as_str(), target["scrapeUrl"].as_str());
            format!("{} {}", job.unwrap_or_default(), url.unwrap_or_default())
        });
        let found: BTreeSet<_> = found.collect();
        ensure!(found == expected, "{found:#?}");
        Ok(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error}"));
    release.uninstall().await;
}

fn candidates(release: &str) -> Vec<Candidate> {
    let of = |role, namespace: &str, address, labels| Candidate {
        role,
        namespace: namespace.to_owned(),
        address,
        labels,
    };
    let own = |address, labels| of("endpoints", release, address, labels);
    let pod = |address, labels| of("pod", "weather", address, labels);
    vec![
        own(
            "192.0.2.2:42422",
            &[
                ("service_name", "istio-telemetry"),
                ("endpoint_port_name", "prometheus"),
            ],
        ),
        own(
            "192.0.2.2:15014",
            &[
                ("service_name", "istio-telemetry"),
                ("endpoint_port_name", "http-monitoring"),
            ],
        ),
        own(
            "192.0.2.2:9091",
            &[
                ("service_name", "istio-telemetry"),
                ("endpoint_port_name", "grpc-mixer"),
            ],
        ),
        own(
            "192.0.2.3:15014",
            &[
                ("service_name", "istio-policy"),
                ("endpoint_port_name", "http-monitoring"),
            ],
        ),
        own(
            "192.0.2.4:15014",
            &[
                ("service_name", "istio-pilot"),
                ("endpoint_port_name", "http-monitoring"),
            ],
        ),
        own(
            "192.0.2.5:15014",
            &[
                ("service_name", "istio-galley"),
                ("endpoint_port_name", "http-monitoring"),
            ],
        ),
        own(
            "192.0.2.6:15014",
            &[
                ("service_name", "istio-citadel"),
                ("endpoint_port_name", "http-monitoring"),
            ],
        ),
        // Another mesh.
        of(
            "endpoints",
            "istio-other",
            "192.0.2.9:42422",
            &[
                ("service_name", "istio-telemetry"),
                ("endpoint_port_name", "prometheus"),
            ],
        ),
        of(
            "endpoints",
            "default",
            "192.0.2.1:6443",
            &[("service_name", "kubernetes"), ("endpoint_port_name", "https")],
        ),
        of(
            "endpoints",
            "shop",
            "192.0.2.10:8080",
            &[
                ("service_name", "cart"),
                ("service_annotation_prometheus_io_scrape", "true"),
                ("service_annotation_prometheus_io_scheme", "https"),
                ("service_annotation_prometheus_io_port", "9102"),
            ],
        ),
        pod("192.0.2.21:80", &[("pod_container_port_name", "http-envoy-prom")]),
        pod(
            "192.0.2.22:80",
            &[
                ("pod_annotation_prometheus_io_scrape", "true"),
                ("pod_annotation_prometheus_io_port", "9100"),
                ("pod_annotation_prometheus_io_path", "/own"),
            ],
        ),
        // Behind a sidecar, which may ask for a certificate.
        pod(
            "192.0.2.23:80",
            &[
                ("pod_annotation_prometheus_io_scrape", "true"),
                ("pod_annotation_sidecar_istio_io_status", "{}"),
            ],
        ),
        pod(
            "192.0.2.24:80",
            &[
                ("pod_annotation_prometheus_io_scrape", "true"),
                ("pod_annotation_prometheus_io_scheme", "http"),
                ("pod_annotation_sidecar_istio_io_status", "{}"),
            ],
        ),
        of("node", "", "192.0.2.30:10250", &[("node_label_zone", "a")]),
    ]
}

/// Tells a job what it would find by its own discovery.
fn tell(job: &mut Map<String, Value>, candidates: &[Candidate]) {
    let discovery = job.remove("kubernetes_sd_configs").expect("a discovery");
    let discovery = &discovery[0];
    let namespaces = discovery["namespaces"]["names"].as_array();
    let found = candidates.iter().filter(|candidate| {
        let here = |namespaces: &Vec<Value>| namespaces.iter().any(|name| *name == candidate.namespace);
        discovery["role"] == candidate.role && namespaces.is_none_or(here)
    });
    let targets: Vec<_> = found
        .map(|candidate| {
            let labels = candidate.labels.iter();
            let labels: Map<_, _> = labels
                .map(|(name, value)| (format!("__meta_kubernetes_{name}"), json!(value)))
                .collect();
            json!({"targets": [candidate.address], "labels": labels})
        })
        .collect();
    job.insert("static_configs".to_owned(), json!(targets));
    // Their files are in the pod only.
    job.remove("authorization");
    job.remove("tls_config");
}

/// The flags of the Deployment, but for those that say where its volumes are.
async fn flags(release: &Release) -> Result<Vec<String>> {
    let deployment = release.get("deployment prometheus").await;
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let flags: Vec<String> = serde_json::from_value(container["args"].clone())?;
    let (places, flags): (Vec<_>, Vec<_>) = flags
        .into_iter()
        .partition(|flag| flag.starts_with("--config.file=") || flag.starts_with("--storage.tsdb.path="));
    let volumes = [
        "--config.file=/etc/prometheus/prometheus.yml",
        "--storage.tsdb.path=/prometheus",
    ];
    ensure!(places == volumes, "{places:?}");
    Ok(flags)
}

/// What its jobs ask Kubernetes for, its service account may.
#[tokio::test]
async fn m60_prometheus_may_ask_for_its_targets() {
    let release = Release::install("targets", &[]).await;
    let admin = release.server.admin();
    let account = admin
        .as_service_account(&release.namespace, "prometheus")
        .await
        .expect("an account");
    for what in ["endpoints", "services", "pods", "nodes"] {
        for verb in ["list", "watch"] {
            let line = format!("auth can-i --all-namespaces {verb} {what}");
            account
                .run(&line, "")
                .await
                .unwrap_or_else(|error| panic!("{error}"));
        }
    }
    for line in ["auth can-i get nodes/metrics", "auth can-i get /metrics"] {
        account
            .run(line, "")
            .await
            .unwrap_or_else(|error| panic!("{error}"));
    }
    for line in [
        "auth can-i get secrets --all-namespaces",
        "auth can-i create nodes/proxy",
    ] {
        let allowed = account.run(line, "").await;
        assert!(allowed.is_err(), "{line}");
    }
    // As a scrape of the API server itself would.
    let metrics = account.run("get --raw /metrics", "").await.expect("metrics");
    assert!(metrics.contains("apiserver_request_total"));
    release.uninstall().await;
}
