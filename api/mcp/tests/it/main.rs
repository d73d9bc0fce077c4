//! Source and sinks over loopback.

mod harness;
mod legacy;
mod waiting;

use std::sync::Arc;

use mesh_api::istio::mcp::v1alpha1::RequestResources;
use mesh_api::istio::mcp::v1alpha1::resource_source_client::ResourceSourceClient;
use mesh_config::Kind;
use mesh_mcp::{Apply, ApplyError, Change, SinkOptions, SourceOptions};
use tokio::sync::Semaphore;
use tonic::Code;

use self::harness::{TestSink, TestSource, within};

const GATEWAYS: &str = "istio/networking/v1alpha3/gateways";

#[tokio::test]
async fn two_sinks_get_the_same_and_every_change() {
    let mut source = TestSource::start(SourceOptions::default());
    source.publish(Kind::Gateway, "1", &["a", "b"]);
    let mut sinks = [
        TestSink::start(source.port(), SinkOptions::new("one", [Kind::Gateway])),
        TestSink::start(source.port(), SinkOptions::new("two", [Kind::Gateway])),
    ];
    for sink in &mut sinks {
        assert_eq!(
            sink.next().await,
            ("1".to_owned(), vec!["ns/a".to_owned(), "ns/b".to_owned()])
        );
    }
    source.publish(Kind::Gateway, "2", &["b"]);
    for sink in &mut sinks {
        assert_eq!(sink.next().await, ("2".to_owned(), vec!["ns/b".to_owned()]));
    }

    // The debug view of the source shows both once they have answered.
    let connections = within("both answers", async || {
        let connections = source.connections();
        let answered = |watch: &mesh_mcp::source::WatchStatus| watch.acks == 2;
        (connections.len() == 2 && connections.iter().all(|c| c.watches.values().all(answered)))
            .then_some(connections)
    })
    .await;
    let mut nodes: Vec<_> = connections
        .iter()
        .map(|connection| connection.node.as_str())
        .collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["one", "two"]);
    let watch = &connections[0].watches[GATEWAYS];
    assert_eq!(
        (watch.acknowledged.as_deref(), watch.pending_nonce.as_deref()),
        (Some("2"), None)
    );
    assert_eq!(source.metric("clients_total"), 2.0);
    assert_eq!(
        source.metric("request_acks_total{collection=\"istio/networking/v1alpha3/gateways\"}"),
        4.0
    );
}

#[tokio::test]
async fn t18_sinks_that_come_before_the_first_snapshot_wait_for_it() {
    let mut source = TestSource::start(SourceOptions::default());
    let mut sink = TestSink::start(
        source.port(),
        SinkOptions::new("early", [Kind::Gateway, Kind::Node]),
    );
    within("subscriptions", async || {
        source
            .connections()
            .first()
            .is_some_and(|connection| connection.watches.len() == 2)
            .then_some(())
    })
    .await;
    assert!(!sink.handle.is_synced());
    source.publish(Kind::Gateway, "1", &["a"]);
    assert_eq!(sink.next().await.0, "1");
    // A collection that nobody has set is answered, too: sinks wait for each.
    assert_eq!(sink.next().await, ("0".to_owned(), vec![]));
    sink.handle.synced().await;
}

#[tokio::test]
async fn a_killed_source_is_found_again_on_its_port_and_the_state_stays_meanwhile() {
    let mut source = TestSource::start(SourceOptions::default());
    source.publish(Kind::Gateway, "1", &["a"]);
    let mut sink = TestSink::start(source.port(), SinkOptions::new("sink", [Kind::Gateway]));
    assert_eq!(sink.next().await.0, "1");

    let port = source.port();
    source.kill();
    within("loss", async || (!sink.handle.status().connected).then_some(())).await;
    assert!(sink.handle.is_synced());
    assert_eq!(sink.handle.status().collections[GATEWAYS].resources, 1);

    // The new source has another state and starts without snapshot.
    let mut source = TestSource::start_on(port, SourceOptions::default());
    within("reconnection", async || {
        sink.handle.status().connected.then_some(())
    })
    .await;
    source.publish(Kind::Gateway, "1", &["a", "b"]);
    // Nothing was delivered in between.
    assert_eq!(
        sink.next().await,
        ("1".to_owned(), vec!["ns/a".to_owned(), "ns/b".to_owned()])
    );
    assert_eq!(sink.handle.status().streams, 2);
    assert_eq!(sink.metric("reconnections"), 1.0);
}

