//! What happens to a mesh, step by step, and what is measured meanwhile.

use std::io::{Write as _, stderr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mesh_runtime::Spawner;
use tokio::time::MissedTickBehavior;

use super::Args;
use super::ads::{Fleet, Milestone, Protocol, Sent, XdsType};
use super::figures::Step;
use super::results::{Change, ChangeKind, Connect, Rounds, Run, Start, Storm};
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

/// A server under load.
#[derive(Debug)]
struct Scenario<'a> {
    args: &'a Args,
    spawner: Spawner,
    source: MeshSource,
    server: Server,
    fleet: Fleet,
    /// Counts changes, so that each is made to another service.
    round: u32,
}

/// Measures one mesh.
pub(crate) async fn run(args: &Args, program: &Path, services: u32, log: &Path) -> Result<Run> {
    let spawner = Spawner::default();
    let source = MeshSource::new(services);
    let address = source.serve(&spawner).await?;
    progress(&format!("{services} services: starting"));
    let mut server = Server::start(program, address, log)?;
    let ready = server.ready(args.limit()).await?;

    let nodes = (0..args.clients).map(|client| {
        let (service, endpoint) = Service::of_client(client, services);
        service.sidecar(endpoint)
    });
    let fleet = Fleet::new(server.xds(), args.protocol(), nodes.collect());
    let mut scenario = Scenario {
        args,
        spawner,
        source,
        server,
        fleet,
        round: 0,
    };
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
    let storm = match args.storm {
        0 => None,
        seconds => Some(scenario.storm(seconds).await?),
    };
    let stuck = if args.stuck {
        Some(scenario.stuck().await?)
    } else {
        None
    };
    scenario.fleet.disconnect();
    scenario.settle().await?;
    let reconnect = scenario.connect().await?;
    scenario.server.stop().await?;
    Ok(Run {
        services,
        clients: args.clients,
        delta: args.delta,
        start,
        connect,
        changes,
        reconnect,
        stuck,
        storm,
        resident_end: usage.resident,
        peak: usage.peak,
    })
}

// === impl Scenario ===

impl Scenario<'_> {
    async fn start(&mut self, ready: Duration) -> Result<Start> {
        self.settle().await?;
        let usage = self.server.usage()?;
        Ok(Start {
            ready,
            cpu_until_idle: usage.cpu,
            resident_idle: usage.resident,
        })
    }

    async fn connect(&mut self) -> Result<Connect> {
        progress(&format!("connecting {} clients", self.args.clients));
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
        for _ in 0..self.args.rounds {
            let (times, cost) = self.change(kind).await?;
            rounds.add(times, cost);
        }
        Ok(rounds.finish(kind, self.fleet.sent() - before))
    }

    /// Makes one change and waits until all have it.
    async fn change(&mut self, kind: ChangeKind) -> Result<(Vec<Duration>, Cost)> {
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
        let taken = self.args.clients.div_ceil(ENDPOINTS);
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
        let (service, endpoint) = Service::of_client(self.args.clients, self.source.services());
        let stuck = Fleet::stuck(
            self.server.xds(),
            self.args.protocol(),
            service.sidecar(endpoint),
            &self.spawner,
            self.args.limit(),
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
            peak: self.server.usage()?.peak,
        })
    }

    async fn everyone(&mut self, milestone: Milestone, what: &str, start: Instant) -> Result<Vec<Duration>> {
        let all = self.fleet.all(milestone, what, start, self.args.limit());
        self.server.during(all).await
    }

    /// Waits until the server has nothing more to do: answers are still to be read when the last client is served.
    async fn settle(&mut self) -> Result<()> {
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
fn progress(step: &str) {
    // Nobody may be looking.
    let _ = writeln!(stderr(), "  {step}");
}

// === impl Args ===

impl Args {
    fn protocol(&self) -> Protocol {
        if self.delta {
            Protocol::Delta
        } else {
            Protocol::Sotw
        }
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.limit.into())
    }
}
