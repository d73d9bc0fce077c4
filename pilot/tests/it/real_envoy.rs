//! A real Envoy that rejects an object of which nobody knew that it would.

use std::process::Command;
use std::time::Instant;

use mesh_testing::{Envoy, Process, eventually, ports};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::PATIENCE;
use crate::galley::Galley;
use crate::pilot::{INGRESS, Pilot};

/// Hosts with a VirtualService each.
const COUNT: usize = 1000;
/// The one whose VirtualService is bad.
const BAD: usize = 321;

/// An Envoy with less patience for regular expressions than ours have: a large one spoils all routes of a port.
fn bootstrap(node: &Value, xds: u16, admin: u16) -> String {
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let ads = json!({"ads": {}, "resource_api_version": "V3"});
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    json!({
        "node": node,
        "layered_runtime": {"layers": [
            {"name": "static", "static_layer": {"re2.max_program_size.error_level": 100}},
        ]},
        "admin": {"address": address(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC", "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": ads, "lds_config": ads,
        },
        "static_resources": {"clusters": [{
            "name": "xds", "type": "STATIC", "connect_timeout": "5s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
            "load_assignment": {"cluster_name": "xds", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(xds)}}]},
            ]},
        }]},
    })
    .to_string()
}

/// Starts an Envoy of this node, with its admin interface on a port, that asks the Pilot on another.
pub(crate) fn command(envoy: &Envoy, node: &Value, xds: u16, admin: u16) -> Command {
    let mut command = Command::new(&envoy.path);
    command.args(["--config-yaml", &bootstrap(node, xds, admin)]);
    command.args([
        "--use-dynamic-base-id",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
    ]);
    command
}

fn redirect(number: usize, condition: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService,
           metadata: {{name: host-{number}, namespace: weather}},
           spec: {{hosts: [host-{number}.example.com], gateways: [istio-system/edge],
                   http: [{{match: [{{uri: {{{condition}}}}}], redirect: {{uri: /there}}}}]}}}}"
    )
}

/// The whole answer to a request.
pub(crate) async fn get(port: u16, host: &str, path: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(failed)?;
    Ok(answer)
}

/// The status of a request to one of the hosts.
async fn status(port: u16, number: usize) -> Result<u16, String> {
    let answer = get(port, &format!("host-{number}.example.com"), "/here").await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn pain_10_one_bad_object_among_a_thousand_harms_none_of_the_others() {
    let Some(envoy) = mesh_testing::envoy() else {
        return;
    };
    let (port, admin) = (ports::unused().unwrap(), ports::unused().unwrap());
    let mut galley = Galley::start();
    galley.set(&format!(
        "{{apiVersion: networking.istio.io/v1alpha3, kind: Gateway, metadata: {{name: edge, namespace: istio-system}},
          spec: {{selector: {{istio: ingressgateway}},
                  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ['*']}}]}}}}"
    ));
    // RE2 writes the repetition out.
    let bad = redirect(BAD, "regex: '/[a-z]{1,400}'");
    let good = |number| redirect(number, "prefix: /here");
    for number in 0..COUNT {
        galley.set(&if number == BAD { bad.clone() } else { good(number) });
    }
    galley.publish();
    let pilot = Pilot::of(&galley).await;
    let node = json!({"id": INGRESS, "cluster": "istio-ingressgateway"});
    let command = command(&envoy, &node, pilot.addresses.xds.unwrap().port(), admin);
    let process = Process::start("envoy", command).unwrap();

    // It comes for the first time, and everything is new to it.
    let has = async |text: &str, count: usize| {
        eventually(PATIENCE, async || {
            let dump = get(admin, "envoy", "/config_dump?resource=dynamic_route_configs").await?;
            match dump.matches(text).count() {
                found if found == count => Ok(()),
                found => Err(format!("{found} times {text}; {}", process.log())),
            }
        })
        .await
        .unwrap();
    };
    let has_routes = async |count: usize| has("\"name\": \"host-", count).await;
    let named = async || {
        let isolated = eventually(PATIENCE, async || {
            let status = pilot.json("/debug/push_status").await;
            let isolated = status["isolated"].as_object().unwrap().clone();
            if isolated.is_empty() {
                Err(status)
            } else {
                Ok(isolated)
            }
        })
        .await
        .unwrap();
        let keys: Vec<&String> = isolated.keys().collect();
        assert_eq!(keys, [&format!("VirtualService weather/host-{BAD}")]);
        pilot.until_metric("pilot_isolated_configs", 1.0).await;
    };
    let all_but_one_answer = async || {
        // Envoy waits before it closes a connection.
        let mut answers = JoinSet::new();
        for number in 0..COUNT {
            answers.spawn(async move { (number, status(port, number).await) });
        }
        for (number, answer) in answers.join_all().await {
            let expected = if number == BAD { 404 } else { 301 };
            assert_eq!(answer, Ok(expected), "host-{number}");
        }
    };
    let whole_again = async |since: Instant| {
        has_routes(COUNT).await;
        let repaired = since.elapsed();
        assert_eq!(status(port, BAD).await, Ok(301));
        pilot.until_metric("pilot_isolated_configs", 0.0).await;
        repaired
    };
    eventually(PATIENCE, async || status(port, 0).await.map(drop))
        .await
        .unwrap();
    let started = Instant::now();
    has_routes(COUNT - 1).await;
    let live = started.elapsed();
    named().await;
    let named_after = started.elapsed();
    println!("a new proxy: the others live after {live:?}, the bad one named after {named_after:?}");
    all_but_one_answer().await;

    // It is repaired.
    let repair = Instant::now();
    galley.apply(&good(BAD));
    let repaired = whole_again(repair).await;
    println!("live {repaired:?} after its repair");

    // All of them change at once, and one of them for the worse.
    for number in 0..COUNT {
        galley.set(&if number == BAD {
            bad.clone()
        } else {
            redirect(number, "prefix: /her")
        });
    }
    let edit = Instant::now();
    galley.publish();
    has("\"prefix\": \"/her\"", COUNT - 1).await;
    let live = edit.elapsed();
    named().await;
    let named_after = edit.elapsed();
    all_but_one_answer().await;
    let repair = Instant::now();
    galley.apply(&good(BAD));
    let repaired = whole_again(repair).await;
    println!(
        "{COUNT} changed: the others live after {live:?}, the bad one named after {named_after:?}, \
         live after repair in {repaired:?}"
    );

    // Another one is spoiled while its neighbour changes.
    galley.set(&redirect(5, "regex: '/[a-z]{1,400}'"));
    galley.apply(&redirect(6, "prefix: /other"));
    has_routes(COUNT - 1).await;
    assert_eq!(status(port, 5).await, Ok(404));
    assert_eq!(status(port, 6).await, Ok(404));
    assert_eq!(status(port, 7).await, Ok(301));
}