#[tokio::test]
async fn a_sink_that_asks_for_changes_continues_where_it_was_after_a_restart() {
    let mut source = TestSource::start(SourceOptions {
        incremental: true,
        ..SourceOptions::default()
    });
    source.publish(Kind::Gateway, "1", &["a", "b"]);
    let options = SinkOptions {
        incremental: true,
        ..SinkOptions::new("sink", [Kind::Gateway])
    };
    let mut sink = TestSink::start(source.port(), options);
    sink.next().await;
    let port = source.port();
    source.kill();
    let mut source = TestSource::start_on(
        port,
        SourceOptions {
            incremental: true,
            ..SourceOptions::default()
        },
    );
    source.publish(Kind::Gateway, "1", &["b", "c"]);
    assert_eq!(sink.next().await.1, ["ns/c", "-ns/a"]);
    let watches = within("answer", async || {
        let connections = source.connections();
        connections
            .first()
            .filter(|c| c.watches.values().any(|w| w.acks == 1))
            .map(|c| c.watches.clone())
    })
    .await;
    assert!(watches[GATEWAYS].incremental);
}

/// Takes a change only when it has a permit.
struct Gated(tokio::sync::mpsc::Sender<Change>, Arc<Semaphore>);

impl Apply for Gated {
    async fn apply(&mut self, change: Change) -> Result<(), ApplyError> {
        self.1.acquire().await.map_err(|_| ApplyError::Closed)?.forget();
        self.0.apply(change).await
    }
}

#[tokio::test]
async fn a_slow_sink_delays_nobody_and_skips_to_the_newest_state() {
    let mut source = TestSource::start(SourceOptions::default());
    source.publish(Kind::Gateway, "1", &["a"]);
    let gate = Arc::new(Semaphore::new(0));
    let mut slow = TestSink::start_with(
        source.port(),
        SinkOptions::new("slow", [Kind::Gateway]),
        |changes| Gated(changes, gate.clone()),
    );
    let mut quick = TestSink::start(source.port(), SinkOptions::new("quick", [Kind::Gateway]));
    assert_eq!(quick.next().await.0, "1");
    within("pending response of the slow sink", async || {
        let connections = source.connections();
        let slow = connections.iter().find(|connection| connection.node == "slow")?;
        slow.watches[GATEWAYS].pending_nonce.clone()
    })
    .await;
    for version in 2..50 {
        source.publish(Kind::Gateway, &version.to_string(), &["a"]);
        assert_eq!(quick.next().await.0, version.to_string());
    }
    gate.add_permits(100);
    assert_eq!(slow.next().await.0, "1");
    assert_eq!(slow.next().await.0, "49");
}

/// Refuses version 1.
struct Picky(tokio::sync::mpsc::Sender<Change>);

impl Apply for Picky {
    async fn apply(&mut self, change: Change) -> Result<(), ApplyError> {
        if change.version == "1" {
            return Err(ApplyError::Rejected("not this one".to_owned()));
        }
        self.0.apply(change).await
    }
}

#[tokio::test]
async fn a_refused_state_is_counted_shown_and_not_sent_again() {
    let mut source = TestSource::start(SourceOptions::default());
    source.publish(Kind::Gateway, "1", &["a"]);
    let mut sink = TestSink::start_with(source.port(), SinkOptions::new("picky", [Kind::Gateway]), Picky);
    let watch = within("refusal", async || {
        let watch = source.connections().first()?.watches.get(GATEWAYS)?.clone();
        (watch.nacks > 0).then_some(watch)
    })
    .await;
    assert_eq!(
        (watch.refusal.as_deref(), watch.sent.as_deref()),
        (Some("not this one"), Some("1"))
    );
    assert_eq!(
        sink.handle.status().collections[GATEWAYS].refused.as_deref(),
        Some("not this one")
    );

    source.publish(Kind::Gateway, "2", &["b"]);
    assert_eq!(sink.next().await, ("2".to_owned(), vec!["ns/b".to_owned()]));
    let name =
        "request_nacks_total{code=\"InvalidArgument\",collection=\"istio/networking/v1alpha3/gateways\"}";
    assert_eq!((source.metric(name), sink.metric(name)), (1.0, 1.0));
    let said: Vec<_> = sink
        .handle
        .status()
        .journal
        .into_iter()
        .map(|entry| format!("{:?}", entry.sent))
        .collect();
    assert_eq!(said[0], "Subscription");
    assert!(said[1].starts_with("Nack"), "{said:?}");
}

