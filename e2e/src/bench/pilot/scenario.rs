//! What happens to a mesh, step by step, and what is measured meanwhile.

use std::io::{Write as _, stderr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mesh_runtime::Spawner;
use tokio::time::MissedTickBehavior;

use super::Cell;
use super::ads::{Fleet, Milestone, Protocol, Sent, XdsType};
use super::figures::Step;
use super::results::{Change, ChangeKind, Connect, Rounds, Run, Start, Storm, Turns};
use super::server::Server;
use super::source::MeshSource;
use super::workload::{ENDPOINTS, Service};
use crate::bench::process::Cost;

/// A server is idle when it did next to nothing for so long: longer than changes are held back.
const QUIET: Duration = Duration::from_millis(300);
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// A server that does not become idle is measured as it is after so long.
const RESTLESS: Duration = Duration::from_secs(20);
/// How long a change that must not be sent is waited for.
const SILENCE: Duration = Duration::from_secs(1);
/// Changes per second in a storm.
const STORM: u32 = 50;
/// Changes in turn before memory is read for the first time: caches and the allocator fill.
const WARM_UP: u32 = 100;

/// A server under load.
#[derive(Debug)]
pub(super) struct Scenario<'a> {
    pub(super) cell: &'a Cell,
    spawner: Spawner,
    source: MeshSource,
    pub(super) server: Server,
    pub(super) fleet: Fleet,
    /// Counts changes, so that each is made to another service.
    round: u32,
}

/// Measures one mesh.
pub(crate) async fn run(cell: &Cell, program: &Path, log: &Path) -> Result<Run> {
    let (mut scenario, ready) = Scenario::begin(cell, program, log).await?;
    let start = scenario.start(ready).await?;
    let connect = scenario.connect().await?;
    let mut changes = Vec::new();
    for kind in [
        ChangeKind::VirtualService,
        ChangeKind::Endpoint,
        ChangeKind::Service,
    ] {
        changes.push(scenario.changes(kind).await?);
    }
    changes.push(scenario.nothing().await?);
    let usage = scenario.server.usage()?;
    let storm = match cell.storm {
        0 => None,
        seconds => Some(scenario.storm(seconds).await?),
    };
    let turns = match cell.turns {
        0 => None,
        changes => Some(scenario.turns(changes).await?),
    };
    let stuck = if cell.stuck {
        Some(scenario.stuck().await?)
    } else {
        None
    };
    scenario.fleet.disconnect();
    scenario.settle().await?;
    let reconnect = scenario.connect().await?;
    scenario.server.stop().await?;
    Ok(Run {
        services: cell.services,
        clients: cell.clients,
        delta: cell.protocol == Protocol::Delta,
        start,
        connect,
        changes,
        reconnect,
        stuck,
        storm,
        turns,
        resident_end: usage.resident,
        peak: usage.peak,
    })
}

// === impl Scenario ===

impl<'a> Scenario<'a> {
    /// Starts everything; says how long the server needed until it was ready.
    pub(super) async fn begin(cell: &'a Cell, program: &Path, log: &Path) -> Result<(Self, Duration)> {
        let spawner = Spawner::default();
        let source = MeshSource::new(cell.services);
        let address = source.serve(&spawner).await?;
        progress(&format!("{} services: starting", cell.services));
        let mut server = Server::start(program, address, log)?;
        let ready = server.ready(cell.limit).await?;
        let nodes = (0..cell.clients).map(|client| {
            let (service, endpoint) = Service::of_client(client, cell.services);
            service.sidecar(endpoint)
        });
        let fleet = Fleet::new(server.xds(), cell.protocol, nodes.collect());
        let scenario = Self {
            cell,
            spawner,
            source,
            server,
            fleet,
            round: 0,
        };
        Ok((scenario, ready))
    }

    async fn start(&mut self, ready: Duration) -> Result<Start> {
        self.settle().await?;
        let usage = self.server.usage()?;
        Ok(Start {
            ready,
            cpu_until_idle: usage.cpu,
            resident_idle: usage.resident,
        })
    }

    pub(super) async fn connect(&mut self) -> Result<Connect> {
        progress(&format!("connecting {} clients", self.cell.clients));
        let (meter, before) = (self.server.meter()?, self.fleet.sent());
        let start = Instant::now();
        self.fleet.connect(&self.spawner);
        let times = self
            .everyone(Milestone::Complete, "their configuration", start)
            .await?;
        self.settle().await?;
        Ok(Connect {
            last: times.into_iter().max().unwrap_or_default(),
            cost: meter.cost()?,
            sent: self.fleet.sent() - before,
            resident: self.server.usage()?.resident,
        })
    }

    async fn changes(&mut self, kind: ChangeKind) -> Result<Change> {
        progress(Step::from(kind).title());
        let before = self.fleet.sent();
        let mut rounds = Rounds::default();
        for _ in 0..self.cell.rounds {
            let (times, cost) = self.change(kind).await?;
            rounds.add(times, cost);
        }
        Ok(rounds.finish(kind, self.fleet.sent() - before))
    }

    /// Makes one change and waits until all have it.
    pub(super) async fn change(&mut self, kind: ChangeKind) -> Result<(Vec<Duration>, Cost)> {
        let meter = self.server.meter()?;
        let (milestone, start) = self.make(kind);
        let what = format!("change {} ({})", self.round, Step::from(kind).title());
        let times = self.everyone(milestone, &what, start).await?;
        self.settle().await?;
        Ok((times, meter.cost()?))
    }

