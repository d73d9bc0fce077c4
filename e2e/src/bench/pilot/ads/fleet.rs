//! All proxies together: how far they are, and what they were sent.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use memchr::memmem::Finder;
use mesh_api::envoy::config::core::v3::Node;
use mesh_runtime::Spawner;
use mesh_runtime::task::AbortOnDrop;
use serde::Serialize;
use tokio::sync::mpsc;

use super::client::Client;
use super::session::Session;
use super::wire::{Protocol, Response, XdsType};

/// How many clients a failure names.
const NAMED: usize = 10;

/// Connected proxies. They leave when it is dropped.
#[derive(Debug)]
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    nodes: Vec<Node>,
    reports: mpsc::UnboundedReceiver<Report>,
    tasks: Vec<AbortOnDrop>,
}

/// Something that every proxy is waited for to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Milestone {
    /// The whole configuration.
    Complete,
    /// The change of this number.
    Change(u32),
}

/// What was sent, by type in the order of [`XdsType::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sent {
    pub(crate) responses: [u64; 4],
    pub(crate) resources: [u64; 4],
    pub(crate) bytes: [u64; 4],
    /// Streams that ended and were opened again.
    pub(crate) lost_streams: u64,
}

/// Some proxies did not get there in time.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Stalled {
    what: String,
    limit: Duration,
    all: usize,
    missing: Vec<String>,
}

/// What clients share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) server: SocketAddr,
    pub(crate) protocol: Protocol,
    expectation: Mutex<Arc<Expectation>>,
    reports: mpsc::UnboundedSender<Report>,
    responses: [AtomicU64; 4],
    resources: [AtomicU64; 4],
    bytes: [AtomicU64; 4],
    lost: AtomicU64,
    /// Encoded names that some client asks for: mostly all for the same.
    names: Mutex<HashSet<Bytes>>,
    states: Mutex<BTreeMap<usize, State>>,
}

/// What clients look for in responses.
#[derive(Debug, Default)]
pub(crate) struct Expectation {
    pub(crate) id: u32,
    pub(crate) wanted: Vec<(XdsType, Finder<'static>)>,
}

#[derive(Debug)]
struct Report {
    client: usize,
    milestone: Milestone,
    at: Instant,
}

/// What to say about a client that does not get there.
#[derive(Clone, Debug, Default)]
struct State {
    missing_types: Vec<&'static str>,
    missing_endpoints: usize,
    lost_streams: u64,
    last_error: String,
}

// === impl Fleet ===

impl Fleet {
    /// Proxies that are not connected yet.
    pub(crate) fn new(server: SocketAddr, protocol: Protocol, nodes: Vec<Node>) -> Self {
        let (sender, reports) = mpsc::unbounded_channel();
        let shared = Shared {
            server,
            protocol,
            expectation: Mutex::default(),
            reports: sender,
            responses: Default::default(),
            resources: Default::default(),
            bytes: Default::default(),
            lost: AtomicU64::new(0),
            names: Mutex::default(),
            states: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            nodes,
            reports,
            tasks: Vec::new(),
        }
    }

    /// Connects all at once.
    pub(crate) fn connect(&mut self, spawner: &Spawner) {
        let start = |(index, node): (usize, &Node)| {
            let client = Client {
                index,
                node: node.clone(),
                is_stuck: false,
                shared: Arc::clone(&self.shared),
            };
            spawner.spawn("ads client", client.run()).abort_on_drop()
        };
        self.tasks = self.nodes.iter().enumerate().map(start).collect();
    }

    /// Disconnects all.
    pub(crate) fn disconnect(&mut self) {
        self.tasks.clear();
        lock(&self.shared.states).clear();
        lock(&self.shared.names).clear();
        while self.reports.try_recv().is_ok() {}
    }

    /// Announces a change: every client reports when it was sent all these texts.
    pub(crate) fn expect(&self, wanted: &[(XdsType, String)]) -> Milestone {
        let mut expectation = lock(&self.shared.expectation);
        let id = expectation.id + 1;
        let wanted = wanted
            .iter()
            .map(|(xds_type, text)| (*xds_type, Finder::new(text).into_owned()));
        *expectation = Arc::new(Expectation {
            id,
            wanted: wanted.collect(),
        });
        Milestone::Change(id)
    }

    /// Waits until all have reached a milestone. Returns how long each needed since `start`.
    pub(crate) async fn all(
        &mut self,
        milestone: Milestone,
        what: &str,
        start: Instant,
        limit: Duration,
    ) -> Result<Vec<Duration>, Stalled> {
        let mut times = BTreeMap::new();
        let wait = async {
            while times.len() < self.nodes.len() {
                let Some(report) = self.reports.recv().await else {
                    return;
                };
                if report.milestone == milestone {
                    times
                        .entry(report.client)
                        .or_insert_with(|| report.at.saturating_duration_since(start));
                }
            }
        };
        if tokio::time::timeout(limit, wait).await.is_ok() {
            return Ok(times.into_values().collect());
        }
        let states = lock(&self.shared.states);
        let missing = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(index, _)| !times.contains_key(index))
            .map(|(index, node)| {
                let state = states.get(&index).cloned().unwrap_or_default();
                format!("client {index} {}: {state}", node.id)
            });
        Err(Stalled {
            what: what.to_owned(),
            limit,
            all: self.nodes.len(),
            missing: missing.collect(),
        })
    }

