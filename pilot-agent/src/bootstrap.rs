//! The bootstrap file that Envoy is started with (spec 05 §3.3), from the configuration alone.
//!
//! It holds what Envoy needs before it has heard from Pilot: who it is, where Pilot is, its admin
//! interface, and the listener for Prometheus. Everything else comes over ADS.

mod clusters;
mod listeners;
mod stats;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use crate::config::{Config, Discovery, Locality, Node};

/// The cluster that leads to Pilot.
const XDS_CLUSTER: &str = "xds-grpc";

/// The bootstrap file as JSON.
#[must_use]
pub fn bootstrap(config: &Config) -> Value {
    let mut root = json!({
        "node": node(&config.node),
        "stats_config": stats::stats_config(&config.stats_prefixes),
        "admin": admin(config.admin_port),
        "dynamic_resources": dynamic_resources(&config.discovery),
        "layered_runtime": layered_runtime(),
        "static_resources": {
            "clusters": clusters::clusters(config),
            "listeners": listeners::listeners(config),
        },
    });
    let sinks = stats::sinks(config);
    if !sinks.is_empty() {
        root["stats_sinks"] = sinks.into();
    }
    root
}

fn node(node: &Node) -> Value {
    let mut value = json!({
        "id": node.id(),
        "cluster": node.cluster,
        "metadata": node.metadata,
    });
    if let Some(locality) = &node.locality {
        value["locality"] = self::locality(locality);
    }
    value
}

fn locality(
    Locality {
        region,
        zone,
        sub_zone,
    }: &Locality,
) -> Value {
    let fields = [("region", region), ("zone", zone), ("sub_zone", sub_zone)];
    let known = fields.into_iter().filter(|(_, value)| !value.is_empty());
    Value::Object(
        known
            .map(|(name, value)| (name.to_owned(), Value::from(value.as_str())))
            .collect(),
    )
}

/// Reachable from inside the pod only.
fn admin(port: u16) -> Value {
    json!({
        "access_log": [{
            "name": "envoy.access_loggers.file",
            "typed_config": typed("envoy.extensions.access_loggers.file.v3.FileAccessLog", json!({"path": "/dev/null"})),
        }],
        "address": socket_address("127.0.0.1", port),
    })
}

fn dynamic_resources(discovery: &Discovery) -> Value {
    // Without a limit on the first fetch: an Envoy that starts while Pilot is away, above all after a hot
    // restart, waits instead of going on with nothing, and the old one keeps serving.
    let ads = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
    json!({
        "cds_config": ads,
        "lds_config": ads,
        "ads_config": {
            "api_type": if discovery.delta { "DELTA_GRPC" } else { "GRPC" },
            "transport_api_version": "V3",
            "set_node_on_first_message_only": true,
            "grpc_services": [{
                "envoy_grpc": {
                    "cluster_name": XDS_CLUSTER,
                    // Envoy's own limit of 30 s would keep a pod unconfigured long after Pilot is back.
                    "retry_policy": {"retry_back_off": {"base_interval": "0.5s", "max_interval": "5s"}},
                },
            }],
        },
    })
}

/// Envoy rejects patterns whose program has more than 100 instructions unless told otherwise, and with one pattern all
/// routes of a port. Pilot itself leaves out what is near the limit set here.
fn layered_runtime() -> Value {
    json!({"layers": [
        {"name": "static", "static_layer": {"re2.max_program_size.error_level": 32768}},
        {"name": "admin", "admin_layer": {}},
    ]})
}

fn socket_address(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}

/// A message inside an `Any`: its fields beside its type.
fn typed(name: &str, fields: Value) -> Value {
    let mut message = Map::from_iter([(
        "@type".to_owned(),
        Value::from(format!("type.googleapis.com/{name}")),
    )]);
    if let Value::Object(fields) = fields {
        message.extend(fields);
    }
    Value::Object(message)
}
