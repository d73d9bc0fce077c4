//! Spans of requests, as a real Zipkin gets them from sidecars. There is no Mixer in this mesh.

mod zipkin;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use e2e::mesh::{Component, Mesh};
use e2e::sample::echo::Echo;
use futures::future::try_join_all;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use self::zipkin::Zipkin;
use crate::support::{TestMesh, rules};

/// What `pilot-discovery` takes the share from.
const SAMPLING: &str = "PILOT_TRACE_SAMPLING";
/// The pod of the application that shows the headers of its requests, and its port.
const ECHO: (&str, u16) = ("echo", 8080);
/// Connections over which requests are sent at the same time.
const CONNECTIONS: u32 = 4;

/// One Zipkin and one mesh for all of them: both take seconds to start.
#[tokio::test(flavor = "multi_thread")]
async fn m32_m63_m64_sidecars_report_requests_to_zipkin() {
    let builder = Mesh::builder()
        .without(Component::Policy)
        .without(Component::Telemetry)
        .env(Component::Pilot, SAMPLING, "100.0");
    let mesh = TestMesh::start_as(builder, &["weather", "../tests/mesh/tracing/mesh.yaml"]).await;
    let zipkin = Zipkin::start(&mesh).await;
    m32_the_bootstrap_names_the_collector(&mesh).await;
    m64_a_request_is_one_trace(&mesh, &zipkin).await;
    m63_so_many_requests_are_traced(&mesh, &zipkin).await;
}

/// M32: where the collector is, is a parameter of the start of the proxy.
async fn m32_the_bootstrap_names_the_collector(mesh: &TestMesh) {
    let dump = mesh.admin("frontend-v1-0", "config_dump").await.expect("a dump");
    let dump: Value = serde_json::from_str(&dump).expect("JSON");
    let configs = dump["configs"].as_array().expect("a list").iter();
    let clusters =
        configs.filter_map(|config| config["bootstrap"]["static_resources"]["clusters"].as_array());
    let collector = clusters.flatten().find(|cluster| cluster["name"] == "zipkin");
    let endpoints = &collector.expect("a collector")["load_assignment"]["endpoints"];
    let address = &endpoints[0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"];
    assert_eq!(
        (&address["address"], &address["port_value"]),
        (&Value::from("zipkin.istio-system"), &Value::from(9411)),
    );
}

/// M64, `TEL-10`, `TEL-11`: of the four services of the weather application there is one trace with seven spans, since they
/// pass the headers on. A span is at either end of each call, and where the request comes in: the gateway has no collector.
async fn m64_a_request_is_one_trace(mesh: &TestMesh, zipkin: &Zipkin<'_>) {
    // The one that calls recommendation.
    mesh.enforce(&rules("weather-rules/forecast-weight-0-100.yaml"))
        .await;
    mesh.eventually("every service answers", async || {
        let page = mesh.get("/api/weather", &[]).await?;
        let all = page.body.contains("recommendation-") && !page.body.contains("\"error\"");
        ensure!(page.status == 200 && all, "{}: {}", page.status, page.body);
        Ok(())
    })
    .await;
    let page = mesh
        .get("/api/weather?city=Paris&id=m64", &[])
        .await
        .expect("a page");
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(!page.body.contains("\"error\""), "{}", page.body);

    mesh.eventually("there is one trace of seven spans", async || {
        let traces = zipkin.traces("frontend.weather", "id=m64").await?;
        ensure!(traces.len() == 1, "{} traces", traces.len());
        let spans = &traces[0];
        ensure!(spans.len() == 7, "{} spans: {spans:?}", spans.len());
        Ok(())
    })
    .await;
    let traces = zipkin
        .traces("frontend.weather", "id=m64")
        .await
        .expect("a trace");
    let spans: BTreeMap<&str, &Value> = traces[0]
        .iter()
        .map(|span| (span["id"].as_str().expect("an id"), span))
        .collect();
    assert_eq!(spans.len(), 7, "each has an id of its own: {spans:?}");
    let service = |span: &Value| {
        let name = span["localEndpoint"]["serviceName"].as_str();
        name.expect("a name").to_owned()
    };
    let mut calls = Vec::new();
    for span in spans.values() {
        let tags = &span["tags"];
        assert_eq!(tags["http.method"], "GET", "{span}");
        assert_eq!(tags["http.status_code"], "200", "{span}");
        assert!(tags["guid:x-request-id"].is_string(), "{span}");
        let parent = span["parentId"].as_str().map(|id| spans[id]);
        calls.push(match (span["kind"].as_str(), parent) {
            (Some("SERVER"), None) => ("outside".to_owned(), service(span)),
            (Some("SERVER"), Some(parent)) => {
                assert_eq!(parent["kind"], "CLIENT", "{parent}");
                (service(parent), service(span))
            }
            (Some("CLIENT"), Some(parent)) => {
                assert_eq!(
                    (&parent["kind"], service(parent)),
                    (&Value::from("SERVER"), service(span))
                );
                continue;
            }
            _ => panic!("{span}"),
        });
    }
    calls.sort();
    let of_weather = |(from, to): &(String, String)| format!("{from} {to}").replace(".weather", "");
    assert_eq!(
        calls.iter().map(of_weather).collect::<Vec<_>>(),
        [
            "forecast recommendation",
            "frontend advertisement",
            "frontend forecast",
            "outside frontend",
        ]
    );
    let requests: BTreeSet<_> = spans
        .values()
        .map(|span| span["tags"]["guid:x-request-id"].to_string())
        .collect();
    assert_eq!(
        requests.len(),
        1,
        "the id of the request is passed on: {requests:?}"
    );
}

/// M63, `TEL-12`: the share of the requests that are traced is the one that Pilot was told; Zipkin has those that the
/// application was told to be traced, and no others.
async fn m63_so_many_requests_are_traced(mesh: &TestMesh, zipkin: &Zipkin<'_>) {
    for (percent, requests) in [(100_u16, 200), (25, 1000), (1, 3000)] {
        let share = format!("{percent}.0");
        mesh.mesh()
            .set_env(Component::Pilot, SAMPLING, &share)
            .await
            .expect("set");
        mesh.eventually(&format!("{percent} % are traced"), async || {
            let shares = shares(mesh).await?;
            ensure!(shares == BTreeSet::from([percent.into()]), "{shares:?}");
            Ok(())
        })
        .await;

        // Connections from before keep what they began under.
        let path = format!("/at-{percent}-percent");
        let each = requests / CONNECTIONS;
        let answers = (0..CONNECTIONS).map(|_| over_one_connection(mesh, &path, each));
        let answers = try_join_all(answers).await.expect("answers").concat();
        let traced: BTreeSet<&str> = answers
            .iter()
            .filter(|headers| headers["x-b3-sampled"] == "1")
            .map(|headers| headers["x-b3-traceid"].as_str())
            .collect();
        let expected = expected(requests, percent);
        assert!(
            expected.contains(&traced.len()),
            "{} of {requests} at {percent} %, not {expected:?}",
            traced.len()
        );
        mesh.eventually("Zipkin has these traces", async || {
            let traces = zipkin.traces("echo.weather", &path).await?;
            let ids: BTreeSet<&str> = traces
                .iter()
                .filter_map(|trace| trace[0]["traceId"].as_str())
                .collect();
            ensure!(ids == traced, "{} traces, not {}", ids.len(), traced.len());
            Ok(())
        })
        .await;
    }
}

/// What the listeners of the application's proxy have as their shares, in percent.
async fn shares(mesh: &TestMesh) -> Result<BTreeSet<u64>> {
    fn collect(value: &Value, shares: &mut BTreeSet<u64>) {
        match value {
            Value::Object(object) => {
                // A share of 0 would be an object without a value.
                let share = object.get("random_sampling");
                shares.extend(share.map(|share| share["value"].as_u64().unwrap_or_default()));
                object.values().for_each(|value| collect(value, shares));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, shares)),
            _ => {}
        }
    }
    let dump = mesh
        .admin(ECHO.0, "config_dump?resource=dynamic_listeners")
        .await?;
    let mut shares = BTreeSet::new();
    collect(&serde_json::from_str(&dump)?, &mut shares);
    Ok(shares)
}

