//! A server that is killed and started again: all proxies come back at once.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Cell;
use super::ads::{Milestone, Protocol};
use super::results::{ChangeKind, Restart};
use super::scenario::{Scenario, progress};

/// How long nothing may be sent when nothing happens.
const IDLE: Duration = Duration::from_secs(5);

/// Measures one mesh.
pub(crate) async fn run(cell: &Cell, program: &Path, log: &Path) -> Result<Restart> {
    let (mut scenario, _) = Scenario::begin(cell, program, log).await?;
    let connect = scenario.connect().await?;

    progress("killing the server and starting it again");
    let killed = Instant::now();
    let ready = scenario.server.restart(cell.limit).await?;
    let served = scenario
        .everyone(Milestone::Complete, "their configuration again", killed)
        .await?;
    scenario.settle().await?;
    let usage = scenario.server.usage()?;

    let before = scenario.fleet.sent();
    scenario.change(ChangeKind::VirtualService).await?;
    let changed = scenario.fleet.sent();
    tokio::time::sleep(IDLE).await;
    let idle = scenario.fleet.sent() - changed;
    scenario.server.stop().await?;
    Ok(Restart {
        services: cell.services,
        clients: cell.clients,
        delta: cell.protocol == Protocol::Delta,
        connect,
        ready,
        served: served.into_iter().max().unwrap_or_default(),
        server_cpu: usage.cpu,
        resident: usage.resident,
        peak: usage.peak,
        dropped: (changed - before).lost_streams + idle.lost_streams,
        idle_responses: idle.responses.iter().sum(),
    })
}
