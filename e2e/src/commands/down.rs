//! `cargo mesh down`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use super::{runtime, say, unprivileged};
use crate::mesh::layout::{Holder, Layout};

/// How long a mesh may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(layout: &Layout) -> Result<ExitCode> {
    // Files of pods belong to users that only the mesh's own user namespace knows.
    unprivileged::enter_if_needed()?;
    runtime()?.block_on(down(layout))
}

async fn down(layout: &Layout) -> Result<ExitCode> {
    let Holder::Process(pid) = layout.holder()? else {
        let left = layout.root().exists();
        layout.remove()?;
        say(if left {
            "no mesh was running; removed what the last one left"
        } else {
            "no mesh is running"
        });
        return Ok(ExitCode::SUCCESS);
    };
    for (signal, patience) in [
        (Signal::SIGTERM, PATIENCE),
        (Signal::SIGKILL, Duration::from_secs(5)),
    ] {
        Layout::signal(pid, signal);
        if gone(layout, patience).await? {
            layout.remove()?;
            say("the mesh is down");
            return Ok(ExitCode::SUCCESS);
        }
    }
    bail!("process {pid} does not end")
}

async fn gone(layout: &Layout, patience: Duration) -> Result<bool> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if layout.holder()? == Holder::Nobody {
            return Ok(true);
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(false)
}
