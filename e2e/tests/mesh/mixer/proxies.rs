//! Envoys that report to istio-telemetry by their access logs, in the place of sidecars: `storefront` behind the ingress
//! gateway, and `catalog` behind `storefront`. Who is at the ends of a connection stands in tags of the logs.
//!
//! What they report is told for minutes by a Mixer that other tests use too: no other test knows these names.

use anyhow::{Result, ensure};
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{TestMesh, exchange};

pub(super) const NAMESPACE: &str = "bookshop";
pub(super) const STOREFRONT: &str = "storefront-v1";
const CATALOG: &str = "catalog-v1";

/// Where the way of a request and of a connection begins, in the pod of the storefront.
const HTTP: u16 = 8081;
const TCP: u16 = 9081;

/// What is asked: some of it is there.
const PATHS: [&str; 6] = [
    "/get",
    "/get",
    "/bytes/3000",
    "/get",
    "/status/404",
    "/status/503",
];

/// A listener that plays the proxy of one end of a connection.
struct Listener {
    port: u16,
    is_http: bool,
    /// `inbound` or `outbound`.
    reporter: &'static str,
    /// Workload and namespace of the caller.
    source: (&'static str, &'static str),
    /// Workload and service of who is called, in [`NAMESPACE`].
    destination: (&'static str, &'static str),
    /// Where it leads.
    to: (&'static str, u16),
}

fn typed(kind: &str, mut body: Value) -> Value {
    body["@type"] = format!("type.googleapis.com/envoy.extensions.{kind}").into();
    body
}

fn address(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}

fn cluster(name: &str, host: &str, port: u16) -> Value {
    json!({
        "name": name, "type": "STRICT_DNS", "dns_lookup_family": "V4_ONLY", "connect_timeout": "60s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(host, port)}}]}]},
    })
}

// === impl Listener ===

impl Listener {
    /// Its name, and that of its cluster.
    fn name(&self) -> String {
        format!("{}-{}", self.reporter, self.port)
    }

    fn access_log(&self) -> Value {
        let (source, source_namespace) = self.source;
        let (destination, service) = self.destination;
        let host = format!("{service}.{NAMESPACE}.svc.cluster.local");
        let tags = [
            ("context.reporter.kind", self.reporter),
            ("source.workload.name", source),
            ("source.workload.namespace", source_namespace),
            ("destination.workload.name", destination),
            ("destination.workload.namespace", NAMESPACE),
            ("destination.service.name", service),
            ("destination.service.namespace", NAMESPACE),
            ("destination.service.host", &*host),
        ];
        let tags = tags.map(|(tag, value)| json!({"tag": tag, "literal": {"value": value}}));
        let log = json!({
            "log_name": "requests", "transport_api_version": "V3", "buffer_size_bytes": 1,
            "grpc_service": {"envoy_grpc": {"cluster_name": "telemetry"}}, "custom_tags": tags,
        });
        let kind = if self.is_http { "Http" } else { "Tcp" };
        let kind = format!("access_loggers.grpc.v3.{kind}GrpcAccessLogConfig");
        json!([{"name": "mixer", "typed_config": typed(&kind, json!({"common_config": log}))}])
    }

