//! Which statistics Envoy keeps, which parts of their names become tags, and where they are sent.

use serde_json::{Value, json};

use super::clusters::METRICS_SERVICE;
use super::{socket_address, typed};
use crate::config::Config;

/// What is kept in every case: the agent's readiness and the usual dashboards need it.
const PREFIXES: [&str; 6] = [
    "cluster_manager",
    "listener_manager",
    "http_mixer_filter",
    "tcp_mixer_filter",
    "server",
    "cluster.xds-grpc",
];

/// The number of open connections, by which the agent knows when a drain is over.
const ACTIVE_CONNECTIONS: &str = "downstream_cx_active";

/// Tag names and the parts of statistic names that they take. Prometheus rules and dashboards rely on
/// them. Written for RE2, which has no look-ahead.
const TAGS: [(&str, &str); 8] = [
    (
        "cluster_name",
        r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)",
    ),
    ("tcp_prefix", r"^tcp\.((.*?)\.)\w+?$"),
    ("response_code", r"_rq(_(\d{3}))$"),
    ("response_code_class", r"_rq(_(\dxx))$"),
    (
        "http_conn_manager_listener_prefix",
        r"^listener\..*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
    ),
    (
        "http_conn_manager_prefix",
        r"^http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
    ),
    (
        "listener_address",
        r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
    ),
    (
        "mongo_prefix",
        r"^mongo\.(.+?)\.(collection|cmd|cx_|op_|delays_|decoding_)(.*?)$",
    ),
];

pub(super) fn stats_config(prefixes: &[String]) -> Value {
    let tags = TAGS.map(|(name, regex)| json!({"tag_name": name, "regex": regex}));
    let prefixes = PREFIXES.into_iter().chain(prefixes.iter().map(String::as_str));
    let mut patterns: Vec<Value> = prefixes.map(|prefix| json!({"prefix": prefix})).collect();
    patterns.push(json!({"suffix": ACTIVE_CONNECTIONS}));
    json!({
        "use_all_default_tags": false,
        "stats_tags": tags,
        "stats_matcher": {"inclusion_list": {"patterns": patterns}},
    })
}

pub(super) fn sinks(config: &Config) -> Vec<Value> {
    let mut sinks = Vec::new();
    if config.metrics_service.is_some() {
        let service = json!({
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": METRICS_SERVICE}},
        });
        sinks.push(json!({
            "name": "envoy.stat_sinks.metrics_service",
            "typed_config": typed("envoy.config.metrics.v3.MetricsServiceConfig", service),
        }));
    }
    if let Some(address) = config.statsd {
        let mut server = socket_address(&address.ip().to_string(), address.port());
        server["socket_address"]["protocol"] = "UDP".into();
        sinks.push(json!({
            "name": "envoy.stat_sinks.statsd",
            "typed_config": typed("envoy.config.metrics.v3.StatsdSink", json!({"address": server})),
        }));
    }
    sinks
}