/// Sends requests to the pod of the application, one after another; what headers it saw.
async fn over_one_connection(
    mesh: &TestMesh,
    path: &str,
    requests: u32,
) -> Result<Vec<BTreeMap<String, String>>> {
    let stream = mesh.mesh().connect(ECHO.0, ECHO.1).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answers = async move {
        let mut answers = Vec::new();
        for _ in 0..requests {
            let request = Request::get(path)
                .header(header::HOST, ECHO.0)
                .body(Empty::<Bytes>::new())?;
            let body = sender.send_request(request).await?.collect().await?.to_bytes();
            let echo: Echo = serde_json::from_slice(&body).context("no answer of the test double")?;
            answers.push(echo.headers);
        }
        anyhow::Ok(answers)
    };
    // The connection ends once nobody can send any more.
    let (answers, connection) = tokio::join!(answers, connection);
    let answers = answers?;
    connection?;
    Ok(answers)
}

/// How many of so many requests are traced, but for a chance of less than one in a billion: half of that is beyond either
/// end of the binomial distribution.
fn expected(requests: u32, percent: u16) -> RangeInclusive<usize> {
    const BEYOND: f64 = 0.5e-9;
    let all = requests as usize;
    let share = f64::from(percent) / 100.0;
    if percent == 100 {
        return all..=all;
    }
    let rest = 1.0 - share;
    let mut chance = (f64::from(requests) * rest.ln()).exp();
    // Of at most so many.
    let mut sum = 0.0;
    let (mut least, mut most) = (None, 0);
    for traced in 0..=requests {
        sum += chance;
        if sum >= BEYOND {
            least.get_or_insert(traced as usize);
        }
        most = traced as usize;
        if 1.0 - sum < BEYOND {
            break;
        }
        chance *= f64::from(requests - traced) / f64::from(traced + 1) * share / rest;
    }
    least.unwrap_or_default()..=most
}

#[test]
fn the_share_of_the_requests_is_bounded_as_tables_of_the_distribution_have_it() {
    assert_eq!(expected(10, 100), 10..=10);
    // The chance of none is 2⁻³⁰, 0.93e-9, and so is that of all: both may happen.
    assert_eq!(expected(30, 50), 0..=30);
    // 2⁻³² is less than half of 1e-9.
    assert_eq!(expected(32, 50), 1..=31);
}
