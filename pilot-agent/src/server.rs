//! `pilot-agent proxy`: wires the parts together.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use mesh_runtime::args::HostPort;
use mesh_runtime::http::serve_http;
use mesh_runtime::{Drain, Runtime, listen};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::args::ProxyArgs;
use crate::cli::{Cli, Parsed, Task};
use crate::config::{Config, DrainLimits};
use crate::env::Environment;
use crate::launch::{self, Launcher};
use crate::supervisor::{Supervisor, TERMINATION};
use crate::{interfaces, request, status, watcher};

/// How long the name of the statsd server may take to resolve.
const STATSD_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs the program with its arguments, the first of which is its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Parsed { cli, ignored } = match Cli::read(args) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    let failure = match cli.command {
        Task::Proxy(args) => return proxy(*args, ignored),
        Task::Request(args) => request::run(&args).err(),
        Task::Version => print_version().err(),
        Task::Exec(args) => match launch::exec(&args) {
            Err(error) => {
                eprintln!("pilot-agent: {error}");
                return ExitCode::from(127);
            }
        },
    };
    match failure {
        None => ExitCode::SUCCESS,
        Some(error) => {
            eprintln!("pilot-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_version() -> anyhow::Result<()> {
    use std::io::Write as _;
    let (version, revision) = (mesh_runtime::version::VERSION, mesh_runtime::version::REVISION);
    writeln!(std::io::stdout(), "{version}-{revision}").context("cannot print the version")
}

fn proxy(args: ProxyArgs, ignored: Vec<String>) -> ExitCode {
    let env = Environment::of_process();
    // Twice the time that Envoy has to end by itself: asked first, then killed.
    let deadline = DrainLimits::resolve(&env).max + 2 * TERMINATION + Duration::from_secs(1);
    let builder = Runtime::builder("pilot-agent")
        .log(args.log.clone())
        .worker_threads(1)
        .drain_deadline(deadline);
    mesh_runtime::run(builder, async move |runtime| {
        start(runtime, args, ignored, env).await
    })
}

async fn start(
    runtime: Runtime,
    args: ProxyArgs,
    ignored: Vec<String>,
    env: Environment,
) -> anyhow::Result<()> {
    if !ignored.is_empty() {
        warn!(flags = ?ignored, "flags that this version does not know are ignored");
    }
    let interfaces = match args.ip.as_deref() {
        None | Some("") => interfaces::wait_for_addresses().await,
        Some(_) => interfaces::addresses(),
    };
    let mut config = Config::resolve(args, &env, &interfaces)?;
    config.statsd = match &config.statsd_address {
        Some(address) => resolve_statsd(address).await,
        None => None,
    };
    require_program(&config.envoy.binary)?;
    info!(
        node = config.node.id(),
        role = config.node.role.name(),
        "configured"
    );

    if let Some(port) = config.status.port {
        let (listener, _) = listen::bind("--statusPort", &HostPort::any(port)).await?;
        let router = status::router(&config, runtime.drain().clone());
        // Without a drain of its own: it tells that the agent drains, until the very end.
        let server = serve_http(
            "status",
            listener,
            router,
            runtime.spawner().clone(),
            Drain::never(),
        );
        runtime.spawner().spawn_vital("status", server);
    }
    let (sender, fingerprints) = mpsc::channel(1);
    runtime.spawner().spawn_vital(
        "certificates",
        watcher::watch(config.certificates.clone(), sender),
    );

    let launcher = Launcher::start().context("cannot start a thread")?;
    let supervisor = Supervisor::new(config, launcher, runtime.spawner().clone());
    let (shutdown, drain) = (runtime.shutdown().clone(), runtime.drain().clone());
    runtime.spawner().spawn_vital("envoy", async move {
        supervisor.run(fingerprints, drain).await?;
        // The last Envoy was asked to quit, or the agent leaves anyway.
        shutdown.request("envoy has ended");
        Ok::<_, crate::supervisor::SupervisorError>(())
    });
    Ok(())
}

/// Fails with the reason that every start of Envoy would fail with.
fn require_program(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path).with_context(|| format!("--binaryPath: {}", path.display()))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        anyhow::bail!("--binaryPath: {} is not a program", path.display());
    }
    Ok(())
}

/// Envoy takes an address only. Statistics are not worth a pod that does not start.
async fn resolve_statsd(address: &HostPort) -> Option<SocketAddr> {
    let host = address.host.as_deref().unwrap_or_default();
    let lookup = tokio::net::lookup_host((host, address.port));
    let resolved = match tokio::time::timeout(STATSD_TIMEOUT, lookup).await {
        Ok(Ok(mut addresses)) => addresses.next(),
        Ok(Err(error)) => {
            warn!(%address, %error, "no statistics are sent to statsd: its name cannot be resolved");
            return None;
        }
        Err(_) => None,
    };
    if resolved.is_none() {
        warn!(%address, "no statistics are sent to statsd: its name cannot be resolved");
    }
    resolved
}