    /// What was sent so far.
    pub(crate) fn sent(&self) -> Sent {
        let read =
            |counters: &[AtomicU64; 4]| counters.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        Sent {
            responses: read(&self.shared.responses),
            resources: read(&self.shared.resources),
            bytes: read(&self.shared.bytes),
            lost_streams: self.shared.lost.load(Ordering::Relaxed),
        }
    }

    /// One more proxy, that gets its configuration and then reads nothing. It is not part of the fleet and leaves
    /// when the handle is dropped.
    pub(crate) async fn stuck(
        server: SocketAddr,
        protocol: Protocol,
        node: Node,
        spawner: &Spawner,
        limit: Duration,
    ) -> Result<Self, Stalled> {
        let mut fleet = Self::new(server, protocol, vec![node.clone()]);
        let client = Client {
            index: 0,
            node,
            is_stuck: true,
            shared: Arc::clone(&fleet.shared),
        };
        fleet.tasks = vec![spawner.spawn("stuck client", client.run()).abort_on_drop()];
        fleet
            .all(
                Milestone::Complete,
                "the configuration before it stops reading",
                Instant::now(),
                limit,
            )
            .await?;
        Ok(fleet)
    }
}

// === impl Shared ===

impl Shared {
    pub(crate) fn expectation(&self) -> Arc<Expectation> {
        Arc::clone(&lock(&self.expectation))
    }

    pub(crate) fn tally(&self, response: &Response, bytes: usize) {
        let Some(xds_type) = response.xds_type else {
            return;
        };
        let add = |counters: &[AtomicU64; 4], count: usize| {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            counters[xds_type as usize].fetch_add(count, Ordering::Relaxed);
        };
        add(&self.responses, 1);
        add(&self.resources, response.resources.len());
        add(&self.bytes, bytes);
    }

    pub(crate) fn intern(&self, names: Bytes) -> Bytes {
        let mut interned = lock(&self.names);
        if let Some(known) = interned.get(&names) {
            return known.clone();
        }
        interned.insert(names.clone());
        names
    }

    pub(crate) fn note(&self, client: usize, session: &Session) {
        let mut states = lock(&self.states);
        let state = states.entry(client).or_default();
        state.missing_types.clear();
        state
            .missing_types
            .extend(session.missing_types().map(XdsType::short));
        state.missing_endpoints = session.missing_endpoints();
    }

    pub(crate) fn lost(&self, client: usize, error: &anyhow::Error) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        let mut states = lock(&self.states);
        let state = states.entry(client).or_default();
        state.lost_streams += 1;
        state.last_error = format!("{error:#}");
    }

    pub(crate) fn reached(&self, client: usize, milestone: Milestone, at: Instant) {
        // The fleet may be gone already.
        let _ = self.reports.send(Report {
            client,
            milestone,
            at,
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Sent ===

impl Sent {
    /// All bytes.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.bytes.iter().sum()
    }
}

impl Sub for Sent {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        let minus = |now: [u64; 4], then: [u64; 4]| {
            let mut difference = now;
            difference
                .iter_mut()
                .zip(then)
                .for_each(|(now, then)| *now -= then);
            difference
        };
        Self {
            responses: minus(self.responses, earlier.responses),
            resources: minus(self.resources, earlier.resources),
            bytes: minus(self.bytes, earlier.bytes),
            lost_streams: self.lost_streams - earlier.lost_streams,
        }
    }
}

// === impl Stalled ===

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} clients did not get {} within {:?}",
            self.missing.len(),
            self.all,
            self.what,
            self.limit
        )?;
        for client in self.missing.iter().take(NAMED) {
            write!(f, "\n  {client}")?;
        }
        if self.missing.len() > NAMED {
            write!(f, "\n  and {} more", self.missing.len() - NAMED)?;
        }
        Ok(())
    }
}

// === impl State ===

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.missing_types {
            [] => f.write_str("has all types")?,
            missing => write!(f, "has no {}", missing.join(", "))?,
        }
        if self.missing_endpoints > 0 {
            write!(f, ", misses {} load assignments", self.missing_endpoints)?;
        }
        if self.lost_streams > 0 {
            write!(
                f,
                ", lost its stream {} times: {}",
                self.lost_streams, self.last_error
            )?;
        }
        Ok(())
    }
}
