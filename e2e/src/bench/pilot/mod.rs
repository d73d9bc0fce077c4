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
mod restart;
mod results;
mod scenario;
mod server;
mod source;
mod summary;
mod table;
mod workload;

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

pub use self::ads::Protocol;
use super::release;
use crate::mesh::programs::target;

/// Services times clients from which the matrix makes do with fewer rounds: a service that is added is megabytes for
/// each client.
const LARGE: u32 = 500_000;
const LARGE_ROUNDS: u32 = 3;
/// Seconds of a storm of the matrix.
const MATRIX_STORM: u32 = 30;
/// Services and clients of the matrix with which changes are made in turn, and how many.
const MATRIX_TURNS: ((u32, u32), u32) = ((1000, 100), 1000);

/// Options of `cargo mesh bench pilot`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Sizes of the mesh: every service has a ServiceEntry with ten endpoints, a DestinationRule with two subsets and a
    /// VirtualService.
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [100, 1000],
        value_parser = clap::value_parser!(u32).range(1..=i64::from(workload::MOST_SERVICES))
    )]
    pub services: Vec<u32>,

    /// Numbers of connected proxies, each on a connection of its own.
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [100],
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub clients: Vec<u32>,

    /// What proxies speak. Every size of the mesh is measured with every number of proxies and every protocol.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Protocol::Sotw])]
    pub protocol: Vec<Protocol>,

    /// Everything that `pilot/BENCHMARKS.md` shows: 100, 1000 and 5000 services, 1, 100 and 500 proxies, both
    /// protocols, a storm of 30 seconds in each, 1000 changes in turn with 1000 services and 100 proxies.
    #[arg(long, conflicts_with_all = ["services", "clients", "protocol", "storm", "turns"])]
    pub matrix: bool,

    /// How often each kind of change is made; figures are medians. Large meshes of the matrix make do with three.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

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

    /// Also make so many changes one after the other, and see whether memory grows.
    #[arg(long, value_name = "CHANGES", default_value_t = 0)]
    pub turns: u32,

    /// Instead of all that: kill the server and start it again, so that all proxies come back at once.
    #[arg(long, conflicts_with_all = ["matrix", "storm", "turns"])]
    pub restart: bool,

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

/// One mesh with one fleet of clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) services: u32,
    pub(crate) clients: u32,
    pub(crate) protocol: Protocol,
    pub(crate) rounds: u32,
    pub(crate) stuck: bool,
    pub(crate) storm: u32,
    pub(crate) turns: u32,
    pub(crate) limit: Duration,
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
    mesh_runtime::limits::raise_file_limit().context("cannot open a connection for each client")?;
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
    let mut runs = Vec::new();
    for cell in args.cells() {
        let name = format!("pilot-discovery-{}x{}.log", cell.services, cell.clients);
        let log = target()?.join("bench").join(name);
        let context = || {
            let protocol = match cell.protocol {
                Protocol::Sotw => "state of the world",
                Protocol::Delta => "delta",
            };
            format!("{} services, {} clients, {protocol}", cell.services, cell.clients)
        };
        if args.restart {
            let restart = restart::run(&cell, program, &log).await.with_context(context)?;
            print(&format!("\n{}", table::render_restart(&restart)))?;
            append(args, &restart)?;
        } else {
            let run = scenario::run(&cell, program, &log).await.with_context(context)?;
            print(&format!("\n{}", table::render(&run)))?;
            append(args, &run)?;
            runs.push(run);
        }
    }
    if runs.len() > 1 {
        print(&format!("\n{}", summary::render(&runs)))?;
    }
    Ok(())
}

fn append(args: &Args, figures: &impl serde::Serialize) -> Result<()> {
    let Some(path) = &args.json else {
        return Ok(());
    };
    let mut line = serde_json::to_vec(figures)?;
    line.push(b'\n');
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    file.write_all(&line)
        .with_context(|| format!("cannot write {}", path.display()))
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

// === impl Args ===

impl Args {
    /// What is measured, in this order.
    fn cells(&self) -> Vec<Cell> {
        let (services, clients, protocols) = if self.matrix {
            let protocols = vec![Protocol::Sotw, Protocol::Delta];
            (vec![100, 1000, 5000], vec![1, 100, 500], protocols)
        } else {
            (self.services.clone(), self.clients.clone(), self.protocol.clone())
        };
        let mut cells = Vec::new();
        for &services in &services {
            for &clients in &clients {
                for &protocol in &protocols {
                    cells.push(self.cell(services, clients, protocol));
                }
            }
        }
        cells
    }

    fn cell(&self, services: u32, clients: u32, protocol: Protocol) -> Cell {
        let cell = Cell {
            services,
            clients,
            protocol,
            rounds: self.rounds,
            stuck: self.stuck,
            storm: self.storm,
            turns: self.turns,
            limit: Duration::from_secs(self.limit.into()),
        };
        if !self.matrix {
            return cell;
        }
        Cell {
            rounds: if services.saturating_mul(clients) < LARGE {
                self.rounds
            } else {
                self.rounds.min(LARGE_ROUNDS)
            },
            storm: MATRIX_STORM,
            turns: if (services, clients) == MATRIX_TURNS.0 {
                MATRIX_TURNS.1
            } else {
                0
            },
            ..cell
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn cells(flags: &[&str]) -> Vec<Cell> {
        let args = ["bench"].iter().chain(flags);
        Cli::try_parse_from(args).unwrap().args.cells()
    }

    #[test]
    fn every_size_is_measured_with_every_number_of_clients_and_every_protocol() {
        let told = |cell: &Cell| (cell.services, cell.clients, cell.protocol);
        let some = cells(&["--services=10,20", "--clients=1,2", "--protocol=sotw,delta"]);
        assert_eq!(some.len(), 8);
        assert_eq!(told(&some[1]), (10, 1, Protocol::Delta));
        assert_eq!(told(&some[7]), (20, 2, Protocol::Delta));
        assert!(
            some.iter()
                .all(|cell| cell.storm == 0 && cell.turns == 0 && cell.rounds == 5)
        );
    }

    #[test]
    fn the_matrix_has_18_cells_with_a_storm_each() {
        let matrix = cells(&["--matrix"]);
        assert_eq!(matrix.len(), 18);
        assert!(matrix.iter().all(|cell| cell.storm == 30 && cell.stuck));
        let turns: Vec<_> = matrix.iter().filter(|cell| cell.turns > 0).collect();
        assert_eq!(turns.len(), 2);
        assert_eq!(
            (turns[0].services, turns[0].clients, turns[0].turns),
            (1000, 100, 1000)
        );
        assert_eq!(matrix.iter().filter(|cell| cell.rounds == 3).count(), 6);
    }
}
