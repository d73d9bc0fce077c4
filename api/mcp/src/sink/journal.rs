//! The last requests of a sink, for debug pages (G3.2).

use std::collections::VecDeque;

use jiff::Timestamp;
use mesh_api::istio::mcp::v1alpha1::RequestResources;
use serde::Serialize;

/// Requests that are kept.
const DEPTH: usize = 32;

/// One request that was sent.
#[derive(Clone, Debug, Serialize)]
pub struct JournalEntry {
    /// When.
    #[serde(serialize_with = "super::as_text")]
    pub time: Timestamp,
    /// For which collection.
    pub collection: String,
    /// The response that it answers; empty in a subscription.
    pub nonce: String,
    /// What it said.
    pub sent: Sent,
}

/// What a request said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// The collection is wanted.
    Subscription,
    /// The response was applied.
    Ack,
    /// The response was refused.
    Nack {
        /// gRPC code.
        code: String,
        /// Why.
        reason: String,
    },
}

/// The last requests, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<JournalEntry>,
}

// === impl Journal ===

impl Journal {
    pub(super) fn record(&mut self, request: &RequestResources, sent: Sent) {
        if self.entries.len() == DEPTH {
            self.entries.pop_front();
        }
        self.entries.push_back(JournalEntry {
            time: Timestamp::now(),
            collection: request.collection.clone(),
            nonce: request.response_nonce.clone(),
            sent,
        });
    }

    pub(super) fn entries(&self) -> Vec<JournalEntry> {
        self.entries.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g3_2_the_last_32_requests_are_kept() {
        let mut journal = Journal::default();
        for nonce in 0..40 {
            let request = RequestResources {
                response_nonce: nonce.to_string(),
                ..RequestResources::default()
            };
            journal.record(&request, Sent::Ack);
        }
        let nonces: Vec<_> = journal.entries().into_iter().map(|entry| entry.nonce).collect();
        assert_eq!(nonces.len(), 32);
        assert_eq!((nonces[0].as_str(), nonces[31].as_str()), ("8", "39"));
    }
}
