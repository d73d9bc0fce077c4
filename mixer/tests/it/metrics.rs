//! What Mixer tells about itself (`spec 02` §9.10).

use mesh_api::istio::mixer::v1::ReportRequest;
use mesh_testing::{eventually, ports};

use crate::harness::{Mixer, PATIENCE, attributes, object};
use crate::serving::request;

/// What is there once a configuration is in force, and calls were answered: name, type and labels in 1.1.
const METRICS: [(&str, &str, &[&str]); 33] = [
    ("mixer_config_attributes_total", "counter", &["configID"]),
    ("mixer_config_handler_configs_total", "counter", &["configID"]),
    ("mixer_config_instance_configs_total", "counter", &["configID"]),
    (
        "mixer_config_instance_config_errors_total",
        "counter",
        &["configID"],
    ),
    ("mixer_config_rule_configs_total", "counter", &["configID"]),
    ("mixer_config_rule_config_errors_total", "counter", &["configID"]),
    (
        "mixer_config_adapter_info_configs_total",
        "counter",
        &["configID"],
    ),
    (
        "mixer_config_adapter_info_config_errors_total",
        "counter",
        &["configID"],
    ),
    ("mixer_config_template_configs_total", "counter", &["configID"]),
    (
        "mixer_config_template_config_errors_total",
        "counter",
        &["configID"],
    ),
    (
        "mixer_config_rule_config_match_error_total",
        "counter",
        &["configID"],
    ),
    (
        "mixer_config_unsatisfied_action_handler_total",
        "counter",
        &["configID"],
    ),
    (
        "mixer_config_handler_validation_error_total",
        "counter",
        &["configID"],
    ),
    ("mixer_handler_new_handlers_total", "counter", &["configID"]),
    ("mixer_handler_reused_handlers_total", "counter", &["configID"]),
    ("mixer_handler_closed_handlers_total", "counter", &["configID"]),
    (
        "mixer_handler_handler_build_failures_total",
        "counter",
        &["configID"],
    ),
    (
        "mixer_handler_handler_close_failures_total",
        "counter",
        &["configID"],
    ),
    (
        "mixer_handler_workers_total",
        "gauge",
        &["handler", "initConfigID"],
    ),
    (
        "mixer_handler_daemons_total",
        "gauge",
        &["handler", "initConfigID"],
    ),
    ("mixer_runtime_dispatches_total", "counter", &CALL),
    ("mixer_runtime_dispatch_duration_seconds", "histogram", &CALL),
    ("mixer_dispatcher_destinations_per_request", "histogram", &[]),
    ("mixer_dispatcher_instances_per_request", "histogram", &[]),
    ("mixer_checkcache_cache_writes_total", "gauge", &[]),
    ("mixer_checkcache_cache_hits_total", "gauge", &[]),
    ("mixer_checkcache_cache_misses_total", "gauge", &[]),
    ("mixer_checkcache_cache_evictions_total", "gauge", &[]),
    ("mixer_loadshedding_requests_throttled", "counter", &[]),
    ("grpc_io_server_received_bytes_per_rpc", "histogram", &[METHOD]),
    ("grpc_io_server_sent_bytes_per_rpc", "histogram", &[METHOD]),
    ("grpc_io_server_server_latency", "histogram", &[METHOD]),
    (
        "grpc_io_server_completed_rpcs",
        "counter",
        &[METHOD, "grpc_server_status"],
    ),
];

const CALL: [&str; 4] = ["adapter", "error", "handler", "meshFunction"];
const METHOD: &str = "grpc_server_method";

/// Upper bounds of the histograms of 1.1.
const BOUNDS: [(&str, &[&str]); 2] = [
    (
        "mixer_runtime_dispatch_duration_seconds",
        &[
            "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1",
            "0.25", "0.5", "1", "2.5", "5", "10", "+Inf",
        ],
    ),
    (
        "mixer_dispatcher_instances_per_request",
        &[
            "0", "1", "2", "3", "4", "5", "6", "7", "8", "10", "15", "20", "+Inf",
        ],
    ),
];

