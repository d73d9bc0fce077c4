//! Connections in an access log.

use std::collections::HashMap;

use mesh_api::envoy::config::core::v3::Node;
use mesh_api::envoy::data::accesslog::v3::{AccessLogType, TcpAccessLogEntry};
use mixer_attribute::{Bag, Vocabulary};

use super::{common, took};
use crate::service::attributes::Filler;

/// Of so many connections the counts are remembered. Those of others count as new when they are told of again.
const MAX: usize = 100_000;

/// What was told of connections that are open.
#[derive(Debug, Default)]
pub(super) struct Connections(HashMap<String, Bytes>);

/// Bytes since the beginning of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes {
    received: u64,
    sent: u64,
}

// === impl Connections ===

impl Connections {
    /// The attributes of an entry.
    pub(super) fn attributes<'r>(
        &mut self,
        vocabulary: &Vocabulary,
        node: Option<&'r Node>,
        entry: &'r TcpAccessLogEntry,
    ) -> Bag<'r> {
        let mut filler = Filler::new(vocabulary);
        let (mut id, mut event) = ("", "close");
        let mut length = None;
        if let Some(properties) = &entry.common_properties {
            common(&mut filler, node, properties);
            id = &properties.stream_id;
            event = match properties.access_log_type() {
                AccessLogType::TcpConnectionStart => "open",
                AccessLogType::TcpPeriodic | AccessLogType::TcpUpstreamConnected => "continue",
                _ => "close",
            };
            length = took(properties);
        }
        filler.set("context.protocol", "tcp");
        filler.text("connection.id", id);
        filler.set("connection.event", event);
        if event == "close" {
            filler.duration("connection.duration", length);
        }
        let total = entry.connection_properties.as_ref().map(|properties| Bytes {
            received: properties.received_bytes,
            sent: properties.sent_bytes,
        });
        let total = total.unwrap_or_default();
        let since = self.since(id, total, event == "close");
        filler.count("connection.received.bytes", since.received);
        filler.count("connection.received.bytes_total", total.received);
        filler.count("connection.sent.bytes", since.sent);
        filler.count("connection.sent.bytes_total", total.sent);
        filler.finish()
    }

    /// What has come to the total since the entry before.
    fn since(&mut self, id: &str, total: Bytes, over: bool) -> Bytes {
        let before = self.0.get(id).copied().unwrap_or_default();
        if over {
            self.0.remove(id);
        } else if !id.is_empty() && (self.0.len() < MAX || self.0.contains_key(id)) {
            self.0.insert(id.to_owned(), total);
        }
        Bytes {
            received: total.received.saturating_sub(before.received),
            sent: total.sent.saturating_sub(before.sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_02_2_10_bytes_are_counted_since_the_entry_before() {
        let mut connections = Connections::default();
        let mut since = |id, received, over| {
            let total = Bytes { received, sent: 0 };
            connections.since(id, total, over).received
        };
        assert_eq!(since("a", 0, false), 0);
        assert_eq!(since("a", 10, false), 10);
        assert_eq!(since("b", 7, true), 7);
        assert_eq!(since("a", 25, true), 15);
        assert_eq!(since("a", 3, true), 3, "it was over");
        assert!(connections.0.is_empty());
    }
}
