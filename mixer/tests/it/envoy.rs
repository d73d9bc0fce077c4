//! A real Envoy that asks Mixer by services of its own: `ext_authz`, rate limits, access logs.

use std::process::Command;

use axum::Router;
use axum::http::HeaderMap;
use mesh_runtime::Spawner;
use mesh_testing::{Envoy, Process, eventually, ports};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Mixer, PATIENCE, metric, object};

/// Requests that each user may make.
const LIMIT: usize = 3;

fn rules() -> String {
    let limit = format!(
        "{{compiledAdapter: memquota, params: {{quotas: [{{name: requests.instance.istio-system, maxAmount: {LIMIT}, validDuration: 3600s}}]}}}}"
    );
    let prometheus = "{compiledAdapter: prometheus, params: {metrics: [
        {name: calls, instance_name: calls.instance.istio-system, kind: COUNTER, label_names: [path, code, reporter]},
        {name: bytes, instance_name: bytes.instance.istio-system, kind: COUNTER, label_names: [event]}]}}";
    [
        object("handler", "deny", "{compiledAdapter: denier, params: {status: {code: 7, message: Not allowed}}}"),
        object("handler", "limits", &limit),
        object("handler", "shown", prometheus),
        object("instance", "question", "{compiledTemplate: checknothing}"),
        object("instance", "requests", "{compiledTemplate: quota, params: {dimensions: {user: 'source.user | \"nobody\"'}}}"),
        object("instance", "calls", "{compiledTemplate: metric, params: {value: '1', dimensions: {path: 'request.url_path', code: 'response.code', reporter: 'destination.namespace | \"unknown\"'}}}"),
        object("instance", "bytes", "{compiledTemplate: metric, params: {value: 'connection.received.bytes', dimensions: {event: 'connection.event'}}}"),
        object("rule", "denial", "{match: 'request.url_path == \"/denied\" && request.headers[\"x-user\"] == \"mallory\"', actions: [{handler: deny, instances: [question]}]}"),
        object("rule", "headers", "{match: 'context.protocol == \"http\"', requestHeaderOperations: [{name: x-checked, values: ['request.method']}], responseHeaderOperations: [{name: x-mixer, values: ['\"asked\"']}]}"),
        object("rule", "limited", "{match: '(source.user | \"\") != \"admin\"', actions: [{handler: limits, instances: [requests]}]}"),
        object("rule", "counted", "{match: 'context.protocol == \"http\"', actions: [{handler: shown, instances: [calls]}]}"),
        object("rule", "tcp", "{match: 'context.protocol == \"tcp\"', actions: [{handler: shown, instances: [bytes]}]}"),
    ]
    .concat()
}

/// Port 0 of the list is HTTP, port 1 is TCP.
fn bootstrap(mixer: u16, backend: u16, listeners: [u16; 2]) -> Value {
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let endpoints = |name: &str, port: u16| json!({"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]});
    let grpc = json!({"envoy_grpc": {"cluster_name": "mixer"}, "timeout": "60s"});
    let log = json!({
        "log_name": "requests", "transport_api_version": "V3", "grpc_service": grpc, "buffer_size_bytes": 1,
        "custom_tags": [{"tag": "destination.namespace", "literal": {"value": "weather"}}],
    });
    let of = |kind: &str, body: Value| {
        let mut body = body;
        body["@type"] = format!("type.googleapis.com/envoy.extensions.{kind}").into();
        body
    };
    let http = of(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "http",
            "access_log": [{"name": "log", "typed_config": of(
                "access_loggers.grpc.v3.HttpGrpcAccessLogConfig", json!({"common_config": log}))}],
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "rate_limits": [{"actions": [{"request_headers": {"header_name": "x-user", "descriptor_key": "source.user"}}]}],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}],
            }]},
            "http_filters": [
                {"name": "ext_authz", "typed_config": of("filters.http.ext_authz.v3.ExtAuthz", json!({
                    "grpc_service": grpc, "transport_api_version": "V3"}))},
                {"name": "ratelimit", "typed_config": of("filters.http.ratelimit.v3.RateLimit", json!({
                    "domain": "requests", "failure_mode_deny": true, "timeout": "60s",
                    "rate_limit_service": {"grpc_service": grpc, "transport_api_version": "V3"}}))},
                {"name": "router", "typed_config": of("filters.http.router.v3.Router", json!({}))},
            ],
        }),
    );
    let tcp = of(
        "filters.network.tcp_proxy.v3.TcpProxy",
        json!({
            "stat_prefix": "tcp", "cluster": "backend",
            "access_log": [{"name": "log", "typed_config": of(
                "access_loggers.grpc.v3.TcpGrpcAccessLogConfig", json!({"common_config": log}))}],
        }),
    );
    let listener = |name: &str, port: u16, filter: Value| json!({"name": name, "address": address(port), "filter_chains": [{"filters": [{"name": name, "typed_config": filter}]}]});
    let http2 = of(
        "upstreams.http.v3.HttpProtocolOptions",
        json!({"explicit_http_config": {"http2_protocol_options": {}}}),
    );
    json!({
        "node": {"id": "sidecar~10.0.0.1~backend-1.weather~weather.svc.cluster.local", "cluster": "backend"},
        "static_resources": {
            "listeners": [listener("http", listeners[0], http), listener("tcp", listeners[1], tcp)],
            "clusters": [
                {"name": "mixer", "type": "STATIC", "connect_timeout": "60s",
                 "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
                 "load_assignment": endpoints("mixer", mixer)},
                {"name": "backend", "type": "STATIC", "connect_timeout": "60s",
                 "load_assignment": endpoints("backend", backend)},
            ],
        },
    })
}

