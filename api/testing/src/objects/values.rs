//! What people write into fields.

use prost_reflect::{FieldDescriptor, Kind as FieldKind};
use serde_json::{Value, json};

use super::Choices;

const SERVICES: &[&str] = &[
    "web",
    "api",
    "db",
    "web.weather.svc.cluster.local",
    "headless.weather.svc.cluster.local",
    "*.weather.svc.cluster.local",
    "www.example.com",
    "*.example.com",
    "ext.example.org",
    "*.org",
    "www.Example.com",
    "nowhere",
];
const ENTRY_HOSTS: &[&str] = &[
    "www.example.com",
    "*.example.com",
    "ext.example.org",
    "db.example.org",
    "*.org",
    "web.weather.svc.cluster.local",
    "a.b",
];
const SERVER_HOSTS: &[&str] = &[
    "*",
    "www.example.com",
    "*.example.com",
    "weather/*",
    "./www.example.com",
    "*/ext.example.org",
    "10.9.0.1",
    "other/*.example.com",
    "WWW.example.com",
    "*-a.example.com",
];
const IMPORTS: &[&str] = &[
    "./*",
    "*/*",
    "~/*",
    "weather/*",
    "istio-system/*",
    "*/www.example.com",
    "./web.weather.svc.cluster.local",
    "other/*.example.com",
];
const RANGES: &[&str] = &[
    "10.96.0.20",
    "10.96.0.0/16",
    "192.0.2.0/24",
    "192.0.2.7",
    "0.0.0.0/0",
    "fd00::1",
    "fd00::/64",
    "10.1.0.7",
    "127.0.0.1",
];
const PORTS: &[u32] = &[
    80, 80, 443, 443, 8080, 9090, 3306, 27017, 15443, 1, 65535, 15001, 15006, 15090, 0, 70000,
];
/// What is text to us and something else to Envoy.
const TEXTS: &[&str] = &[
    "a",
    "/",
    "/a/b",
    "x-user",
    "",
    "*",
    "a b",
    "%",
    "100%",
    "%REQ(x)%",
    "%PROTOCOL%",
    "a\r\nb",
    "\u{0}",
    "ü",
    "?a=b",
    "#f",
    ":",
    "host",
    ":path",
    "X-B",
    "/a?b",
    "www.example.com:80",
    "%%",
    "a%b%c",
];
const PATTERNS: &[&str] = &[
    ".*",
    "/a/.*",
    "^(.*?;)?(local=north)(;.*)?",
    "a{1001}",
    "(a{30}){30}",
    r"\Q*\E",
    r"\p{Letter}",
    "(?i)x",
    r"(a)\1",
    "*",
    "",
    r"(?<n>a)",
    "[[:alpha:]]",
];

/// How many times out of a hundred a field is written.
pub(super) fn frequency(field: &FieldDescriptor, only_needed: bool) -> usize {
    let is_needed = matches!(
        field.name(),
        "host"
            | "hosts"
            | "port"
            | "ports"
            | "name"
            | "protocol"
            | "number"
            | "destination"
            | "servers"
            | "filters"
            | "address"
            | "default_endpoint"
            | "ttl"
            | "client_certificate"
            | "private_key"
            | "server_certificate"
            | "ca_certificates"
            | "sni_hosts"
            | "egress"
            | "relative_to"
            | "value"
            | "credential_name"
    );
    match field.name() {
        "route" => 90,
        "http" => 75,
        "redirect" | "rewrite" | "fault" | "mirror" | "tls_routes" => 10,
        _ if is_needed => 96,
        _ if field.parent_message().name() == "PortSelector" => 90,
        _ if only_needed => 0,
        _ => 30,
    }
}

/// How many items a list has.
pub(super) fn count(field: &FieldDescriptor, choices: &mut Choices<'_>) -> usize {
    match field.name() {
        "export_to" => 1,
        _ if choices.chance(4) => 0,
        _ => 1 + choices.below(3),
    }
}

/// A duration, mostly one that validation admits.
pub(super) fn duration(choices: &mut Choices<'_>) -> Value {
    json!(choices.one_of(&[
        "1s",
        "0.001s",
        "10s",
        "0.250s",
        "3600s",
        "86400s",
        "30s",
        "315576000000s",
        "9223372037s",
        "0s",
        "0.0005s",
        "-1s",
    ]))
}

/// An entry of a map whose name and value belong together.
pub(super) fn pair(field: &FieldDescriptor, choices: &mut Choices<'_>) -> Option<(String, Value)> {
    let pairs: &[(&str, &str)] = match field.name() {
        "labels" | "source_labels" | "workload_labels" => &[
            ("app", "web"),
            ("version", "v1"),
            ("version", "v2"),
            ("app", "api"),
            ("", ""),
        ],
        "selector" => &[("istio", "ingressgateway"), ("app", "web")],
        _ => return None,
    };
    let (name, value) = choices.one_of(pairs);
    Some(((*name).to_owned(), (*value).into()))
}

