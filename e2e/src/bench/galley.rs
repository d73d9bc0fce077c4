//! `cargo mesh bench galley`: from a file to the sinks.
//!
//! ```text
//! files ─notify─> galley ═MCP═> sinks
//!              (measured, /proc)  (this process)
//! ```
//!
//! Files are those with which Istio 1.1.17 was measured: each holds the ServiceEntry, the DestinationRule and the
//! VirtualService of one service. A change overwrites one file, and is delivered when all sinks have it.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use mesh_config::Kind;
use mesh_mcp::metrics::McpMetrics;
use mesh_mcp::{Change, Sink, SinkOptions};
use mesh_runtime::grpc::{self, ClientOptions};
use mesh_runtime::{Metrics, Spawner, TaskHandle};
use mesh_testing::Process;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::process::{Meter, Usage};
use super::release;
use super::stats::percentile;

/// What every sink asks for.
const KINDS: [Kind; 3] = [Kind::ServiceEntry, Kind::DestinationRule, Kind::VirtualService];
/// Far above what any collection of the bench has: the limit of sinks is not what is measured.
const MESSAGE_BYTES: usize = 256 << 20;

/// Options of `cargo mesh bench galley`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Numbers of objects; every file holds three.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000], value_parser = clap::value_parser!(u32).range(3..=100_000))]
    pub objects: Vec<u32>,

    /// Numbers of sinks, each on a connection of its own. Every number of objects is measured with every number of sinks.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16], value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub sinks: Vec<u32>,

    /// Changes that are made one after the other.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub changes: u32,

    /// Sinks ask for changes instead of full states, as ours do.
    #[arg(long, action = clap::ArgAction::Set, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    pub incremental: bool,

    /// Seconds after which what is not delivered is a failure.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub limit: u32,

    /// Measure this `galley` instead of a release build of this workspace.
    #[arg(long, value_name = "PROGRAM")]
    pub server: Option<PathBuf>,
}

/// A sink that tells when it has something.
struct Follower {
    changes: mpsc::Receiver<Change>,
    _task: TaskHandle,
}

/// One row.
struct Figures {
    objects: u32,
    sinks: u32,
    loaded: Duration,
    load_cpu: Duration,
    changes: Vec<Duration>,
    change_cpu: Duration,
    idle_cpu: Duration,
    usage: Usage,
}

/// Measures Galley.
pub(super) fn run(args: &Args) -> Result<()> {
    let program = match &args.server {
        Some(program) => program.clone(),
        None => {
            let program = release::build("galley", "galley")?;
            release::go_on(&["--server".as_ref(), program.as_os_str()])?;
            program
        }
    };
    mesh_runtime::limits::raise_file_limit().context("cannot open a connection for each sink")?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the executor")?
        .block_on(async {
            let mut rows = Vec::new();
            for &objects in &args.objects {
                for &sinks in &args.sinks {
                    let figures = measure(args, &program, objects, sinks).await;
                    rows.push(figures.with_context(|| format!("{objects} objects, {sinks} sinks"))?);
                }
            }
            std::io::stdout().write_all(render(rows).as_bytes())?;
            Ok(())
        })
}

async fn measure(args: &Args, program: &Path, objects: u32, sinks: u32) -> Result<Figures> {
    let limit = Duration::from_secs(args.limit.into());
    let services = objects / 3;
    let folder = TempDir::new()?;
    for number in 0..services {
        write(folder.path(), number, "start")?;
    }
    let started = Instant::now();
    let (process, address) = start(program, folder.path(), limit).await?;
    let mut followers: Vec<Follower> = (0..sinks)
        .map(|number| Follower::start(address, number, args.incremental))
        .collect::<Result<_>>()?;
    for follower in &mut followers {
        follower.full_state(services, limit).await?;
    }
    let loaded = started.elapsed();
    let load_cpu = Usage::of(process.id())?.cpu;

    let mut changes = Vec::new();
    let meter = Meter::start(process.id())?;
    for number in 0..args.changes {
        let marker = format!("change-{number}");
        let begin = Instant::now();
        write(folder.path(), number % services, &marker)?;
        for follower in &mut followers {
            follower.marker(&marker, limit).await?;
        }
        changes.push(begin.elapsed());
    }
    let change_cpu = meter.cost()?.server / args.changes;

    // Nothing happens, so nothing may be done.
    let meter = Meter::start(process.id())?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle_cpu = meter.cost()?.server / 5;
    Ok(Figures {
        objects: services * 3,
        sinks,
        loaded,
        load_cpu,
        changes,
        change_cpu,
        idle_cpu,
        usage: Usage::of(process.id())?,
    })
}

