//! What Mixer tells about itself (`spec 02` §9.10).

use mesh_api::istio::mixer::v1::ReportRequest;
use mesh_testing::{eventually, ports};

use crate::harness::{Mixer, PATIENCE, attributes, object};
use crate::serving::request;

/// Names that are there once a configuration is in force, and calls were answered.
const NAMES: [&str; 32] = [
    "mixer_config_attributes_total",
    "mixer_config_handler_configs_total",
    "mixer_config_instance_configs_total",
    "mixer_config_instance_config_errors_total",
    "mixer_config_rule_configs_total",
    "mixer_config_rule_config_errors_total",
    "mixer_config_adapter_info_configs_total",
    "mixer_config_adapter_info_config_errors_total",
    "mixer_config_template_configs_total",
    "mixer_config_template_config_errors_total",
    "mixer_config_rule_config_match_error_total",
    "mixer_config_unsatisfied_action_handler_total",
    "mixer_config_handler_validation_error_total",
    "mixer_handler_new_handlers_total",
    "mixer_handler_reused_handlers_total",
    "mixer_handler_closed_handlers_total",
    "mixer_handler_handler_build_failures_total",
    "mixer_handler_handler_close_failures_total",
    "mixer_handler_workers_total",
    "mixer_handler_daemons_total",
    "mixer_runtime_dispatches_total",
    "mixer_runtime_dispatch_duration_seconds_count",
    "mixer_dispatcher_destinations_per_request_count",
    "mixer_dispatcher_instances_per_request_count",
    "mixer_checkcache_cache_writes_total",
    "mixer_checkcache_cache_hits_total",
    "mixer_checkcache_cache_misses_total",
    "mixer_checkcache_cache_evictions_total",
    "mixer_loadshedding_requests_throttled",
    "grpc_io_server_received_bytes_per_rpc_count",
    "grpc_io_server_sent_bytes_per_rpc_count",
    "grpc_io_server_completed_rpcs",
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
    assert_there(&text, &NAMES);
    assert_there(&text, &OF_THE_DASHBOARD);
    assert_there(&text, &["grpc_io_server_server_latency_count"]);
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
