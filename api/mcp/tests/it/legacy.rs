//! Sinks that speak the generation before (`USE_MCP_LEGACY`).

use mesh_config::Kind;
use mesh_mcp::{Apply, ApplyError, Change, SinkOptions, SourceOptions};
use tokio::sync::mpsc;

use crate::GATEWAYS;
use crate::harness::{TestSink, TestSource, within};

/// Refuses everything of a version.
struct Refusing(mpsc::Sender<Change>, &'static str);

impl Apply for Refusing {
    async fn apply(&mut self, change: Change) -> Result<(), ApplyError> {
        if change.version == self.1 {
            return Err(ApplyError::Rejected("not this one".to_owned()));
        }
        self.0.apply(change).await
    }
}

/// `G2`, `P5.4`: full states over `AggregatedMeshConfigService`, also where changes were asked for; a refusal is told to the source,
/// which goes on with what is newer.
#[tokio::test]
async fn g2_p5_4_a_legacy_sink_follows_a_source() {
    let mut source = TestSource::start(SourceOptions {
        incremental: true,
        ..SourceOptions::default()
    });
    source.publish(Kind::Gateway, "1", &["a", "b"]);
    let options = SinkOptions {
        legacy: true,
        incremental: true,
        ..SinkOptions::new("legacy", [Kind::Gateway])
    };
    let mut sink = TestSink::start_with(source.port(), options, |changes| Refusing(changes, "2"));
    assert_eq!(sink.next().await.1, ["ns/a", "ns/b"]);

    source.publish(Kind::Gateway, "2", &["c"]);
    let refused = within("refusal", async || {
        let connections = source.connections();
        let watch = connections.first()?.watches.get(GATEWAYS)?;
        watch.refusal.clone()
    })
    .await;
    assert!(refused.contains("not this one"), "{refused}");
    source.publish(Kind::Gateway, "3", &["b"]);
    assert_eq!(sink.next().await, ("3".to_owned(), vec!["ns/b".to_owned()]));
    assert_eq!(sink.handle.status().collections[GATEWAYS].resources, 1);
}
