//! The admin interface over a real socket.

use std::net::SocketAddr;

use clap::Parser;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::log::Scope;
use crate::version::VERSION;

const SCOPES: &[Scope] = &[Scope {
    name: "ads",
    description: "Discovery streams",
    targets: &["pilot_xds"],
}];

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    admin: AdminArgs,
}

fn args(flags: &[&str]) -> AdminArgs {
    Cli::try_parse_from(["test"].iter().chain(flags)).unwrap().admin
}

async fn serve() -> (Runtime, SocketAddr) {
    serve_at("127.0.0.1:0").await
}

async fn serve_at(address: &str) -> (Runtime, SocketAddr) {
    let runtime = Runtime::builder("pilot-discovery")
        .scopes(SCOPES)
        .build()
        .unwrap();
    let flags = args(&["--monitoringAddr", address, "--ctrlz_address="]);
    let addresses = runtime.spawn_admin(&flags, runtime.admin_router()).await.unwrap();
    (runtime, addresses.monitoring.unwrap())
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, "").await
}

#[test]
fn flags_have_istios_names_and_defaults() {
    let defaults = args(&[]);
    assert_eq!(format!("{defaults:?}"), format!("{:?}", AdminArgs::default()));
    let show = |(flag, address): (&str, ListenAddr)| format!("{flag} {address}");
    assert_eq!(show(defaults.monitoring()), "--monitoringAddr :15014");
    assert_eq!(defaults.ctrlz().to_string(), "127.0.0.1:9876");
    assert_eq!(
        show(args(&["--monitoringPort=15093"]).monitoring()),
        "--monitoringPort :15093"
    );
    assert_eq!(args(&["--monitoringAddr="]).monitoring().1, ListenAddr::DISABLED);
    assert_eq!(args(&["--ctrlz_address="]).ctrlz(), ListenAddr::DISABLED);
    assert!(Cli::try_parse_from(["test", "--monitoringAddr=:1", "--monitoringPort=1"]).is_err());
}

#[tokio::test]
async fn ready_names_what_is_pending_until_it_is_done() {
    let (runtime, address) = serve().await;
    let sync = runtime.readiness().task("config sync");
    let cache = runtime.readiness().task("cache");
    let answer = get(address, "/ready").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (503, "pending: cache\npending: config sync\n")
    );
    drop((sync, cache));
    let answer = get(address, "/ready").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ready\n"));
}

#[tokio::test]
async fn ready_says_no_and_live_says_yes_while_draining() {
    let (runtime, address) = serve().await;
    runtime.readiness().drain();
    let answer = get(address, "/ready").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "draining\n"));
    assert_eq!(get(address, "/live").await.status, 200);
}

#[tokio::test]
async fn metrics_are_in_prometheus_text_format() {
    let (runtime, address) = serve().await;
    runtime
        .metrics()
        .counter("pilot_total_xds_rejects", "Rejects")
        .unwrap()
        .inc_by(3);
    let answer = get(address, "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("\r\ncontent-type: text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
    let build = format!("istio_build{{component=\"pilot-discovery\",tag=\"{VERSION}\"}} 1");
    for line in ["pilot_total_xds_rejects 3", &build] {
        assert!(
            answer.body.lines().any(|l| l == line),
            "{line} is missing in:\n{}",
            answer.body
        );
    }
}

#[tokio::test]
async fn version_tells_what_was_built() {
    let (_runtime, address) = serve().await;
    let answer = get(address, "/version").await;
    assert_eq!(answer.status, 200);
    let json = answer.json();
    assert_eq!(json["component"], "pilot-discovery");
    assert_eq!(json["version"], VERSION);
    assert!(json["revision"].is_string());
}

#[tokio::test]
async fn scopez_lists_and_sets_levels() {
    let (runtime, address) = serve().await;
    let ads = |level: &str| json!({"name": "ads", "description": "Discovery streams", "output_level": level, "log_callers": false});
    let listed = get(address, "/scopez").await.json();
    assert!(listed.as_array().unwrap().contains(&ads("info")), "{listed}");
    assert_eq!(get(address, "/scopez/ads").await.json(), ads("info"));

    assert_eq!(
        request(address, "PUT", "/scopez/ads", "debug").await.json(),
        ads("debug")
    );
    let as_ctrlz_sends_it = r#"{"name":"ads","output_level":"warn","stack_trace_level":"none"}"#;
    assert_eq!(
        request(address, "PUT", "/scopez/ads", as_ctrlz_sends_it)
            .await
            .json(),
        ads("warn")
    );
    assert_eq!(runtime.log().scope("ads").unwrap().output_level, Level::Warn);
}

#[tokio::test]
async fn scopez_refuses_what_does_not_exist_with_a_reason() {
    let (_runtime, address) = serve().await;
    for (method, path, body, status, reason) in [
        ("GET", "/scopez/nope", "", 404, "unknown scope \"nope\"\n"),
        ("PUT", "/scopez/nope", "info", 404, "unknown scope \"nope\"\n"),
        (
            "PUT",
            "/scopez/ads",
            "loud",
            400,
            "unknown level \"loud\": one of debug, info, warn, error, fatal, none is expected\n",
        ),
        (
            "PUT",
            "/scopez/ads",
            "{}",
            400,
            "missing field `output_level` at line 1 column 2\n",
        ),
        ("POST", "/scopez/ads", "info", 405, ""),
    ] {
        let answer = request(address, method, path, body).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (status, reason),
            "{method} {path} {body}"
        );
    }
}

#[tokio::test]
async fn levels_cannot_be_set_from_another_machine() {
    use tower::ServiceExt as _;
    let (runtime, _address) = serve().await;
    let local = "10.0.0.1:15014".parse().unwrap();
    for (remote, status) in [
        ("10.0.0.2:4000", 403),
        ("127.0.0.1:4000", 200),
        ("[::1]:4000", 200),
    ] {
        let mut request = Request::new(axum::body::Body::from("debug"));
        *request.method_mut() = axum::http::Method::PUT;
        *request.uri_mut() = "/scopez/ads".parse().unwrap();
        request.extensions_mut().insert(Peer {
            remote: remote.parse().unwrap(),
            local,
        });
        let answer = runtime.admin_router().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "from {remote}");
    }
}

#[tokio::test]
async fn a_client_on_a_dual_stack_socket_is_seen_as_local() {
    let (_runtime, address) = serve_at(":0").await;
    let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    assert_eq!(request(address, "PUT", "/scopez/ads", "debug").await.status, 200);
}

#[tokio::test]
async fn a_service_merges_its_own_routes() {
    let runtime = Runtime::builder("galley").build().unwrap();
    let router = runtime
        .admin_router()
        .route("/debug/configz", get_route("configs"));
    let flags = args(&[
        "--monitoringAddr=127.0.0.1:0",
        "--ctrlz_address=127.0.0.1",
        "--ctrlz_port=0",
    ]);
    let addresses = runtime.spawn_admin(&flags, router).await.unwrap();
    for address in [addresses.monitoring.unwrap(), addresses.ctrlz.unwrap()] {
        assert_eq!(get(address, "/debug/configz").await.body, "configs");
        assert_eq!(get(address, "/live").await.body, "live\n");
    }
}

fn get_route(text: &'static str) -> axum::routing::MethodRouter {
    axum::routing::get(async move || text)
}