    /// Makes one change. Time starts just before the source has it.
    fn make(&mut self, kind: ChangeKind) -> (Milestone, Instant) {
        let service = self.bystander();
        self.round += 1;
        let wanted = match kind {
            ChangeKind::VirtualService => {
                vec![(XdsType::Route, self.source.change_virtual_service(service))]
            }
            ChangeKind::Endpoint => vec![(XdsType::Endpoint, self.source.move_endpoint(service))],
            ChangeKind::Service => {
                let host = self.source.add_service();
                [XdsType::Cluster, XdsType::Endpoint, XdsType::Route]
                    .map(|xds_type| (xds_type, host.clone()))
                    .into()
            }
            ChangeKind::Nothing => {
                self.source.resend();
                Vec::new()
            }
        };
        let milestone = self.fleet.expect(&wanted);
        let start = Instant::now();
        self.source.publish();
        (milestone, start)
    }

    /// A service none of whose endpoints is a client, if there is one: a client whose own address moved would get
    /// other listeners, and that is another measurement.
    fn bystander(&self) -> Service {
        let services = self.source.services();
        let taken = self.cell.clients.div_ceil(ENDPOINTS);
        let free = services.saturating_sub(taken);
        match free {
            0 => Service(self.round % services),
            free => Service(taken + self.round % free),
        }
    }

    /// Sends everything from the source again and watches that nobody is told.
    async fn nothing(&mut self) -> Result<Change> {
        progress(Step::Nothing.title());
        let (meter, before) = (self.server.meter()?, self.fleet.sent());
        self.make(ChangeKind::Nothing);
        tokio::time::sleep(SILENCE).await;
        self.settle().await?;
        let mut rounds = Rounds::default();
        rounds.add(Vec::new(), meter.cost()?);
        Ok(rounds.finish(ChangeKind::Nothing, self.fleet.sent() - before))
    }

    /// One client gets its configuration and then reads nothing: what do the others notice?
    async fn stuck(&mut self) -> Result<Change> {
        progress("one more client, which stops reading");
        let (service, endpoint) = Service::of_client(self.cell.clients, self.source.services());
        let stuck = Fleet::stuck(
            self.server.xds(),
            self.cell.protocol,
            service.sidecar(endpoint),
            &self.spawner,
            self.cell.limit,
        );
        let stuck = self.server.during(stuck).await?;
        self.settle().await?;
        let change = self.changes(ChangeKind::VirtualService).await;
        drop(stuck);
        change
    }

    /// Changes at a steady rate, whether or not anybody keeps up.
    async fn storm(&mut self, seconds: u32) -> Result<Storm> {
        progress(&format!("{STORM} changes per second for {seconds} seconds"));
        let (meter, before) = (self.server.meter()?, self.fleet.sent());
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / STORM);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let changes = STORM * seconds;
        let mut last = None;
        for _ in 0..changes {
            ticks.tick().await;
            last = Some(self.make(ChangeKind::VirtualService));
        }
        let (milestone, start) = last.context("a storm of no changes")?;
        let times = self
            .everyone(milestone, "the last change of the storm", start)
            .await?;
        self.settle().await?;
        Ok(Storm {
            changes,
            settled: times.into_iter().max().unwrap_or_default(),
            cost: meter.cost()?,
            sent: self.fleet.sent() - before,
            resident: self.server.usage()?.resident,
            peak: self.server.usage()?.peak,
        })
    }

    /// Changes one after the other, each of which all clients have before the next one is made.
    async fn turns(&mut self, changes: u32) -> Result<Turns> {
        progress(&format!("{changes} changes in turn"));
        self.take_turns(WARM_UP).await?;
        let before = self.server.usage()?.resident;
        let meter = self.server.meter()?;
        self.take_turns(changes).await?;
        Ok(Turns {
            changes,
            cost: meter.cost()?,
            resident_before: before,
            resident_after: self.server.usage()?.resident,
        })
    }

    async fn take_turns(&mut self, changes: u32) -> Result<()> {
        let kinds = [ChangeKind::VirtualService, ChangeKind::Endpoint];
        for kind in kinds.into_iter().cycle().zip(0..changes).map(|(kind, _)| kind) {
            let (milestone, start) = self.make(kind);
            let what = format!("change {} ({})", self.round, Step::from(kind).title());
            self.everyone(milestone, &what, start).await?;
        }
        self.settle().await
    }

    pub(super) async fn everyone(
        &mut self,
        milestone: Milestone,
        what: &str,
        start: Instant,
    ) -> Result<Vec<Duration>> {
        let all = self.fleet.all(milestone, what, start, self.cell.limit);
        self.server.during(all).await
    }

    /// Waits until the server has nothing more to do: answers are still to be read when the last client is served.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let state = |scenario: &Self| -> Result<(Duration, Sent)> {
            Ok((scenario.server.usage()?.cpu, scenario.fleet.sent()))
        };
        let deadline = Instant::now() + RESTLESS;
        let mut last = state(self)?;
        let mut quiet_since = Instant::now();
        while quiet_since.elapsed() < QUIET && Instant::now() < deadline {
            tokio::time::sleep(GLANCE).await;
            let now = state(self)?;
            if now != last {
                (last, quiet_since) = (now, Instant::now());
            }
        }
        Ok(())
    }
}

/// Says what happens now, to whoever waits for the figures.
pub(super) fn progress(step: &str) {
    // Nobody may be looking.
    let _ = writeln!(stderr(), "  {step}");
}
