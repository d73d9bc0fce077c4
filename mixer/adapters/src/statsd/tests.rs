//! The packets that are sent.

use std::time::Duration;

use anyhow::ensure;
use mesh_api::Any;
use mesh_api::istio::policy::v1beta1::ValueType;
use mesh_api::metric::Type;
use mesh_testing::eventually;
use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_attribute::Value as Attribute;
use mixer_template::{Metric, Template};
use prost::Message as _;
use prost_types::Duration as Span;
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use super::Statsd;
use crate::testing::{build, build_for, now, refusal};

/// Longer than a packet takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

async fn statsd() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

async fn packet(socket: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_536];
    let received = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
    let length = received.expect("a packet comes").unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

fn params(address: &str, more: &Value) -> Value {
    let mut params = json!({"address": address, "metrics": {
        "c.metric.ns": {"type": "COUNTER"},
        "g.metric.ns": {"type": "GAUGE", "name_template": "gauge.{{.svc}}"},
        "d.metric.ns": {"type": "DISTRIBUTION", "name_template": "time"},
    }});
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    params
}

fn sample<'a>(name: &'a str, value: Attribute<'a>) -> Metric<'a> {
    Metric {
        name,
        value: Some(value),
        dimensions: vec![("svc", "a:b".into())],
        ..Metric::default()
    }
}

#[tokio::test]
async fn statsd_complies() {
    let (_socket, address) = statsd().await;
    let expected = Compliance {
        accepts: vec![
            params(&address, &json!({})),
            params(
                &address,
                &json!({"prefix": "p", "flush_bytes": -1, "flush_duration": "0s", "sampling_rate": 0.5}),
            ),
        ],
        rejects: vec![
            (json!({"address": "nowhere"}), "address"),
            (json!({"flushDuration": "-1s"}), "flushDuration"),
            (json!({"samplingRate": "NaN"}), "samplingRate"),
            (json!({"metrics": {"a": {"type": "UNKNOWN"}}}), "metrics[a].type"),
        ],
        inferred: [("c.metric.ns".to_owned(), (Template::Metric, Any::default()))].into(),
        ..Compliance::default()
    };
    assert_compliance(&Statsd, &expected).await;
}

/// M30.
#[tokio::test]
async fn m30_metrics_are_sent_with_prefix_and_type() {
    let (socket, address) = statsd().await;
    let handler = build(&Statsd, params(&address, &json!({"prefix": "mesh"})))
        .await
        .unwrap();
    let span = Span {
        seconds: 1,
        nanos: 2_500_000,
    };
    let metrics = [
        sample("c.metric.ns", Attribute::Int64(2)),
        sample("g.metric.ns", Attribute::Int64(3)),
        sample("g.metric.ns", Attribute::Int64(-3)),
        sample("d.metric.ns", Attribute::Duration(span)),
        sample("d.metric.ns", Attribute::Int64(4)),
    ];
    now(handler.metric().handle_metric(&metrics)).unwrap();
    // By the time: nothing else comes.
    assert_eq!(
        packet(&socket).await,
        "mesh.c.metric.ns:2|c\nmesh.gauge.a_b:3|g\nmesh.gauge.a_b:0|g\nmesh.gauge.a_b:-3|g\n\
         mesh.time:1002.5|ms\nmesh.time:4|c"
    );
    for (bad, reason) in [
        (
            sample("g.metric.ns", Attribute::Double(1.0)),
            "g.metric.ns: \"1\" is no value of a Gauge",
        ),
        (
            sample("x.metric.ns", Attribute::Int64(1)),
            "x.metric.ns: the handler has no metric for it",
        ),
    ] {
        let good = sample("c.metric.ns", Attribute::Int64(1));
        assert_eq!(
            now(handler.metric().handle_metric(&[bad, good])),
            Err(reason.to_owned())
        );
    }
    handler.close().await;
    assert_eq!(
        packet(&socket).await,
        "mesh.c.metric.ns:1|c\nmesh.c.metric.ns:1|c"
    );
}

/// M30: a real statsd counts what it is sent, by its own words.
#[tokio::test(flavor = "multi_thread")]
async fn m30_statsd_counts_what_it_is_sent() {
    let statsd = mesh_testing::statsd::Statsd::start().await.unwrap();
    let params = params(&statsd.address(), &json!({"prefix": "mesh", "flush_bytes": 60}));
    let handler = build(&Statsd, params).await.unwrap();
    let span = Span {
        seconds: 1,
        nanos: 2_500_000,
    };
    for round in 1..=10 {
        let metrics = [
            sample("c.metric.ns", Attribute::Int64(round)),
            sample("g.metric.ns", Attribute::Int64(round)),
            sample("g.metric.ns", Attribute::Int64(-round)),
            sample("d.metric.ns", Attribute::Duration(span)),
        ];
        now(handler.metric().handle_metric(&metrics)).unwrap();
    }
    handler.close().await;
    eventually(PATIENCE, async || {
        let (counters, gauges, timers) = (
            statsd.ask("counters").await?,
            statsd.ask("gauges").await?,
            statsd.ask("timers").await?,
        );
        ensure!(counters.contains("'mesh.c.metric.ns': 55"), "{counters}");
        ensure!(counters.contains("'statsd.bad_lines_seen': 0"), "{counters}");
        ensure!(gauges.contains("'mesh.gauge.a_b': -10"), "{gauges}");
        ensure!(timers.matches("1002.5").count() == 10, "{timers}");
        Ok(())
    })
    .await
    .unwrap();
}