#[tokio::test]
async fn g3_1_a_collection_without_name_closes_the_stream_as_invalid() {
    let source = TestSource::start(SourceOptions::default());
    let mut client = ResourceSourceClient::new(source.channel());
    let request = RequestResources::default();
    let mut responses = client
        .establish_resource_stream(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let status = responses.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "unsupported collection \"\"");
    within("end of the stream", async || {
        source.connections().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_above_the_limit_closes_its_stream_only() {
    let mut source = TestSource::start(SourceOptions {
        max_request_bytes: 1000,
        ..SourceOptions::default()
    });
    source.publish(Kind::Gateway, "1", &["a"]);
    let mut sink = TestSink::start(source.port(), SinkOptions::new("sink", [Kind::Gateway]));
    sink.next().await;
    let mut client = ResourceSourceClient::new(source.channel());
    let request = RequestResources {
        collection: "x".repeat(2000),
        ..RequestResources::default()
    };
    let mut responses = client
        .establish_resource_stream(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(responses.message().await.unwrap_err().code(), Code::OutOfRange);
    source.publish(Kind::Gateway, "2", &["a"]);
    assert_eq!(sink.next().await.0, "2");
    assert_eq!(sink.handle.status().streams, 1);
}

#[tokio::test]
async fn a_response_above_the_limit_of_the_sink_is_refused_by_name_once_and_the_stream_goes_on() {
    let mut source = TestSource::start(SourceOptions::default());
    source.publish(Kind::Gateway, "1", &["a"]);
    let options = SinkOptions {
        max_message_bytes: 200,
        ..SinkOptions::new("sink", [Kind::Gateway, Kind::Sidecar])
    };
    let mut sink = TestSink::start(source.port(), options);
    sink.next().await;
    sink.next().await;
    source.publish(Kind::Gateway, "2", &["a", "b", "c", "d", "e", "f"]);
    let refused = within("refusal", async || {
        sink.handle.status().collections[GATEWAYS].refused.clone()
    })
    .await;
    assert!(
        refused.contains(GATEWAYS) && refused.contains("more than the 200 that this sink takes"),
        "{refused}"
    );
    assert_eq!(sink.handle.status().collections[GATEWAYS].version, "1");
    // Other collections are delivered on the same stream, and what is refused is not sent again.
    source.publish(Kind::Sidecar, "2", &["s"]);
    assert_eq!(sink.next().await, ("2".to_owned(), vec!["ns/s".to_owned()]));
    assert_eq!(sink.handle.status().streams, 1);
    let name = "messages_too_large_total{collection=\"istio/networking/v1alpha3/gateways\"}";
    assert_eq!(sink.metric(name), 1.0);
    let watch = source.connections()[0].watches[GATEWAYS].clone();
    assert_eq!(
        (watch.nacks, watch.refusal.as_deref()),
        (1, Some(refused.as_str()))
    );

    source.publish(Kind::Gateway, "3", &["a"]);
    assert_eq!(sink.next().await.0, "3");
    assert_eq!(sink.handle.status().collections[GATEWAYS].refused, None);
}

#[tokio::test]
async fn a_response_far_above_the_limit_of_the_sink_breaks_the_stream_and_leaves_the_last_state() {
    let mut source = TestSource::start(SourceOptions::default());
    source.publish(Kind::Gateway, "1", &["a"]);
    let options = SinkOptions {
        max_message_bytes: 200,
        ..SinkOptions::new("sink", [Kind::Gateway])
    };
    let mut sink = TestSink::start(source.port(), options);
    sink.next().await;
    let name = "n".repeat(200 * 16);
    source.publish(Kind::Gateway, "2", &[&name]);
    let error = within("loss", async || sink.handle.status().error).await;
    assert!(error.contains("limit is: 3200 bytes"), "{error}");
    assert_eq!(sink.handle.status().collections[GATEWAYS].version, "1");
    source.publish(Kind::Gateway, "3", &["a"]);
    assert_eq!(sink.next().await.0, "3");
}

#[tokio::test]
async fn streams_end_when_the_source_drains() {
    let mut source = TestSource::start(SourceOptions::default());
    source.publish(Kind::Gateway, "1", &["a"]);
    let mut sink = TestSink::start(source.port(), SinkOptions::new("sink", [Kind::Gateway]));
    sink.next().await;
    source.drain().await;
    within("loss", async || (!sink.handle.status().connected).then_some(())).await;
}

#[tokio::test]
async fn a_sink_ends_when_its_consumer_is_gone() {
    let mut source = TestSource::start(SourceOptions::default());
    source.publish(Kind::Gateway, "1", &["a"]);
    let mut sink = TestSink::start(source.port(), SinkOptions::new("sink", [Kind::Gateway]));
    sink.changes.close();
    within("end of the sink", async || sink.task.is_finished().then_some(())).await;
}
