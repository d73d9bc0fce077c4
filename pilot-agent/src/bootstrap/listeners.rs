//! The one static listener: metrics for Prometheus, and nothing else of the admin interface.

use serde_json::{Value, json};

use super::clusters::PROMETHEUS;
use super::{socket_address, typed};
use crate::config::Config;

const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

pub(super) fn listeners(config: &Config) -> Vec<Value> {
    config
        .prometheus_port
        .map(|port| prometheus(port, config.node.is_v6()))
        .into_iter()
        .collect()
}

fn prometheus(port: u16, v6: bool) -> Value {
    let manager = json!({
        "stat_prefix": "stats",
        // A path with dots must not lead past the prefix to the rest of the admin interface.
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "route_config": {
            "virtual_hosts": [{
                "name": "backend",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/stats/prometheus"}, "route": {"cluster": PROMETHEUS}}],
            }],
        },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", json!({})),
        }],
    });
    json!({
        "name": "prometheus",
        "address": socket_address(if v6 { "::" } else { "0.0.0.0" }, port),
        "filter_chains": [{
            "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": typed(MANAGER, manager),
            }],
        }],
    })
}
