//! What EnvoyFilters insert.

use serde_json::{Value, json};

use super::Choices;

/// Type, name and configuration of a filter. Envoy knows reasons to reject some that their messages do not show; those
/// are not among them.
pub(super) fn filter(choices: &mut Choices<'_>) -> (&'static str, &'static str, Value) {
    let rbac = json!({ "rules": { "action": "DENY", "policies": { "a": {
        "permissions": [{ "any": true }], "principals": [{ "any": true }] } } } });
    let network_rbac = json!({ "statPrefix": "a", "rules": rbac["rules"] });
    let header_to_metadata = json!({ "requestRules": [{ "header": "x-a",
        "onHeaderPresent": { "metadataNamespace": "a", "key": "b", "type": "STRING" } }] });
    let all = [
        (
            "HTTP",
            "envoy.filters.http.lua",
            json!({ "inlineCode": "function envoy_on_request(handle) end" }),
        ),
        ("HTTP", "envoy.lua", json!({ "inline_code": "" })),
        (
            "HTTP",
            "envoy.filters.http.buffer",
            json!({ "maxRequestBytes": 1024 }),
        ),
        ("HTTP", "envoy.filters.http.rbac", rbac),
        ("HTTP", "envoy.filters.http.cors", json!({})),
        (
            "HTTP",
            "envoy.filters.http.fault",
            json!({ "abort": { "httpStatus": 418, "percentage": { "numerator": 1 } } }),
        ),
        (
            "HTTP",
            "envoy.filters.http.header_to_metadata",
            header_to_metadata,
        ),
        (
            "HTTP",
            "envoy.filters.http.grpc_stats",
            json!({ "emitFilterState": true }),
        ),
        ("HTTP", "envoy.filters.http.router", json!({})),
        (
            "HTTP",
            "own",
            json!({ "@type": "type.googleapis.com/com.example.Own", "a": [1.5, null, { "b": true }] }),
        ),
        ("HTTP", "own", json!({ "surprise": 1 })),
        ("HTTP", "envoy.filters.http.lua", json!({ "surprise": 1 })),
        (
            "NETWORK",
            "envoy.filters.network.connection_limit",
            json!({ "statPrefix": "a", "maxConnections": 10 }),
        ),
        ("NETWORK", "envoy.filters.network.rbac", network_rbac),
        ("NETWORK", "envoy.filters.network.sni_cluster", json!({})),
        ("NETWORK", "envoy.mongo_proxy", json!({ "statPrefix": "a" })),
        (
            "NETWORK",
            "envoy.filters.network.tcp_proxy",
            json!({ "statPrefix": "a", "cluster": "b" }),
        ),
        (
            "NETWORK",
            "own",
            json!({ "@type": "type.googleapis.com/com.example.Own" }),
        ),
        (
            "NETWORK",
            "envoy.filters.network.local_ratelimit",
            json!({ "statPrefix": "a", "tokenBucket": { "maxTokens": 1, "fillInterval": "1s" } }),
        ),
        ("INVALID", "", Value::Null),
    ];
    let at = choices.below(all.len());
    all.into_iter().nth(at).unwrap_or(("INVALID", "", Value::Null))
}
