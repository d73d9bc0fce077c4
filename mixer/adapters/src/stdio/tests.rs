//! What is written, and what is refused.

use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_attribute::{StringMap, Value as Attribute};
use mixer_template::{LogEntry, Metric};
use prost_types::{Duration, Timestamp};
use serde_json::{Value, json};

use super::Stdio;
use crate::testing::{build, now, refusal};

fn entry<'a>(severity: &'a str, seconds: i64) -> LogEntry<'a> {
    LogEntry {
        name: "accesslog.logentry.istio-system",
        variables: vec![
            ("code", Attribute::Int64(503)),
            ("ip", Attribute::IpAddress("10.0.0.1".parse().unwrap())),
            (
                "latency",
                Attribute::Duration(Duration {
                    seconds: 1,
                    nanos: 500_000_000,
                }),
            ),
            (
                "map",
                Attribute::StringMap(StringMap::borrowed([("a", "1"), ("b", "\"")])),
            ),
            ("ok", Attribute::Bool(false)),
            ("ratio", Attribute::Double(0.5)),
            ("text", "line\nbreak\u{1}".into()),
        ],
        timestamp: Some(Timestamp { seconds, nanos: 1000 }),
        severity: severity.into(),
        ..LogEntry::default()
    }
}

/// Everything that a handler writes of three entries and a metric.
async fn written(mut params: Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    params["outputPath"] = path.to_str().unwrap().into();
    let handler = build(&Stdio, params).await.unwrap();
    let entries = [entry("info", 0), entry("whatever", 1), entry("ERR", 2)];
    now(handler.log_entry().handle_log_entry(&entries)).unwrap();
    let metric = Metric {
        name: "size.metric.ns",
        value: Some(Attribute::Int64(7)),
        dimensions: vec![("a", "x".into()), ("b", Attribute::Double(f64::NAN))],
        ..Metric::default()
    };
    now(handler.metric().handle_metric(&[metric])).unwrap();
    handler.close().await;
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn stdio_complies() {
    let folder = tempfile::tempdir().unwrap();
    let file = |stream: &str| json!({"logStream": stream, "outputPath": folder.path().join(stream)});
    let mut text = file("FILE");
    text["outputAsJson"] = false.into();
    let expected = Compliance {
        accepts: vec![file("FILE"), text, file("ROTATED_FILE")],
        rejects: vec![
            (json!({"logStream": "FILE"}), "outputPath"),
            (json!({"outputPath": "/tmp/x"}), "outputPath"),
            (
                json!({"maxMegabytesBeforeRotation": -1}),
                "maxMegabytesBeforeRotation",
            ),
            (json!({"maxDaysBeforeRotation": -1}), "maxDaysBeforeRotation"),
            (json!({"maxRotatedFiles": -1}), "maxRotatedFiles"),
            (json!({"metricLevel": 3}), "metricLevel"),
            (json!({"outputLevel": -1}), "outputLevel"),
            (json!({"severityLevels": {"odd": 9}}), "severityLevels[odd]"),
        ],
        ..Compliance::default()
    };
    assert_compliance(&Stdio, &expected).await;
}

/// `spec 02` §7.4, M31.
#[tokio::test]
async fn m31_lines_of_json_have_the_keys_of_1_1_in_their_order() {
    let text = written(json!({"log_stream": "FILE", "metric_level": "WARNING"})).await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(
        lines[2],
        concat!(
            r#"{"level":"error","time":"1970-01-01T00:00:02.000001Z","#,
            r#""instance":"accesslog.logentry.istio-system","code":503,"ip":"10.0.0.1","latency":"1.5s","#,
            r#""map":"a=1&b=\"","ok":false,"ratio":0.5,"text":"line\nbreak\u0001"}"#
        )
    );
    assert!(lines[1].starts_with(r#"{"level":"info","#), "{text}");
    assert!(lines[3].starts_with(r#"{"level":"warn","time":""#), "{text}");
    assert!(
        lines[3].ends_with(r#"Z","instance":"size.metric.ns","value":7,"a":"x","b":"NaN"}"#),
        "{text}"
    );
    for line in lines {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[tokio::test]
async fn lines_of_text_have_tabs() {
    let text = written(json!({"log_stream": "ROTATED_FILE", "output_as_json": false})).await;
    let line = text.lines().next().unwrap();
    assert!(
        line.starts_with(
            "1970-01-01T00:00:00.000001Z\tinfo\taccesslog.logentry.istio-system\t{\"code\": 503, "
        ),
        "{text}"
    );
    assert_eq!(text.lines().count(), 4);
}

/// `spec 02` §7.4: what is below the level is not written.
#[tokio::test]
async fn the_lowest_level_counts() {
    let text = written(json!({"log_stream": "FILE", "output_level": "ERROR"})).await;
    assert_eq!(text.lines().count(), 1, "{text}");
    let own =
        json!({"log_stream": "FILE", "output_level": "WARNING", "severity_levels": {"whatever": "ERROR"}});
    let text = written(own).await;
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("00:00:01"), "{text}");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    for (params, expected) in [
        (
            json!({"log_stream": "FILE"}),
            "outputPath: it is required for FILE and ROTATED_FILE",
        ),
        (
            json!({"output_path": "/tmp/x"}),
            "outputPath: it is for FILE and ROTATED_FILE only",
        ),
        (
            json!({"max_rotated_files": -1}),
            "maxRotatedFiles: it is negative",
        ),
    ] {
        assert_eq!(refusal(&Stdio, &params), expected);
    }
    let nowhere = json!({"log_stream": "FILE", "output_path": "/nowhere/log"});
    let error = build(&Stdio, nowhere).await.map(|_| ()).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot open /nowhere/log: "),
        "{error}"
    );
}
