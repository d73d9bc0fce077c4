//! The dashboards of Grafana: what they ask, the real Prometheus answers, after real Envoys have reported what they did.
//!
//! Grafana itself is in no registry of packages, so its part is played here: values of variables are what Prometheus lists,
//! and every query of every panel is sent with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use e2e::mesh::programs::workspace;
use mesh_testing::grafana::{Dashboard, Query, metrics, substituted};
use mesh_testing::provision;
use serde_json::{Value, json};

use super::{POLICY, REQUEST, TELEMETRY, mixc, proxies};
use crate::support::fixture::MIXER;
use crate::support::prometheus::{control_plane, envoy_stats, label_values, manifests, query};
use crate::support::rule::object;
use crate::support::{GATEWAY, TestMesh};

/// Stands for `$__rate_interval`: several times as long as the interval between scrapes.
const INTERVAL: &str = "1m";

/// What is chosen where one value is to be chosen; the first that exists.
const CHOICES: [(&str, &[&str]); 3] = [
    ("service", &["catalog.bookshop.svc.cluster.local"]),
    ("namespace", &[proxies::NAMESPACE, "istio-system"]),
    ("workload", &[proxies::STOREFRONT]),
];

/// Queries without an answer here: a part of them, and why.
const UNANSWERED: [(&str, &str); 6] = [
    (
        "container=\"istio-proxy\"",
        "cAdvisor counts the CPU time of proxies, which Envoy does not tell",
    ),
    (
        "galley_validation_",
        "a mesh without an API server has no webhook",
    ),
    ("pilot_xds_cds_reject", "only listeners are rejected here"),
    ("pilot_xds_eds_reject", "only listeners are rejected here"),
    ("pilot_xds_rds_reject", "only listeners are rejected here"),
    (
        "galley_mcp_source_request_nacks_total",
        "no sink refuses what Galley serves",
    ),
];

/// Panels of nothing but such queries.
const EMPTY: [(&str, &str); 2] = [
    ("galley-dashboard.json", "Reviews of the Webhook"),
    ("galley-dashboard.json", "Certificate of the Webhook"),
];

/// What cAdvisor calls what a process tells of itself, and the exporter for machines of the network of its pod. A container
/// with one process has that CPU time, memory and those files; who has the interface has that traffic.
const CADVISOR: [(&str, &str); 11] = [
    ("process_cpu_seconds_total", "container_cpu_usage_seconds_total"),
    (
        "process_resident_memory_bytes",
        "container_memory_working_set_bytes",
    ),
    ("process_open_fds", "container_file_descriptors"),
    ("process_max_fds", "container_ulimits_soft"),
    ("process_start_time_seconds", "container_start_time_seconds"),
    (
        "node_network_receive_bytes_total",
        "container_network_receive_bytes_total",
    ),
    (
        "node_network_transmit_bytes_total",
        "container_network_transmit_bytes_total",
    ),
    (
        "node_network_receive_drop_total",
        "container_network_receive_packets_dropped_total",
    ),
    (
        "node_network_transmit_drop_total",
        "container_network_transmit_packets_dropped_total",
    ),
    (
        "node_network_receive_errs_total",
        "container_network_receive_errors_total",
    ),
    (
        "node_network_transmit_errs_total",
        "container_network_transmit_errors_total",
    ),
];

/// The exporter beside Prometheus, and its port.
const NODE_EXPORTER: (&str, u16) = ("node-exporter", 9100);

/// A query of a panel, with the values of its variables.
struct Asked {
    file: String,
    query: Query,
    expr: String,
    answered: bool,
}

