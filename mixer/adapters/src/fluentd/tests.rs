//! Against a receiver that others wrote.

use std::time::Duration;

use mesh_testing::eventually;
use mesh_testing::fluentd::FluentReceiver;
use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_attribute::Value as Attribute;
use mixer_template::LogEntry;
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::Fluentd;
use crate::testing::{Built, build, now, refusal};

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn send(handler: &Built, entries: &[LogEntry<'_>]) -> Result<(), String> {
    now(handler.log_entry().handle_log_entry(entries))
}

fn entry(number: i64) -> LogEntry<'static> {
    LogEntry {
        name: "accesslog.logentry.ns",
        variables: vec![("number", Attribute::Int64(number))],
        timestamp: Some(Timestamp {
            seconds: 1_552_989_600,
            nanos: 7,
        }),
        severity: "info".into(),
        ..LogEntry::default()
    }
}

fn numbers(entries: &[Value]) -> Vec<i64> {
    entries
        .iter()
        .map(|entry| entry["record"]["number"].as_i64().unwrap())
        .collect()
}

#[tokio::test]
async fn fluentd_complies() {
    let receiver = FluentReceiver::start().await.unwrap();
    let address = receiver.address();
    let expected = Compliance {
        accepts: vec![
            json!({ "address": address }),
            json!({
                "address": address, "integer_duration": true, "instance_buffer_size": 10,
                "max_batch_size_bytes": 1000, "push_interval_duration": "1s", "push_timeout_duration": "2s",
            }),
        ],
        rejects: vec![
            (json!({ "address": "nowhere" }), "address"),
            (json!({ "address": "host:0" }), "address"),
            (json!({ "instanceBufferSize": -1 }), "instanceBufferSize"),
            (json!({ "maxBatchSizeBytes": -1 }), "maxBatchSizeBytes"),
            (json!({ "pushIntervalDuration": "-1s" }), "pushIntervalDuration"),
            (json!({ "pushTimeoutDuration": "-1s" }), "pushTimeoutDuration"),
        ],
        ..Compliance::default()
    };
    assert_compliance(&Fluentd, &expected).await;
}

/// M27: what the forward protocol carries is what was sent, by size long before the time.
#[tokio::test]
async fn m27_entries_arrive_by_the_forward_protocol() {
    let receiver = FluentReceiver::start().await.unwrap();
    let size = super::entry::encode(&entry(1), false).len() as i64;
    let params = json!({ "address": receiver.address(), "maxBatchSizeBytes": 2 * size });
    let handler = build(&Fluentd, params).await.unwrap();
    send(&handler, &[entry(1), entry(2), entry(3)]).unwrap();
    let entries = receiver.entries(2).await.unwrap();
    assert_eq!(
        entries[0],
        json!({
            "tag": "accesslog.logentry.ns", "time": { "seconds": 1_552_989_600, "nanos": 7 },
            "record": { "number": 1, "severity": "info" },
        })
    );
    // By size two, and the third when the handler is closed.
    assert_eq!(numbers(&entries), [1, 2]);
    let large = LogEntry {
        severity: "x".repeat(1000).into(),
        ..entry(0)
    };
    let error = send(&handler, &[large, entry(4)]).unwrap_err();
    assert_eq!(
        error,
        "1 entries are dropped: they are larger than a batch may be"
    );
    assert_eq!(handler.faults().of("dropped"), 1);
    handler.close().await;
    assert_eq!(numbers(&receiver.entries(4).await.unwrap()), [1, 2, 3, 4]);
}

/// By the time, and over a new connection after the receiver was replaced.
#[tokio::test]
async fn m27_nothing_is_lost_when_fluentd_comes_back() {
    let mut receiver = FluentReceiver::start().await.unwrap();
    let params = json!({
        "address": receiver.address(), "pushIntervalDuration": "0.05s", "instanceBufferSize": 100,
    });
    let handler = build(&Fluentd, params).await.unwrap();
    send(&handler, &[entry(1)]).unwrap();
    assert_eq!(numbers(&receiver.entries(1).await.unwrap()), [1]);
    receiver.kill();
    send(&handler, &[entry(2)]).unwrap();
    eventually(PATIENCE, async || match handler.faults().of("send") {
        0 => Err("it has not noticed"),
        _ => Ok(()),
    })
    .await
    .unwrap();
    // While the batch is tried again there is room for 100.
    let results: Vec<_> = (3..=500).map(|number| send(&handler, &[entry(number)])).collect();
    assert!(results.iter().take(100).all(Result::is_ok));
    let error = "1 entries are dropped: Fluentd takes them slower than they come".to_owned();
    assert!(
        results
            .iter()
            .skip(100)
            .all(|result| *result == Err(error.clone()))
    );
    assert_eq!(handler.faults().of("dropped"), 398);
    receiver.restart().await.unwrap();
    let received = numbers(&receiver.entries(101).await.unwrap());
    assert_eq!(received, (2..=102).collect::<Vec<_>>());
    handler.close().await;
}

#[test]
fn what_is_wrong_is_named() {
    for (params, expected) in [
        (
            json!({ "address": "host:0" }),
            "address: it needs a host and a port",
        ),
        (
            json!({ "maxBatchSizeBytes": -1 }),
            "maxBatchSizeBytes: it is negative",
        ),
        (
            json!({ "pushTimeoutDuration": "-1s" }),
            "pushTimeoutDuration: must not be negative",
        ),
    ] {
        assert_eq!(refusal(&Fluentd, &params), expected);
    }
}
