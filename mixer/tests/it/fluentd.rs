//! The adapter fluentd in a whole Mixer.

use mesh_api::istio::mixer::v1::{CompressedAttributes, ReportRequest};
use mesh_testing::eventually;
use mesh_testing::fluentd::FluentReceiver;
use prost_types::{Duration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Mixer, PATIENCE, attributes, object};

const VOCABULARY: &str = "{attributes: {request.time: {valueType: TIMESTAMP}, \
    source.workload.name: {valueType: STRING}, destination.service.host: {valueType: STRING}, \
    response.code: {valueType: INT64}, response.duration: {valueType: DURATION}}}";

/// F-3 with another address.
fn configuration(address: &str, more: &str) -> String {
    [
        object("attributemanifest", "fluentd", VOCABULARY),
        object(
            "handler",
            "fluentdhandler",
            &format!("{{compiledAdapter: fluentd, params: {{address: \"{address}\"{more}}}}}"),
        ),
        object(
            "instance",
            "accesslog",
            "{compiledTemplate: logentry, params: {severity: '\"info\"', timestamp: request.time, variables: {\
             source: 'source.workload.name | \"unknown\"', destination: 'destination.service.host | \"unknown\"', \
             responseCode: 'response.code | 0', latency: 'response.duration | \"0ms\"'}}}",
        ),
        object(
            "rule",
            "fluentd",
            "{match: \"true\", actions: [{handler: fluentdhandler, instances: [accesslog]}]}",
        ),
    ]
    .concat()
}

/// What a proxy reports of a request.
fn request(source: &str, code: i64) -> CompressedAttributes {
    let mut set = attributes(&[
        ("source.workload.name", source),
        ("destination.service.host", "forecast"),
    ]);
    let mut word = |name: &str| {
        set.words.push(name.to_owned());
        -i32::try_from(set.words.len()).unwrap()
    };
    let (time, status, duration) = (
        word("request.time"),
        word("response.code"),
        word("response.duration"),
    );
    let at = Timestamp {
        seconds: 1_552_989_600,
        nanos: 123_000_000,
    };
    set.timestamps.insert(time, at);
    set.int64s.insert(status, code);
    let latency = Duration {
        seconds: 1,
        nanos: 500_000_000,
    };
    set.durations.insert(duration, latency);
    set
}

fn report(attributes: Vec<CompressedAttributes>) -> ReportRequest {
    ReportRequest {
        attributes,
        repeated_attributes_semantics: 1,
        ..ReportRequest::default()
    }
}

#[tokio::test]
async fn m27_m28_m29_every_request_makes_one_record() {
    let receiver = FluentReceiver::start().await.unwrap();
    // All other parameters are the defaults, by which records wait for others for a minute.
    let mixer = Mixer::start(&configuration(&receiver.address(), ""), &[]).await;
    assert_eq!(mixer.json("/debug/errors").await["errors"], json!([]));
    mixer
        .report(report(vec![request("frontend", 200), request("frontend", 503)]))
        .await
        .unwrap();
    let nothing = CompressedAttributes {
        timestamps: request("", 0).timestamps,
        words: request("", 0).words,
        ..CompressedAttributes::default()
    };
    mixer.report(report(vec![nothing])).await.unwrap();
    // What waits is sent when the handler is replaced, here by one that waits less.
    let eager = configuration(
        &receiver.address(),
        ", pushIntervalDuration: 50ms, integerDuration: true",
    );
    mixer.configure(&eager).await;
    let entry = |source: &str, destination: &str, code: i64, latency: Value| {
        json!({
            "tag": "accesslog.instance.istio-system",
            "time": { "seconds": 1_552_989_600, "nanos": 123_000_000 },
            "record": {
                "source": source, "destination": destination, "responseCode": code, "latency": latency,
                "severity": "info",
            },
        })
    };
    let expected = vec![
        entry("frontend", "forecast", 200, json!("1.5s")),
        entry("frontend", "forecast", 503, json!("1.5s")),
        entry("unknown", "unknown", 0, json!("0s")),
    ];
    assert_eq!(receiver.entries(3).await.unwrap(), expected);
    mixer.report(report(vec![request("late", 200)])).await.unwrap();
    let entries = receiver.entries(4).await.unwrap();
    assert_eq!(entries[3..], [entry("late", "forecast", 200, json!(1500))]);
}

/// A back end that is away harms nothing else, and what is lost is counted.
#[tokio::test]
async fn a_fluentd_that_is_away_harms_nobody_else() {
    let port = mesh_testing::ports::unused().unwrap();
    let more = ", instanceBufferSize: 10, pushIntervalDuration: 10ms, pushTimeoutDuration: 1s";
    let other = [
        object("handler", "nothing", "{compiledAdapter: noop}"),
        object(
            "rule",
            "other",
            "{actions: [{handler: nothing, instances: [accesslog]}]}",
        ),
    ]
    .concat();
    let configuration = configuration(&format!("127.0.0.1:{port}"), more) + &other;
    let mixer = Mixer::start(&configuration, &[]).await;
    mixer.report(report(vec![request("first", 200)])).await.unwrap();
    let faults = "mixer_handler_faults_total{adapter=\"fluentd\",fault=\"send\",handler=\"fluentdhandler.istio-system\"}";
    eventually(PATIENCE, async || {
        let (_, metrics) = mixer.get("/metrics").await;
        if metrics.contains(faults) {
            Ok(())
        } else {
            Err("no fault is counted")
        }
    })
    .await
    .unwrap();
    // 10 wait, and 10 are lost.
    let _what_is_lost_is_told = mixer
        .report(report((0..20).map(|_| request("more", 200)).collect()))
        .await;
    let (_, metrics) = mixer.get("/metrics").await;
    for line in [
        "mixer_handler_faults_total{adapter=\"fluentd\",fault=\"dropped\",handler=\"fluentdhandler.istio-system\"} 10",
        "mixer_runtime_dispatches_total{adapter=\"fluentd\",error=\"true\",handler=\"fluentdhandler.istio-system\",meshFunction=\"logentry\"} 1",
        "mixer_runtime_dispatches_total{adapter=\"noop\",error=\"false\",handler=\"nothing.istio-system\",meshFunction=\"logentry\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
}