/// Values for nobody are lost; the handler goes on, and is heard as soon as somebody is there.
#[tokio::test]
async fn a_statsd_that_is_not_there_harms_nobody() {
    let (socket, address) = statsd().await;
    drop(socket);
    let more = json!({"flush_duration": "1ms"});
    let handler = build(&Statsd, params(&address, &more)).await.unwrap();
    let report = || {
        let one = [sample("c.metric.ns", Attribute::Int64(1))];
        now(handler.metric().handle_metric(&one))
    };
    let faults = handler.faults();
    eventually(PATIENCE, async || {
        report().unwrap();
        ensure!(
            faults.of("send") > 0 && faults.of("dropped") > 0,
            "nothing is lost"
        );
        Ok(())
    })
    .await
    .unwrap();
    let socket = UdpSocket::bind(&address).await.unwrap();
    let heard = packet(&socket);
    tokio::pin!(heard);
    let text = loop {
        tokio::select! {
            text = &mut heard => break text,
            () = tokio::time::sleep(Duration::from_millis(5)) => report().unwrap(),
        }
    };
    assert!(text.starts_with("c.metric.ns:1|c"), "{text}");
    handler.close().await;
}

/// M30: by size, long before the time.
#[tokio::test]
async fn m30_packets_have_a_size() {
    let (socket, address) = statsd().await;
    let more = json!({"flush_bytes": 40, "flush_duration": "1h"});
    let handler = build(&Statsd, params(&address, &more)).await.unwrap();
    let metrics: Vec<_> = (0..5)
        .map(|n| sample("c.metric.ns", Attribute::Int64(n)))
        .collect();
    now(handler.metric().handle_metric(&metrics)).unwrap();
    assert_eq!(packet(&socket).await, "c.metric.ns:0|c\nc.metric.ns:1|c");
    assert_eq!(packet(&socket).await, "c.metric.ns:2|c\nc.metric.ns:3|c");
    handler.close().await;
    assert_eq!(packet(&socket).await, "c.metric.ns:4|c");
}

#[tokio::test]
async fn a_share_is_sent_and_says_so() {
    let (socket, address) = statsd().await;
    let more = json!({"sampling_rate": 0.25, "flush_duration": "1h"});
    let handler = build(&Statsd, params(&address, &more)).await.unwrap();
    let metrics: Vec<_> = (0..8)
        .map(|n| sample("c.metric.ns", Attribute::Int64(n)))
        .collect();
    now(handler.metric().handle_metric(&metrics)).unwrap();
    handler.close().await;
    assert_eq!(
        packet(&socket).await,
        "c.metric.ns:3|c|@0.25\nc.metric.ns:7|c|@0.25"
    );
}

/// `spec 02` §7.3: a name that does not fit the instance disables that entry, no other.
#[tokio::test]
async fn a_name_that_does_not_fit_disables_its_metric() {
    let (socket, address) = statsd().await;
    let known = Type {
        value: ValueType::Int64.into(),
        dimensions: [("other".to_owned(), ValueType::String.into())].into(),
        ..Type::default()
    };
    let any = Any {
        type_url: "type.googleapis.com/metric.Type".to_owned(),
        value: known.encode_to_vec().into(),
    };
    let inferred = [("g.metric.ns".to_owned(), (Template::Metric, any))].into();
    let handler = build_for(&Statsd, params(&address, &json!({})), &inferred)
        .await
        .unwrap();
    let metrics = [
        sample("g.metric.ns", Attribute::Int64(1)),
        sample("c.metric.ns", Attribute::Int64(1)),
    ];
    let error = now(handler.metric().handle_metric(&metrics)).unwrap_err();
    assert_eq!(error, "g.metric.ns: the handler has no metric for it");
    handler.close().await;
    assert_eq!(packet(&socket).await, "c.metric.ns:1|c");
}

#[test]
fn what_is_wrong_is_named() {
    for (params, expected) in [
        (
            json!({"address": "statsd:0"}),
            "address: it needs a host and a port",
        ),
        (
            json!({"flush_duration": "-1s"}),
            "flushDuration: must not be negative",
        ),
        (
            json!({"sampling_rate": -0.5}),
            "samplingRate: it is not 0 or more",
        ),
        (
            json!({"metrics": {"a": {}}}),
            "metrics[a].type: it must be one of COUNTER, GAUGE, DISTRIBUTION",
        ),
        (
            json!({"metrics": {"a": {"type": "GAUGE", "name_template": "{{"}}}),
            "metrics[a].nameTemplate: {{ is not closed",
        ),
    ] {
        assert_eq!(refusal(&Statsd, &params), expected);
    }
}