    fn listener(&self) -> Value {
        let name = self.name();
        let filter = if self.is_http {
            let router =
                json!({"name": "router", "typed_config": typed("filters.http.router.v3.Router", json!({}))});
            typed(
                "filters.network.http_connection_manager.v3.HttpConnectionManager",
                json!({
                    "stat_prefix": name, "access_log": self.access_log(), "http_filters": [router],
                    "route_config": {"virtual_hosts": [{
                        "name": "all", "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}],
                    }]},
                }),
            )
        } else {
            typed(
                "filters.network.tcp_proxy.v3.TcpProxy",
                json!({
                    "stat_prefix": name, "cluster": name, "access_log": self.access_log(),
                    "access_log_options": {"flush_access_log_on_start": true},
                }),
            )
        };
        json!({
            "name": name, "address": address("0.0.0.0", self.port),
            "filter_chains": [{"filters": [{"name": name, "typed_config": filter}]}],
        })
    }
}

/// The configuration of the Envoy of a pod.
fn bootstrap(pod: &str, listeners: &[Listener]) -> Value {
    let mut telemetry = cluster(
        "telemetry",
        "istio-telemetry.istio-system.svc.cluster.local",
        9091,
    );
    telemetry["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
            "upstreams.http.v3.HttpProtocolOptions",
            json!({"explicit_http_config": {"http2_protocol_options": {}}}),
        ),
    });
    let to = |listener: &Listener| cluster(&listener.name(), listener.to.0, listener.to.1);
    let clusters: Vec<Value> = listeners.iter().map(to).chain([telemetry]).collect();
    let listeners: Vec<Value> = listeners.iter().map(Listener::listener).collect();
    json!({
        "node": {"id": format!("sidecar~10.0.0.1~{pod}.{NAMESPACE}~{NAMESPACE}.svc.cluster.local"), "cluster": pod},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
}

/// A pod with such an Envoy, and containers beside it.
fn pod(name: &str, app: &str, listeners: &[Listener], beside: &[Value]) -> [Value; 2] {
    let envoy = json!({
        "name": "envoy",
        "image": "docker.io/istio/proxyv2:1.1.17",
        "command": ["/usr/local/bin/envoy"],
        "args": ["-c", "/etc/envoy/envoy.json", "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/envoy"}]
    });
    let containers: Vec<&Value> = std::iter::once(&envoy).chain(beside).collect();
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {"envoy.json": bootstrap(name, listeners).to_string()}
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": NAMESPACE, "labels": {"app": app},
            "annotations": {"sidecar.istio.io/inject": "false"}
        },
        "spec": {"containers": containers, "volumes": [{"name": "config", "configMap": {"name": name}}]}
    });
    [map, pod]
}

/// Both pods, and the service of the second.
pub(super) fn manifests() -> String {
    const GATEWAY: (&str, &str) = ("istio-ingressgateway", "istio-system");
    const LOCAL: &str = "127.0.0.1";
    let of_storefront = |port, is_http, reporter, to| Listener {
        port,
        is_http,
        reporter,
        source: GATEWAY,
        destination: (STOREFRONT, "storefront"),
        to,
    };
    let of_catalog = |port, is_http, reporter, to| Listener {
        source: (STOREFRONT, NAMESPACE),
        destination: (CATALOG, "catalog"),
        ..of_storefront(port, is_http, reporter, to)
    };
    let service = "catalog.bookshop.svc.cluster.local";
    let storefront = [
        of_storefront(HTTP, true, "outbound", (LOCAL, 8082)),
        of_storefront(8082, true, "inbound", (LOCAL, 8083)),
        of_catalog(8083, true, "outbound", (service, 3003)),
        of_storefront(TCP, false, "outbound", (LOCAL, 9082)),
        of_storefront(9082, false, "inbound", (LOCAL, 9083)),
        of_catalog(9083, false, "outbound", (service, 9003)),
    ];
    let catalog = [
        of_catalog(3003, true, "inbound", (LOCAL, 80)),
        of_catalog(9003, false, "inbound", (LOCAL, 80)),
    ];
    let application = json!({"name": "httpbin", "image": "docker.io/kennethreitz/httpbin"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "catalog", "namespace": NAMESPACE},
        "spec": {
            "selector": {"app": "catalog"},
            "ports": [{"name": "http", "port": 3003}, {"name": "tcp", "port": 9003}]
        }
    });
    let pods = [
        pod(STOREFRONT, "storefront", &storefront, &[]),
        pod(CATALOG, "catalog", &catalog, &[application]),
    ];
    let documents = pods.into_iter().flatten().chain([service]);
    documents.map(|document| format!("---\n{document}\n")).collect()
}

/// Requests and a connection all the way through.
pub(super) async fn call(mesh: &TestMesh) -> Result<()> {
    for path in PATHS {
        let stream = mesh.mesh().connect(STOREFRONT, HTTP).await?;
        let uri = format!("http://storefront:{HTTP}{path}").parse()?;
        exchange(stream, Method::GET, &uri, &[], "").await?;
    }
    let mut stream = mesh.mesh().connect(STOREFRONT, TCP).await?;
    stream
        .write_all(b"GET /get HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(())
}
