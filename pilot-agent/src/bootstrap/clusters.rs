//! Clusters that Envoy needs before Pilot has spoken, or that Pilot does not know of.

use std::net::IpAddr;
use std::time::Duration;

use mesh_runtime::args::HostPort;
use serde_json::{Value, json};

use super::{XDS_CLUSTER, socket_address, typed};
use crate::config::{Config, MutualTls, Tracer};

/// The cluster of the metrics service, which a sink names too.
pub(super) const METRICS_SERVICE: &str = "envoy_metrics_service";

/// The cluster that leads to Envoy's own admin interface.
pub(super) const PROMETHEUS: &str = "prometheus_stats";

/// How long a connection to a collector of telemetry may take to open.
const COLLECTOR_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn clusters(config: &Config) -> Vec<Value> {
    let mut clusters = Vec::new();
    if config.prometheus_port.is_some() {
        let admin = HostPort {
            host: Some("127.0.0.1".to_owned()),
            port: config.admin_port,
        };
        clusters.push(cluster(PROMETHEUS, &admin, Duration::from_millis(250), config));
    }
    clusters.push(pilot(config));
    clusters.extend(config.tracer.as_ref().map(|tracer| collector(tracer, config)));
    if let Some(address) = &config.metrics_service {
        clusters.push(http2(
            cluster(METRICS_SERVICE, address, COLLECTOR_TIMEOUT, config),
            &json!({}),
        ));
    }
    clusters
}

/// Many streams of many types share few connections, so the limits are out of the way; a Pilot that is
/// gone without a word is noticed by pings.
fn pilot(config: &Config) -> Value {
    let discovery = &config.discovery;
    let pings = json!({"connection_keepalive": {"interval": "30s", "timeout": "5s"}});
    let mut value = http2(
        cluster(XDS_CLUSTER, &discovery.address, discovery.connect_timeout, config),
        &pings,
    );
    value["circuit_breakers"] = json!({"thresholds": [limits("DEFAULT"), limits("HIGH")]});
    value["upstream_connection_options"] = json!({"tcp_keepalive": {"keepalive_time": 300}});
    if let Some(tls) = &discovery.mutual_tls {
        value["transport_socket"] = mutual_tls(tls);
    }
    value
}

fn collector(tracer: &Tracer, config: &Config) -> Value {
    match tracer {
        Tracer::Zipkin(address) => cluster("zipkin", address, COLLECTOR_TIMEOUT, config),
        Tracer::Datadog(address) => cluster("datadog_agent", address, COLLECTOR_TIMEOUT, config),
        Tracer::LightStep {
            address,
            access_token: _,
            tls,
        } => {
            let mut value = http2(
                cluster("lightstep", address, COLLECTOR_TIMEOUT, config),
                &json!({}),
            );
            if value["type"] == "STRICT_DNS" {
                // Satellites stand behind a balancer that answers with other addresses each time.
                value["type"] = "LOGICAL_DNS".into();
            }
            if let Some(roots) = tls {
                let mut context = json!({"alpn_protocols": ["h2"]});
                if !roots.as_os_str().is_empty() {
                    context["validation_context"] = json!({"trusted_ca": {"filename": roots}});
                }
                value["transport_socket"] =
                    tls_socket(json!({"common_tls_context": context, "sni": address.host}));
            }
            value
        }
    }
}

fn limits(priority: &str) -> Value {
    const LIMIT: u32 = 100_000;
    json!({
        "priority": priority,
        "max_connections": LIMIT,
        "max_pending_requests": LIMIT,
        "max_requests": LIMIT,
    })
}

/// One address. A name is looked up again and again; an IP address needs no DNS.
fn cluster(name: &str, address: &HostPort, connect_timeout: Duration, config: &Config) -> Value {
    let host = address.host.as_deref().unwrap_or_default();
    let endpoint = json!({"endpoint": {"address": socket_address(host, address.port)}});
    let mut value = json!({
        "name": name,
        "connect_timeout": seconds(connect_timeout),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    });
    if host.parse::<IpAddr>().is_ok() {
        value["type"] = "STATIC".into();
        return value;
    }
    value["type"] = "STRICT_DNS".into();
    value["respect_dns_ttl"] = false.into();
    value["dns_lookup_family"] = if config.node.is_v6() { "V6_ONLY" } else { "V4_ONLY" }.into();
    value
}

fn http2(mut cluster: Value, options: &Value) -> Value {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let explicit = json!({"explicit_http_config": {"http2_protocol_options": options}});
    cluster["typed_extension_protocol_options"] = json!({OPTIONS: typed(OPTIONS, explicit)});
    cluster
}

fn mutual_tls(tls: &MutualTls) -> Value {
    tls_socket(json!({
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificates": [{
                "certificate_chain": {"filename": tls.certificate},
                "private_key": {"filename": tls.key},
            }],
            "validation_context": {
                "trusted_ca": {"filename": tls.root},
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": tls.san}}],
            },
        },
    }))
}

fn tls_socket(context: Value) -> Value {
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", context),
    })
}

/// Protobuf's notation for a duration in JSON.
fn seconds(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 => format!("{}s", duration.as_secs()),
        nanos => format!(
            "{}.{}s",
            duration.as_secs(),
            format!("{nanos:09}").trim_end_matches('0')
        ),
    }
}