/// A value of a field; `of` is the field itself, or the map that it is a part of.
pub(super) fn scalar(field: &FieldDescriptor, of: &FieldDescriptor, choices: &mut Choices<'_>) -> Value {
    match field.kind() {
        FieldKind::String | FieldKind::Bytes => text(field, of, choices).into(),
        FieldKind::Bool => choices.chance(50).into(),
        FieldKind::Enum(descriptor) => {
            let values: Vec<_> = descriptor.values().collect();
            choices.one_of(&values).name().into()
        }
        FieldKind::Double | FieldKind::Float => {
            json!(choices.one_of(&[0.0, 0.0001, 1.5, 50.0, 99.9999, 100.0, 100.1, -1.0]))
        }
        _ => integer(field, choices),
    }
}

fn integer(field: &FieldDescriptor, choices: &mut Choices<'_>) -> Value {
    match field.name() {
        "number" | "port" | "port_number" => json!(choices.one_of(PORTS)),
        "http_status" => json!(choices.one_of(&[500, 503, 418, 200, 404, 600, 599, 100, 0, 199, 601])),
        name if name.contains("percent") || name == "weight" => {
            json!(choices.one_of(&[0, 1, 10, 50, 100, 101, -1].map(|value: i32| value.max(0))))
        }
        "minimum_ring_size" => {
            json!(choices.one_of(&[0_u64, 1, 1024, 8_388_608, 8_388_609, 10_000_000, u64::MAX]))
        }
        _ => json!(choices.one_of(&[0, 1, 3, 100, 1024, 1_000_000, i32::MAX])),
    }
}

/// A text for a field.
pub(super) fn text(field: &FieldDescriptor, of: &FieldDescriptor, choices: &mut Choices<'_>) -> String {
    let message = of.parent_message();
    let list: &[&str] = match (message.name(), of.name()) {
        ("VirtualService", "hosts") | (_, "host" | "sni_hosts") => SERVICES,
        ("ServiceEntry", "hosts") => ENTRY_HOSTS,
        ("Server", "hosts") => SERVER_HOSTS,
        ("IstioEgressListener", "hosts") => IMPORTS,
        (_, "gateways") => &["mesh", "edge", "weather/edge", "istio-system/edge", "other/b"],
        (_, "export_to") => &["*", "*", "."],
        (_, "protocol") => &[
            "HTTP", "HTTP", "HTTPS", "TLS", "TCP", "GRPC", "HTTP2", "MONGO", "MYSQL", "REDIS", "UDP",
            "GRPC-Web", "http",
        ],
        ("Port" | "Subset", "name") | (_, "subset") => &[
            "http", "v1", "v2", "tcp", "https", "tls-a", "grpc", "mongo", "http-b", "x",
        ],
        ("PortSelector", "name") => &["http", "tcp"],
        ("Server" | "IstioIngressListener" | "IstioEgressListener", "bind") => &[
            "",
            "",
            "0.0.0.0",
            "10.1.0.7",
            "127.0.0.1",
            "unix:///tmp/a",
            "unix://@b",
            "::1",
            "::",
        ],
        (_, "default_endpoint") => &[
            "127.0.0.1:8080",
            ":9090",
            "unix:///tmp/s",
            "unix://@s",
            "127.0.0.1:1",
        ],
        ("Endpoint", "address") => &[
            "10.1.0.30",
            "192.0.2.7",
            "ext.example.org",
            "unix:///tmp/e",
            "fd00::9",
            "db.example.org",
        ],
        (_, "addresses" | "address" | "destination_subnets" | "source_subnet") => RANGES,
        (_, "locality") => &["r1/z1/s1", "r1/z2", "r2", "", "/", "a/b/c/d"],
        (_, "network") => &["", "n1", "n2"],
        (_, "retry_on") => &[
            "5xx",
            "gateway-error,503",
            "connect-failure,refused-stream",
            "429",
            "cancelled",
        ],
        (_, "allow_methods") => &["GET", "POST", "OPTIONS", "*"],
        (_, "server_certificate" | "client_certificate") => &["/etc/certs/cert-chain.pem", "/etc/b/cert.pem"],
        (_, "private_key") => &["/etc/certs/key.pem", "/etc/b/key.pem"],
        (_, "ca_certificates") => &["/etc/certs/root-cert.pem", "/etc/b/root.pem"],
        (_, "credential_name") => &["", "", "a", "b.c", "kubernetes://a"],
        (_, "subject_alt_names") => &["spiffe://cluster.local/ns/a/sa/b", "www.example.com", "*.x", ""],
        (_, "cipher_suites") => &[
            "ECDHE-RSA-AES256-GCM-SHA384",
            "AES128-SHA",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "nonsense",
            "",
        ],
        (_, "sni") => &["www.example.com", "outbound_.80_._.web", "", "a b"],
        (_, "port_name_prefix") => &["http", "TCP", "", "grpc"],
        (_, "relative_to") => &[
            "envoy.filters.http.router",
            "envoy.filters.http.cors",
            "envoy.router",
            "mixer",
            "envoy.filters.network.tcp_proxy",
            "envoy.filters.network.http_connection_manager",
        ],
        (_, "regex") => PATTERNS,
        // Keys of conditions on headers, names of cookies and the like.
        _ if field.name() == "key" => &[
            "x-user",
            "cookie",
            "X-B",
            ":authority",
            "a b",
            "host",
            "",
            ":path",
        ],
        _ => TEXTS,
    };
    (*choices.one_of(list)).to_owned()
}

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
