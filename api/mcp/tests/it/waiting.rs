//! The reversed direction: the sink waits and the source calls (G3.2).

use futures::StreamExt as _;
use mesh_api::istio::mcp::v1alpha1::Resources;
use mesh_api::istio::mcp::v1alpha1::resource_sink_client::ResourceSinkClient;
use mesh_config::Kind;
use mesh_mcp::{SinkOptions, SourceOptions};
use tokio::sync::oneshot;
use tonic::Code;

use crate::harness::{TestSinkServer, TestSource, within};

/// The sink follows whoever calls, and one source at a time; where that is gone the next one takes over.
#[tokio::test]
async fn g3_2_a_sink_that_waits_follows_one_source_at_a_time() {
    let TestSinkServer { port, mut sink } =
        TestSinkServer::start(SinkOptions::new("waiting", [Kind::Gateway])).await;
    let mut first = TestSource::start(SourceOptions::default());
    first.publish(Kind::Gateway, "1", &["a"]);
    first.call(port);
    assert_eq!(sink.next().await, ("1".to_owned(), vec!["ns/a".to_owned()]));
    first.publish(Kind::Gateway, "2", &["a", "b"]);
    assert_eq!(sink.next().await.1, ["ns/a", "ns/b"]);

    let mut second = TestSource::start(SourceOptions::default());
    second.publish(Kind::Gateway, "3", &["c"]);
    second.call(port);
    first.publish(Kind::Gateway, "4", &["a"]);
    assert_eq!(sink.next().await.0, "4");

    first.kill();
    assert_eq!(sink.next().await, ("3".to_owned(), vec!["ns/c".to_owned()]));
    let status = within("the second source is served", async || {
        let status = sink.handle.status();
        (status.connected && status.streams == 2).then_some(status)
    })
    .await;
    // What the source sends before it is asked is refused, as it expects.
    let refused = |entry: &&mesh_mcp::sink::JournalEntry| {
        entry.collection.is_empty()
            && matches!(&entry.sent, mesh_mcp::sink::Sent::Nack { code, .. } if code == "Unimplemented")
    };
    assert_eq!(status.journal.iter().filter(refused).count(), 2);
}

#[tokio::test]
async fn g3_2_a_second_source_is_told_why_it_is_turned_away() {
    let waiting = TestSinkServer::start(SinkOptions::new("waiting", [Kind::Gateway])).await;
    let call = async || {
        let (end, ended) = oneshot::channel::<()>();
        let calls = futures::stream::pending::<Resources>().take_until(ended);
        let requests = ResourceSinkClient::new(waiting.channel())
            .establish_resource_stream(calls)
            .await;
        requests.map(|requests| (requests.into_inner(), end))
    };
    let (mut requests, end) = call().await.unwrap();
    let subscription = requests.message().await.unwrap().unwrap();
    assert_eq!(subscription.collection, Kind::Gateway.collection());
    let refused = call().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    drop(end);
    within("the place is free again", async || call().await.ok()).await;
}