async fn start(program: &Path, config: &Path, limit: Duration) -> Result<(Process, SocketAddr)> {
    let mut command = Command::new(program);
    command
        .arg("server")
        .arg(format!("--configPath={}", config.display()))
        .args([
            "--insecure",
            "--enable-validation=false",
            "--server-address=tcp://127.0.0.1:0",
            "--monitoringAddr=127.0.0.1:0",
            "--ctrlz_address=",
            "--livenessProbePath=",
            "--readinessProbePath=",
            "--log_as_json",
        ]);
    let mut process = Process::start_bound("galley", &command)
        .with_context(|| format!("cannot start {}", program.display()))?;
    let address = process.wait_for_address(limit, "--server-address").await?;
    Ok((process, address))
}

/// The file of one service (the mesh of the baseline).
fn write(folder: &Path, number: u32, marker: &str) -> Result<()> {
    let name = format!("svc-{number}");
    let host = format!("{name}.example.com");
    let address = format!("10.{}.{}.1", number / 250, number % 250);
    let mut endpoints = String::new();
    for endpoint in 0..10 {
        let version = endpoint % 2 + 1;
        writeln!(
            endpoints,
            "  - {{address: 10.200.{endpoint}.1, labels: {{version: v{version}}}}}"
        )?;
    }
    let text = format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {{name: {name}, namespace: ns-0}}
spec:
  hosts: [{host}]
  addresses: [{address}]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints:
{endpoints}---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {{name: {name}, namespace: ns-0}}
spec:
  host: {host}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {{name: {name}, namespace: ns-0, annotations: {{marker: \"{marker}\"}}}}
spec:
  hosts: [{host}]
  http: [{{route: [{{destination: {{host: {host}, subset: v1}}}}]}}]
"
    );
    fs::write(folder.join(format!("{name}.yaml")), text).context("cannot write a file")
}

fn render(rows: Vec<Figures>) -> String {
    let mut text = "| objects | sinks | start to full state at all sinks | CPU of that | change delivered to all: p50, p99 | \
                    CPU per change | idle CPU | memory now, at most |\n|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for mut row in rows {
        let (p50, p99) = (
            percentile(&mut row.changes, 0.5),
            percentile(&mut row.changes, 0.99),
        );
        let mib = |bytes: u64| bytes >> 20;
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "| {} | {} | {:.2?} | {:.2?} | {p50:.1?}, {p99:.1?} | {:.1?} | {:.1?} per s | {} MiB, {} MiB |",
            row.objects,
            row.sinks,
            row.loaded,
            row.load_cpu,
            row.change_cpu,
            row.idle_cpu,
            mib(row.usage.resident),
            mib(row.usage.peak)
        );
    }
    text
}

// === impl Follower ===

impl Follower {
    fn start(address: SocketAddr, number: u32, incremental: bool) -> Result<Self> {
        let channel = grpc::connect(&address.to_string().parse()?, &ClientOptions::default())?;
        let options = SinkOptions {
            incremental,
            max_message_bytes: MESSAGE_BYTES,
            ..SinkOptions::new(format!("sink-{number}"), KINDS)
        };
        let metrics = McpMetrics::register(&Metrics::new(), "bench/mcp/sink")?;
        let (sink, _handle) = Sink::new(channel, address.to_string(), options, metrics);
        let (sender, changes) = mpsc::channel(16);
        let task = Spawner::default().spawn("sink", sink.run(sender));
        Ok(Self { changes, _task: task })
    }

    async fn full_state(&mut self, services: u32, limit: Duration) -> Result<()> {
        let mut missing: Vec<Kind> = KINDS.into();
        self.until(limit, |change| {
            let objects = u32::try_from(change.content.objects().len()).unwrap_or(u32::MAX);
            missing.retain(|&kind| kind != change.kind || objects != services);
            missing.is_empty()
        })
        .await
    }

    async fn marker(&mut self, marker: &str, limit: Duration) -> Result<()> {
        self.until(limit, |change| {
            let mut objects = change.content.objects().iter();
            change.kind == Kind::VirtualService
                && objects.any(|object| {
                    let annotation = object.meta.annotations.get("marker");
                    annotation.is_some_and(|value| value.as_str() == marker)
                })
        })
        .await
    }

    async fn until(&mut self, limit: Duration, mut enough: impl FnMut(&Change) -> bool) -> Result<()> {
        let wait = async {
            while let Some(change) = self.changes.recv().await {
                if enough(&change) {
                    return true;
                }
            }
            false
        };
        match tokio::time::timeout(limit, wait).await {
            Ok(true) => Ok(()),
            Ok(false) => bail!("a sink ended"),
            Err(_) => bail!("a sink is not served within {limit:?}"),
        }
    }
}