/// What the dashboard of 1.1 asks for, which 1.1 does not have any more.
const OF_THE_DASHBOARD: [&str; 18] = [
    "mixer_config_attribute_count",
    "mixer_config_handler_config_count",
    "mixer_config_instance_config_count",
    "mixer_config_instance_config_error_count",
    "mixer_config_rule_config_count",
    "mixer_config_rule_config_error_count",
    "mixer_config_adapter_info_config_count",
    "mixer_config_adapter_info_config_error_count",
    "mixer_config_template_config_count",
    "mixer_config_template_config_error_count",
    "mixer_config_rule_config_match_error_count",
    "mixer_config_unsatisfied_action_handler_count",
    "mixer_config_handler_validation_error_count",
    "mixer_handler_new_handler_count",
    "mixer_handler_reused_handler_count",
    "mixer_handler_closed_handler_count",
    "mixer_handler_build_failure_count",
    "mixer_handler_close_failure_count",
];

fn assert_there(text: &str, names: &[&str]) {
    let is_there = |name: &str| {
        text.lines().any(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
    };
    let missing: Vec<_> = names.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in\n{text}");
}

/// Names and values of the labels of a line.
fn labels(line: &str) -> Vec<(&str, &str)> {
    let inside = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
    let pairs = inside.map_or("", |(inside, _)| inside).split("\",");
    pairs
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(name, value)| (name, value.trim_end_matches('"')))
        .collect()
}

/// The lines of a metric: of a histogram those that count.
fn samples<'t>(text: &'t str, name: &str, suffix: &str) -> Vec<&'t str> {
    let name = format!("{name}{suffix}");
    text.lines()
        .filter(|line| {
            line.strip_prefix(&name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
        .collect()
}

fn assert_metrics(text: &str) {
    for (name, kind, expected) in METRICS {
        assert!(
            text.contains(&format!("# TYPE {name} {kind}\n")),
            "{name} is no {kind}"
        );
        let suffix = if kind == "histogram" { "_count" } else { "" };
        let lines = samples(text, name, suffix);
        assert!(!lines.is_empty(), "{name} is missing in\n{text}");
        for line in lines {
            let names: Vec<_> = labels(line).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, expected, "{line}");
        }
    }
    for (name, expected) in BOUNDS {
        let mut bounds = Vec::new();
        for line in samples(text, name, "_bucket") {
            let bound = labels(line).into_iter().find(|(name, _)| *name == "le");
            bounds.extend(
                bound
                    .map(|(_, bound)| bound)
                    .filter(|bound| !bounds.contains(bound)),
            );
        }
        assert_eq!(bounds, expected, "{name}");
    }
}

#[tokio::test]
async fn spec_02_9_10_all_names_are_there() {
    let config = [
        object("handler", "nothing", "{compiledAdapter: noop}"),
        object("instance", "question", "{compiledTemplate: checknothing}"),
        object(
            "rule",
            "all",
            "{actions: [{handler: nothing, instances: [question]}]}",
        ),
    ];
    let mixer = Mixer::start(&config.concat(), &[]).await;
    mixer.check(request(&[])).await.unwrap();
    let report = ReportRequest {
        attributes: vec![attributes(&[])],
        ..ReportRequest::default()
    };
    mixer.report(report).await.unwrap();
    let (_, text) = mixer.get("/metrics").await;
    assert_metrics(&text);
    assert_there(&text, &OF_THE_DASHBOARD);
    // A handler has one name, in metrics and in what is said to callers (§2.5).
    let mut calls = samples(&text, "mixer_runtime_dispatches_total", "");
    calls.retain(|line| !line.ends_with(" 0"));
    let [call] = calls[..] else {
        panic!("{calls:?}");
    };
    let expected = [
        ("adapter", "noop"),
        ("error", "false"),
        ("handler", "nothing.istio-system"),
        ("meshFunction", "checknothing"),
    ];
    assert_eq!(labels(call), expected);
}

#[tokio::test]
async fn spec_02_9_10_the_sink_of_mcp_is_measured() {
    let port = ports::unused().unwrap();
    // Nobody is there, so that there is no configuration.
    let mixer = Mixer::launch(&format!("mcp://127.0.0.1:{port}"), &[]).await;
    let names = [
        "mixer_mcp_sink_clients_total",
        "mixer_mcp_sink_send_failures_total",
        "mixer_mcp_sink_recv_failures_total",
        "mixer_mcp_sink_reconnections",
    ];
    eventually(PATIENCE, async || match mixer.get("/metrics").await {
        (200, text) => {
            assert_there(&text, &names);
            Ok(())
        }
        (status, _) => Err(status),
    })
    .await
    .unwrap();
}
