//! `cargo mesh bench pilot`: a synthetic mesh, many proxies, and changes.
//!
//! ```text
//! MeshSource ═MCP═> pilot-discovery ═ADS═> Fleet of clients
//!  (this process)    (measured, /proc)      (this process)
//! ```
//!
//! Mesh, clients and changes are those with which Istio 1.1.17 was measured, so that its figures can stand beside ours.

mod ads;
mod baseline;
mod figures;
mod results;
mod scenario;
mod server;
mod source;
mod table;
mod workload;

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::release;
use crate::mesh::programs::target;

/// Options of `cargo mesh bench pilot`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Sizes of the mesh, one run each: every service has a ServiceEntry with ten endpoints, a DestinationRule with
    /// two subsets and a VirtualService.
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [100, 1000],
        value_parser = clap::value_parser!(u32).range(1..=i64::from(workload::MOST_SERVICES))
    )]
    pub services: Vec<u32>,

    /// Connected proxies, each on a connection of its own.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: u32,

    /// How often each kind of change is made; figures are medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

    /// Speak delta xDS instead of state of the world.
    #[arg(long)]
    pub delta: bool,

    /// Measure also while one more client reads nothing.
    #[arg(
        long,
        action = clap::ArgAction::Set,
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true
    )]
    pub stuck: bool,

    /// Also make 50 changes per second for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub storm: u32,

    /// Seconds after which a client that is still not served is a failure.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub limit: u32,

    /// Append all figures as one line of JSON per run.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Measure this `pilot-discovery` instead of a release build of this workspace.
    #[arg(long, value_name = "PROGRAM")]
    pub server: Option<PathBuf>,
}

/// Measures Pilot.
pub(super) fn run(args: &Args) -> Result<()> {
    let program = match &args.server {
        Some(program) => program.clone(),
        None => {
            print("building for release\n")?;
            let program = release::build("pilot", "pilot-discovery")?;
            release::go_on(&[OsStr::new("--server"), program.as_os_str()])?;
            program
        }
    };
    if !program.is_file() {
        bail!("{} is not a program", program.display());
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the executor")?
        .block_on(async {
            tokio::select! {
                done = measure(args, &program) => done,
                // What runs is dropped, and with it the server.
                () = interrupted() => bail!("interrupted"),
            }
        })
}

async fn measure(args: &Args, program: &Path) -> Result<()> {
    for &services in &args.services {
        let log = target()?
            .join("bench")
            .join(format!("pilot-discovery-{services}x{}.log", args.clients));
        let run = scenario::run(args, program, services, &log)
            .await
            .with_context(|| format!("{services} services, {} clients", args.clients))?;
        print(&format!("\n{}", table::render(&run)))?;
        if let Some(path) = &args.json {
            let mut line = serde_json::to_vec(&run)?;
            line.push(b'\n');
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            file.write_all(&line)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};

    let wait = async |kind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Without a handler the signal ends this process at once, and it need not be waited for.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
}

fn print(text: &str) -> Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to standard output")
}
