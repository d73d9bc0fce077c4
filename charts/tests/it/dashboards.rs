//! The dashboards of Grafana, and the sample of one's own. That they show something is tested in the mesh (`m69_…`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mesh_testing::grafana::{Dashboard, metrics};

/// Room of the ConfigMap that has them all.
const MAX_CONFIG_MAP: u64 = 1024 * 1024;

/// What is shown of the mesh (`spec 05` §7.3).
const MESH: [&str; 8] = [
    "istio_request_bytes",
    "istio_request_duration_seconds",
    "istio_requests_total",
    "istio_response_bytes",
    "istio_tcp_connections_closed_total",
    "istio_tcp_connections_opened_total",
    "istio_tcp_received_bytes_total",
    "istio_tcp_sent_bytes_total",
];

/// What Envoys tell of themselves.
const ENVOYS: [&str; 5] = [
    "envoy_cluster_update_attempt",
    "envoy_cluster_update_success",
    "envoy_cluster_upstream_cx_active",
    "envoy_server_live",
    "envoy_server_memory_physical_size",
];

/// What cAdvisor tells of containers and pods.
const CADVISOR: [&str; 11] = [
    "container_cpu_usage_seconds_total",
    "container_file_descriptors",
    "container_memory_working_set_bytes",
    "container_network_receive_bytes_total",
    "container_network_receive_errors_total",
    "container_network_receive_packets_dropped_total",
    "container_network_transmit_bytes_total",
    "container_network_transmit_errors_total",
    "container_network_transmit_packets_dropped_total",
    "container_start_time_seconds",
    "container_ulimits_soft",
];

/// Where components register what they tell of themselves (`spec 02` §9.10; `spec 04` P17, G3.3, G5, G8; TEL-24): what the names
/// in a file begin with, and the file. A name has slashes there, or underlines.
const COMPONENTS: [(&str, &str); 18] = [
    ("", "api/runtime/src/metrics.rs"),
    ("", "api/runtime/src/metrics/process.rs"),
    ("", "galley/processing/src/metrics.rs"),
    ("", "galley/src/certificates.rs"),
    ("", "mixer/runtime/src/metrics.rs"),
    ("", "mixer/runtime/src/metrics/tasks.rs"),
    ("", "pilot/registry/src/metrics.rs"),
    ("", "pilot/src/metrics.rs"),
    ("", "pilot/src/metrics/clients.rs"),
    ("", "pilot/xds/src/metrics.rs"),
    ("galley_mcp_source_", "api/mcp/src/metrics.rs"),
    ("mixer_mcp_sink_", "api/mcp/src/metrics.rs"),
    ("pilot_mcp_sink_", "api/mcp/src/metrics.rs"),
    ("galley_validation_", "galley/webhook/src/metrics.rs"),
    ("grpc_io_server_", "mixer/src/metrics.rs"),
    ("mixer_checkcache_cache_", "mixer/runtime/src/metrics.rs"),
    ("mixer_config_", "mixer/runtime/src/metrics.rs"),
    ("mixer_handler_", "mixer/runtime/src/metrics.rs"),
];

fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("a workspace")
}

fn folder() -> PathBuf {
    workspace().join("charts/istio/charts/grafana/dashboards")
}

fn dashboards() -> Vec<Dashboard> {
    let sample = workspace().join("e2e/grafana");
    [folder(), sample]
        .iter()
        .flat_map(|folder| Dashboard::folder(folder).expect("dashboards"))
        .collect()
}

/// TEL-40, TEL-41: which there are, and that Grafana can load them.
#[test]
fn m69_m70_dashboards_are_what_grafana_expects() {
    let shipped = Dashboard::folder(&folder()).expect("dashboards");
    let files: Vec<&str> = shipped.iter().map(|dashboard| dashboard.file.as_str()).collect();
    let expected = [
        "galley",
        "mesh",
        "mixer",
        "performance",
        "pilot",
        "service",
        "workload",
    ];
    assert_eq!(files, expected.map(|name| format!("{name}-dashboard.json")));
    let mut names = BTreeSet::new();
    for dashboard in dashboards() {
        let problems = dashboard.problems();
        assert!(problems.is_empty(), "{problems:#?}");
        for name in [dashboard.uid(), dashboard.title()] {
            assert!(names.insert(name.to_owned()), "two dashboards {name}");
        }
    }
}

/// TEL-42: what is asked for is told by somebody.
#[test]
fn m69_m70_dashboards_ask_for_metrics_that_exist() {
    let sources = COMPONENTS.map(|(start, file)| {
        let text =
            fs::read_to_string(workspace().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        // One name for each type.
        let rejects = ["cds", "eds", "lds", "rds"].map(|xds_type| text.replace("{xds_type}", xds_type));
        (start, (text + &rejects.concat()).replace('/', "_"))
    });
    let is_registered = |metric: &str| {
        sources.iter().any(|(start, text)| {
            let rest = metric.strip_prefix(start);
            rest.is_some_and(|rest| text.contains(&format!("\"{rest}\"")))
        })
    };
    for dashboard in dashboards() {
        for query in dashboard.queries() {
            for metric in metrics(&query.expr) {
                let others = [&MESH[..], &ENVOYS, &CADVISOR];
                let known = others.iter().any(|names| names.contains(&metric));
                assert!(
                    known || is_registered(metric),
                    "{}, {}: {metric}",
                    dashboard.file,
                    query.panel
                );
            }
        }
    }
}

/// Both ends of a connection report it: whoever adds them up counts twice (TEL-21).
#[test]
fn tel_21_dashboards_ask_one_side() {
    for dashboard in dashboards() {
        for query in dashboard.queries() {
            let asks = metrics(&query.expr).iter().any(|metric| MESH.contains(metric));
            let chooses = query.expr.contains("reporter=\"");
            assert!(!asks || chooses, "{}: {}", dashboard.file, query.expr);
        }
    }
}

#[test]
fn m69_dashboards_fit_into_a_config_map() {
    let entries = fs::read_dir(folder()).expect("a folder");
    let sizes = entries.map(|entry| entry.and_then(|entry| entry.metadata()).expect("a file").len());
    assert!(sizes.sum::<u64>() < MAX_CONFIG_MAP / 2);
}
