//! `cargo mesh logs`

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{runtime, state};
use crate::mesh::layout::Layout;

/// How often a followed file is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of a pod, of a component, or `mesh` for the mesh's own messages.
    source: String,
    /// Which of the pod's containers, if not the application's.
    #[arg(short, long)]
    container: Option<String>,
    /// Go on printing what is added.
    #[arg(short, long)]
    follow: bool,
}

pub(super) fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    let path = path(args, layout)?;
    let mut file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut stdout = io::stdout().lock();
    io::copy(&mut file, &mut stdout)?;
    if args.follow {
        runtime()?.block_on(async {
            loop {
                tokio::time::sleep(INTERVAL).await;
                io::copy(&mut file, &mut stdout)?;
                stdout.flush()?;
            }
            #[expect(unreachable_code, reason = "tells the compiler the type of the error")]
            anyhow::Ok(())
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn path(args: &Args, layout: &Layout) -> Result<PathBuf> {
    if args.source == "mesh" {
        return Ok(layout.own_log());
    }
    let state = state(layout)?;
    if let Some(component) = state.component(&args.source) {
        return Ok(component.log.clone());
    }
    // Init containers have ended and are in no list, but what they said is kept.
    if let (Some(container), Some(pod)) = (&args.container, state.pod(&args.source)) {
        let path = layout.container_log(&pod.namespace, &pod.name, container);
        if path.exists() {
            return Ok(path);
        }
    }
    Ok(state.find_container(&args.source, args.container.as_deref())?.log)
}
