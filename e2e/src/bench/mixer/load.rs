//! Workers in a closed loop: each has a connection of its own, and one call in flight.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::future::try_join_all;
use mesh_runtime::grpc::{self, ClientOptions};

use super::calls::Caller;
use super::workload::Case;
use crate::bench::process::{Cost, Meter};
use crate::bench::stats::percentile;

/// All workers of a case.
pub(super) struct Load<'r> {
    requests: &'r [Bytes],
    batch: usize,
    workers: Vec<Worker>,
}

struct Worker {
    caller: Caller,
    /// Which request comes next.
    next: usize,
    /// How many there were.
    calls: u64,
}

/// What happened in a span of time.
#[derive(Debug)]
pub(super) struct Window {
    latencies: Vec<Duration>,
    pub(super) cost: Cost,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

// === impl Load ===

impl<'r> Load<'r> {
    pub(super) async fn start(case: &Case, requests: &'r [Bytes], server: SocketAddr) -> Result<Self> {
        let workers = (0..case.in_flight).map(|number| {
            let channel = grpc::connect(&server.to_string().parse()?, &ClientOptions::default())?;
            let caller = Caller::new(channel, case.call);
            // Workers begin at different requests.
            let next = number * requests.len() / case.in_flight;
            Ok(Worker {
                caller,
                next,
                calls: 0,
            })
        });
        let mut load = Self {
            requests,
            batch: case.batch,
            workers: workers.collect::<Result<_>>()?,
        };
        // Connections are not part of what is measured.
        let first = load.workers.iter_mut().map(|worker| worker.call(load.requests));
        try_join_all(first).await.context("the first calls")?;
        Ok(load)
    }

    /// Calls for a while.
    pub(super) async fn run(&mut self, length: Duration, server: u32) -> Result<Window> {
        let meter = Meter::start(server)?;
        let end = Instant::now() + length;
        let requests = self.requests;
        let workers = self.workers.iter_mut().map(async |worker| {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                latencies.push(worker.call(requests).await?);
            }
            Ok::<_, anyhow::Error>(latencies)
        });
        let latencies = try_join_all(workers).await?;
        let cost = meter.cost()?;
        let mut latencies = latencies.concat();
        let p50 = percentile(&mut latencies, 0.5);
        let p99 = percentile(&mut latencies, 0.99);
        Ok(Window {
            latencies,
            cost,
            p50,
            p99,
        })
    }

    /// How many records were sent so far.
    pub(super) fn records(&self) -> u64 {
        let calls: u64 = self.workers.iter().map(|worker| worker.calls).sum();
        calls * u64::try_from(self.batch).unwrap_or(u64::MAX)
    }
}

// === impl Worker ===

impl Worker {
    async fn call(&mut self, requests: &[Bytes]) -> Result<Duration> {
        let request = requests[self.next % requests.len()].clone();
        self.next += 1;
        let begin = Instant::now();
        self.caller.call(request).await?;
        self.calls += 1;
        Ok(begin.elapsed())
    }
}

// === impl Window ===

impl Window {
    pub(super) fn calls(&self) -> u64 {
        u64::try_from(self.latencies.len()).unwrap_or(u64::MAX)
    }
}