/// What Pilot and Galley complain of: Lua that Envoy rejects, servers that do not go together, a rule without hosts.
fn mistakes() -> String {
    [
        object(
            "EnvoyFilter",
            "default",
            "no-lua",
            "{workloadLabels: {app: sleep}, filters: [{listenerMatch: {listenerType: SIDECAR_INBOUND}, filterType: HTTP,
               filterName: envoy.filters.http.lua, filterConfig: {inlineCode: 'this is no Lua'}}]}",
        ),
        object(
            "Gateway",
            "istio-system",
            "both",
            "{selector: {istio: ingressgateway}, servers: [
               {port: {number: 8099, name: http, protocol: HTTP}, hosts: ['*']},
               {port: {number: 8099, name: tcp, protocol: TCP}, hosts: ['*']}]}",
        ),
        object("VirtualService", "default", "no-hosts", "{http: []}"),
    ]
    .concat()
}

/// The jobs that stand for cAdvisor.
fn cadvisor() -> Vec<Value> {
    let renames = CADVISOR.iter().map(
        |(own, cadvisors)| json!({"source_labels": ["__name__"], "regex": own, "target_label": "__name__", "replacement": cadvisors}),
    );
    let names: Vec<&str> = CADVISOR.iter().map(|(own, _)| *own).collect();
    let mut relabel = vec![
        json!({"source_labels": ["__name__"], "regex": names.join("|"), "action": "keep"}),
        json!({"source_labels": ["__name__"], "regex": "process_max_fds", "target_label": "ulimit", "replacement": "max_open_files"}),
    ];
    relabel.extend(renames);
    let target = |pod: &str, container: &str, address: &str| {
        let labels = json!({"namespace": "istio-system", "pod": pod, "container": container});
        json!({"targets": [address], "labels": labels})
    };
    let (exporter, port) = NODE_EXPORTER;
    let targets = [
        target("istio-galley", "galley", "istio-galley.istio-system:15014"),
        target("istio-pilot", "discovery", "istio-pilot.istio-system:15014"),
        target("istio-policy", "mixer", "istio-policy.istio-system:15014"),
        target("istio-telemetry", "mixer", "istio-telemetry.istio-system:15014"),
        target("prometheus", exporter, &format!("127.0.0.1:{port}")),
    ];
    vec![
        json!({"job_name": "kubernetes-cadvisor", "static_configs": targets, "metric_relabel_configs": relabel}),
    ]
}

/// Prometheus with all its jobs.
fn prometheus(mesh: &TestMesh, program: &Path, exporter: &Path) -> String {
    let pod = |name: &str, labels: Value| (mesh.pod_ip(name).expect("an address"), labels);
    let envoys = [
        pod(
            "sleep-0",
            json!({"app": "sleep", "namespace": "default", "pod_name": "sleep-0"}),
        ),
        pod(
            GATEWAY,
            json!({"app": "istio-ingressgateway", "istio": "ingressgateway", "namespace": "istio-system", "pod_name": GATEWAY}),
        ),
    ];
    let mut jobs = control_plane();
    jobs.push(envoy_stats(&envoys));
    jobs.extend(cadvisor());
    let exporter = json!({
        "name": NODE_EXPORTER.0, "image": "docker.io/prom/prometheus:v2.3.1", "command": [exporter],
        "args": ["--collector.disable-defaults", "--collector.netdev", format!("--web.listen-address=127.0.0.1:{}", NODE_EXPORTER.1)],
    });
    manifests(program, &jobs, &[exporter])
}

/// The values of a dashboard's variables.
async fn values(mesh: &TestMesh, dashboard: &Dashboard) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for variable in dashboard.variables()? {
        let selector = substituted(&variable.selector, &values, INTERVAL);
        let listed = label_values(mesh, &selector, &variable.label).await?;
        let context = || format!("{}: {} has no values", dashboard.file, variable.name);
        let first = listed.first().with_context(context)?;
        let wanted = CHOICES.iter().find(|(name, _)| *name == variable.name);
        let wanted = wanted.map(|(_, wanted)| *wanted).unwrap_or_default();
        let chosen = wanted
            .iter()
            .find(|wanted| listed.iter().any(|value| value == *wanted));
        let chosen = chosen.map_or_else(|| first.clone(), ToString::to_string);
        values.insert(variable.name, variable.all.unwrap_or(chosen));
    }
    Ok(values)
}