fn start(envoy: &Envoy, bootstrap: &Value) -> Process {
    let mut command = Command::new(&envoy.path);
    command.args(["--config-yaml", &bootstrap.to_string()]);
    command.args([
        "--use-dynamic-base-id",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
    ]);
    Process::start("envoy", command).unwrap()
}

/// Head and body of the answer to a request.
async fn ask(port: u16, path: &str, user: &str) -> Result<(String, String), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(failed)?;
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: backend\r\nx-user: {user}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(answer.clone())?;
    Ok((head.to_owned(), body.to_owned()))
}

async fn backend() -> u16 {
    let (listener, address) = ports::listen().await.unwrap();
    // Says which headers came.
    let router = Router::new().fallback(async |headers: HeaderMap| format!("{headers:?}"));
    Spawner::default().spawn(
        "backend",
        async move { axum::serve(listener, router).await.unwrap() },
    );
    address.port()
}

#[tokio::test]
async fn design_6_an_envoy_is_served_by_services_of_its_own() {
    for envoy in mesh_testing::envoys() {
        let mut mixer = Mixer::start(&rules(), &[]).await;
        let (http, tcp) = (ports::unused().unwrap(), ports::unused().unwrap());
        let process = start(
            &envoy,
            &bootstrap(mixer.service.port(), backend().await, [http, tcp]),
        );
        // The first request that is answered is one of alice.
        let (head, body) = eventually(PATIENCE, async || match ask(http, "/fine?a=b", "alice").await {
            Ok(answer) if !answer.0.starts_with("HTTP/1.1 5") => Ok(answer),
            other => Err(format!("{other:?}\n{}", process.log())),
        })
        .await
        .unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("x-mixer: asked"),
            "{head}"
        );
        assert!(body.contains("\"x-checked\": \"GET\""), "{body}");

        let (head, body) = ask(http, "/denied", "mallory").await.unwrap();
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        assert!(
            body.contains("PERMISSION_DENIED:deny.istio-system:Not allowed"),
            "{body}"
        );

        // Each user has a limit of his own, and one has none.
        for _ in 1..LIMIT {
            let (head, _) = ask(http, "/fine", "alice").await.unwrap();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        }
        let (head, body) = ask(http, "/fine", "alice").await.unwrap();
        assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
        assert!(
            body.contains("RESOURCE_EXHAUSTED:Quota is exhausted for: requests"),
            "{body}"
        );
        for user in ["bob", "admin", "admin", "admin", "admin"] {
            let (head, _) = ask(http, "/fine", user).await.unwrap();
            assert!(head.starts_with("HTTP/1.1 200 "), "{user}: {head}");
        }
        let mut stream = TcpStream::connect(("127.0.0.1", tcp)).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: backend\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        drop(stream);

        let length = u32::try_from(request.len()).unwrap();
        let expected = [
            (
                "istio_calls{code=\"200\",path=\"/fine\",reporter=\"weather\"}",
                8.0,
            ),
            (
                "istio_calls{code=\"403\",path=\"/denied\",reporter=\"weather\"}",
                1.0,
            ),
            (
                "istio_calls{code=\"429\",path=\"/fine\",reporter=\"weather\"}",
                1.0,
            ),
            ("istio_bytes{event=\"close\"}", f64::from(length)),
        ];
        eventually(PATIENCE, async || {
            let text = mixer.scrape().await.join("\n");
            match expected
                .iter()
                .all(|(series, value)| metric(&text, series) == *value)
            {
                true => Ok(()),
                false => Err(text),
            }
        })
        .await
        .unwrap_or_else(|error| panic!("{envoy}: {error}\n{}", mixer.log()));
        let method = "grpc_server_method=\"envoy.service.auth.v3.Authorization/Check\"";
        let series = format!("grpc_io_server_completed_rpcs{{{method},grpc_server_status=\"OK\"}}");
        assert!(mixer.metric(&series).await >= 10.0);
    }
}

/// What nobody can decide is an error of the call: `failure_mode_allow` decides, which is off here.
#[tokio::test]
async fn design_6_an_envoy_keeps_its_own_policy_for_failures() {
    let Some(envoy) = mesh_testing::envoy() else {
        return;
    };
    let rules = [
        object(
            "handler",
            "deny",
            "{compiledAdapter: listchecker, params: {overrides: [a]}}",
        ),
        object(
            "instance",
            "entry",
            "{compiledTemplate: listentry, params: {value: 'source.name'}}",
        ),
        object(
            "rule",
            "check",
            "{actions: [{handler: deny, instances: [entry]}]}",
        ),
    ];
    let mixer = Mixer::start(&rules.concat(), &[]).await;
    let (http, tcp) = (ports::unused().unwrap(), ports::unused().unwrap());
    let process = start(
        &envoy,
        &bootstrap(mixer.service.port(), backend().await, [http, tcp]),
    );
    eventually(PATIENCE, async || match ask(http, "/", "alice").await {
        Ok((head, _)) if head.starts_with("HTTP/1.1 403 ") => Ok(()),
        other => Err(format!("{other:?}\n{}", process.log())),
    })
    .await
    .unwrap();
    let method = "grpc_server_method=\"envoy.service.auth.v3.Authorization/Check\"";
    let series = format!("grpc_io_server_completed_rpcs{{{method},grpc_server_status=\"INTERNAL\"}}");
    assert!(mixer.metric(&series).await >= 1.0);
}
