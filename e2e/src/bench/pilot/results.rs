//! What a run measured.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::ads::Sent;
use crate::bench::process::Cost;
use crate::bench::stats::{median, percentile};

/// One mesh with one fleet of clients.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) services: u32,
    pub(crate) clients: u32,
    pub(crate) delta: bool,
    pub(crate) start: Start,
    pub(crate) connect: Connect,
    pub(crate) changes: Vec<Change>,
    /// The same clients again, when everything they need was made before.
    pub(crate) reconnect: Connect,
    /// The same change while one client reads nothing.
    pub(crate) stuck: Option<Change>,
    pub(crate) storm: Option<Storm>,
    pub(crate) turns: Option<Turns>,
    /// Resident memory of the server at the end of the changes, in bytes.
    #[serde(rename = "resident_end_bytes")]
    pub(crate) resident_end: u64,
    /// The most resident memory of the server, in bytes.
    #[serde(rename = "peak_bytes")]
    pub(crate) peak: u64,
}

/// The start of the server.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Start {
    #[serde(rename = "ready_ms", serialize_with = "milliseconds")]
    pub(crate) ready: Duration,
    #[serde(rename = "cpu_until_idle_ms", serialize_with = "milliseconds")]
    pub(crate) cpu_until_idle: Duration,
    #[serde(rename = "resident_idle_bytes")]
    pub(crate) resident_idle: u64,
}

/// All clients connecting at once.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Connect {
    /// When the last client had its configuration.
    #[serde(rename = "last_ms", serialize_with = "milliseconds")]
    pub(crate) last: Duration,
    pub(crate) cost: Cost,
    pub(crate) sent: Sent,
    #[serde(rename = "resident_bytes")]
    pub(crate) resident: u64,
}

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ChangeKind {
    /// The path of one VirtualService.
    VirtualService,
    /// The address of one endpoint.
    Endpoint,
    /// A service is added.
    Service,
    /// Everything is sent again by the source, and nothing is different.
    Nothing,
}

/// Rounds of one kind of change.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    pub(crate) rounds: u32,
    /// Medians over the rounds of the times to each client.
    #[serde(rename = "p50_ms", serialize_with = "milliseconds")]
    pub(crate) p50: Duration,
    #[serde(rename = "p99_ms", serialize_with = "milliseconds")]
    pub(crate) p99: Duration,
    #[serde(rename = "last_ms", serialize_with = "milliseconds")]
    pub(crate) last: Duration,
    /// Of all rounds together.
    pub(crate) cost: Cost,
    /// In all rounds together.
    pub(crate) sent: Sent,
}

/// Changes faster than they are published.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Storm {
    pub(crate) changes: u32,
    /// From the last change until the last client had it.
    #[serde(rename = "settled_ms", serialize_with = "milliseconds")]
    pub(crate) settled: Duration,
    pub(crate) cost: Cost,
    pub(crate) sent: Sent,
    /// When all had everything.
    #[serde(rename = "resident_bytes")]
    pub(crate) resident: u64,
    #[serde(rename = "peak_bytes")]
    pub(crate) peak: u64,
}

/// Changes one after the other, VirtualServices and endpoints by turns.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Turns {
    pub(crate) changes: u32,
    pub(crate) cost: Cost,
    /// Resident memory after the first changes, which are not counted.
    #[serde(rename = "resident_before_bytes")]
    pub(crate) resident_before: u64,
    #[serde(rename = "resident_after_bytes")]
    pub(crate) resident_after: u64,
}

/// A server that is killed and started again.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Restart {
    pub(crate) services: u32,
    pub(crate) clients: u32,
    pub(crate) delta: bool,
    /// The first time.
    pub(crate) connect: Connect,
    /// Until the new server was ready.
    #[serde(rename = "ready_ms", serialize_with = "milliseconds")]
    pub(crate) ready: Duration,
    /// From the kill until the last client had its configuration again.
    #[serde(rename = "served_ms", serialize_with = "milliseconds")]
    pub(crate) served: Duration,
    /// What the new server used from its start until it had nothing more to do.
    #[serde(rename = "server_cpu_ms", serialize_with = "milliseconds")]
    pub(crate) server_cpu: Duration,
    /// Resident memory of the new server when all were served.
    #[serde(rename = "resident_bytes")]
    pub(crate) resident: u64,
    /// The most resident memory of the new server.
    #[serde(rename = "peak_bytes")]
    pub(crate) peak: u64,
    /// Streams that broke after all were served, while a change was made that all got.
    pub(crate) dropped: u64,
    /// Responses while nothing happened.
    pub(crate) idle_responses: u64,
}

/// The rounds of a change while they are made.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    p50: Vec<Duration>,
    p99: Vec<Duration>,
    last: Vec<Duration>,
    cost: Cost,
}

// === impl Rounds ===

impl Rounds {
    /// Adds a round: the time to each client, and the cost.
    pub(crate) fn add(&mut self, mut times: Vec<Duration>, cost: Cost) {
        self.p50.push(percentile(&mut times, 0.5));
        self.p99.push(percentile(&mut times, 0.99));
        self.last.push(percentile(&mut times, 1.0));
        self.cost += cost;
    }

    pub(crate) fn finish(self, kind: ChangeKind, sent: Sent) -> Change {
        Change {
            kind,
            rounds: u32::try_from(self.last.len()).unwrap_or(u32::MAX),
            p50: median(self.p50),
            p99: median(self.p99),
            last: median(self.last),
            cost: self.cost,
            sent,
        }
    }
}

// === impl Change ===

impl Change {
    /// CPU time of the server for one change.
    pub(crate) fn server_cpu(&self) -> Duration {
        self.cost.server / self.rounds.max(1)
    }
}

impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Seconds {
            wall_s: f64,
            server_cpu_s: f64,
            client_cpu_s: f64,
            other_cores: f64,
        }
        Seconds {
            wall_s: self.wall.as_secs_f64(),
            server_cpu_s: self.server.as_secs_f64(),
            client_cpu_s: self.client.as_secs_f64(),
            other_cores: self.other_cores(),
        }
        .serialize(serializer)
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1000.0)
}