/// What a dashboard asks.
async fn asked(mesh: &TestMesh, dashboard: &Dashboard) -> Result<Vec<Asked>> {
    let values = values(mesh, dashboard).await?;
    let asked = dashboard.queries().into_iter().map(|query| Asked {
        file: dashboard.file.clone(),
        expr: substituted(&query.expr, &values, INTERVAL),
        query,
        answered: false,
    });
    Ok(asked.collect())
}

/// All kinds of calls, each once more, and a change of the configuration that every proxy gets.
async fn traffic(mesh: &TestMesh) -> Result<()> {
    mesh.settle().await;
    proxies::call(mesh).await?;
    mixc(mesh, &[&["check", "-m", POLICY][..], &REQUEST].concat()).await?;
    mixc(mesh, &[&["report", "-m", TELEMETRY][..], &REQUEST].concat()).await?;
    Ok(())
}

/// Whether there is a number, and not only the quotient of nothing and nothing.
async fn has_data(mesh: &TestMesh, expr: &str) -> Result<bool> {
    let found = query(mesh, expr).await?;
    Ok(found.iter().any(|(_, value)| value.is_finite()))
}

fn is_unanswered(query: &Query) -> bool {
    UNANSWERED.iter().any(|(part, _)| query.expr.contains(part))
}

fn folder() -> PathBuf {
    workspace().join("charts/istio/charts/grafana/dashboards")
}

/// M69: every query of every panel has data, but for those that are named above. M70: so has a dashboard of one's own.
#[test]
fn m69_m70_panels_have_data() {
    let program = provision::prometheus().expect("a Prometheus");
    let exporter = provision::node_exporter().expect("an exporter");
    MIXER.run(async |mesh| panels(mesh, &program, &exporter).await);
}

async fn panels(mesh: &TestMesh, program: &Path, exporter: &Path) {
    mesh.apply(&(prometheus(mesh, program, exporter) + &proxies::manifests() + &mistakes()))
        .await;
    let mut dashboards = Dashboard::folder(&folder()).expect("dashboards");
    assert_eq!(dashboards.len(), 7);
    dashboards.extend(Dashboard::folder(&workspace().join("e2e/grafana")).expect("a dashboard"));

    let mut all: Vec<Asked> = Vec::new();
    mesh.eventually("every variable has values", async || {
        traffic(mesh).await?;
        all.clear();
        for dashboard in &dashboards {
            all.extend(asked(mesh, dashboard).await?);
        }
        Ok(())
    })
    .await;
    mesh.eventually("every panel has data", async || {
        traffic(mesh).await?;
        let mut missing = Vec::new();
        for asked in &mut all {
            asked.answered = asked.answered || has_data(mesh, &asked.expr).await?;
            if !asked.answered && !is_unanswered(&asked.query) {
                missing.push(format!("{}, {}: {}", asked.file, asked.query.panel, asked.expr));
            }
        }
        ensure!(missing.is_empty(), "no data:\n{}", missing.join("\n"));
        Ok(())
    })
    .await;

    // What is named above is neither more nor less than what is.
    let part_is_needed = |part: &str| {
        all.iter()
            .any(|asked| !asked.answered && asked.query.expr.contains(part))
    };
    for (part, reason) in UNANSWERED {
        assert!(part_is_needed(part), "{part} has data: {reason}");
    }
    let mut answered: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for asked in &all {
        let panel = (asked.file.as_str(), asked.query.panel.as_str());
        *answered.entry(panel).or_default() |= asked.answered;
        assert!(!metrics(&asked.query.expr).is_empty(), "{}", asked.query.expr);
    }
    let empty = answered.into_iter().filter(|(_, answered)| !answered);
    let empty: Vec<_> = empty.map(|(panel, _)| panel).collect();
    let mut expected = EMPTY.to_vec();
    expected.sort_unstable();
    assert_eq!(empty, expected);
}
