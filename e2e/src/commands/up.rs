//! `cargo mesh up`

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mesh_testing::provision;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use super::{runtime, say, start_logging, unprivileged};
use crate::mesh::layout::{Holder, Layout};
use crate::mesh::programs::{Programs, workspace};
use crate::mesh::state::State;
use crate::mesh::{Component, Mesh, MeshBuilder};
use crate::provision::{install_envoy, install_tools};

/// What runs when nothing is named.
const DEFAULT_SAMPLE: &str = "e2e/samples/weather";

/// Ports of the machine for ports of the ingress gateway, if they are free.
const INGRESS_PORTS: [(i32, u16); 3] = [(80, 8080), (443, 8443), (31400, 31400)];

/// How long a detached mesh may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long the first answer of the ingress is waited for.
const SETTLE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File or folder with Kubernetes YAML; may be repeated. Read again when it changes. Default: the weather
    /// sample.
    #[arg(short, long, value_name = "FILE|DIR")]
    file: Vec<PathBuf>,
    /// Return as soon as the mesh is ready; `cargo mesh down` ends it.
    #[arg(long)]
    detach: bool,
    /// Leave a component out: galley, pilot, policy or telemetry.
    #[arg(long, value_name = "COMPONENT")]
    without: Vec<Component>,
    /// Keep the objects in a Kubernetes API server of the mesh's own, where kubectl changes them.
    #[arg(long)]
    kubernetes: bool,
    /// Version of Envoy, or path of one.
    #[arg(long, value_name = "VERSION")]
    envoy: Option<String>,
    /// Take the programs as they were built last.
    #[arg(long)]
    no_build: bool,
    /// Port of this machine that leads to port 80 of the ingress gateway, if it is free.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// This is the process that `--detach` has started.
    #[arg(long, hide = true)]
    daemon: bool,
}

pub(super) fn run(args: &Args, name: Option<&str>, layout: &Layout) -> Result<ExitCode> {
    if args.detach && !args.daemon {
        return detach();
    }
    // Before the user namespace, in which root is not the machine's.
    install_tools()?;
    unprivileged::enter_if_needed()?;
    start_logging(args.daemon.then(|| layout.own_log()));
    if args.daemon {
        nix::unistd::setsid().context("cannot leave the terminal")?;
    }
    let builder = builder(args, name)?;
    runtime()?.block_on(serve(builder, args.daemon))
}

fn builder(args: &Args, name: Option<&str>) -> Result<MeshBuilder> {
    let mut builder = Mesh::builder();
    if let Some(name) = name {
        builder = builder.name(name);
    }
    builder = match args.file.as_slice() {
        [] => builder.file(DEFAULT_SAMPLE),
        files => {
            let here = std::env::current_dir()?;
            files.iter().try_fold(builder, |builder, file| {
                let path = here.join(file);
                if !path.exists() {
                    bail!("{} does not exist", file.display());
                }
                Ok(builder.file(path))
            })?
        }
    };
    if args.kubernetes {
        builder = builder.kubernetes();
    }
    for component in &args.without {
        builder = builder.without(*component);
    }
    for (gateway, machine) in INGRESS_PORTS {
        let machine = if gateway == 80 {
            args.port.unwrap_or(machine)
        } else {
            machine
        };
        builder = builder.ingress_port(gateway, machine);
    }
    builder = builder.envoy(envoy(args.envoy.as_deref())?);
    if !args.no_build {
        // Here rather than in the builder, so that the time it takes is explained.
        say("building (quick when nothing has changed)");
        Programs::build()?;
    }
    Ok(builder.no_build())
}

/// Envoy by version or path.
fn envoy(wanted: Option<&str>) -> Result<PathBuf> {
    match wanted {
        None => install_envoy(provision::envoy),
        Some(text) => match provision::release(text) {
            Some(release) => install_envoy(|| provision::envoy_release(release)),
            None if Path::new(text).is_file() => Ok(Path::new(text).canonicalize()?),
            None => {
                let known: Vec<_> = provision::ENVOY_RELEASES
                    .iter()
                    .map(|release| release.version)
                    .collect();
                bail!(
                    "--envoy {text} is no file and none of the pinned versions {}",
                    known.join(", ")
                )
            }
        },
    }
}

/// Starts this command again in the background and repeats what it says until it is ready.
fn detach() -> Result<ExitCode> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--daemon")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ready = false;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            ready |= line.starts_with("ready:");
            say(&line);
        }
    }
    if ready {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    Ok(ExitCode::from(
        u8::try_from(status.code().unwrap_or(1)).unwrap_or(1),
    ))
}

async fn serve(builder: MeshBuilder, daemon: bool) -> Result<ExitCode> {
    let mut leave = Leave::new()?;
    let began = Instant::now();
    let layout = builder.layout()?;
    let mesh = tokio::select! {
        mesh = builder.start() => mesh?,
        () = leave.asked() => {
            // What has begun ended with the future. The files are left, unless they are those of another mesh.
            // A process that was just being started may keep the lock for a moment longer.
            match layout.holder()? {
                Holder::Process(pid) if pid.cast_unsigned() != std::process::id() => {}
                _ => layout.remove()?,
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    let ready = tokio::select! {
        ready = wait(&mesh, daemon) => ready,
        () = leave.asked() => {
            mesh.stop().await?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    if let Err(error) = ready {
        mesh.stop().await?;
        return Err(error);
    }
    announce(&mesh.state(), began.elapsed());
    if daemon {
        // Tells the waiting command that everything is said.
        let null = std::fs::File::options().write(true).open("/dev/null")?;
        nix::unistd::dup2_stdout(&null)?;
        nix::unistd::dup2_stderr(&null)?;
    }
    leave.asked().await;
    if !daemon {
        say("stopping");
    }
    mesh.stop().await?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for the mesh. In the foreground the wait has no end: whoever looks on can correct the files.
async fn wait(mesh: &Mesh, daemon: bool) -> Result<()> {
    loop {
        match mesh
            .wait_ready(if daemon { PATIENCE } else { Duration::from_secs(20) })
            .await
        {
            Ok(()) => break,
            Err(error) if daemon => return Err(error),
            Err(error) => say(&format!("{error:#}")),
        }
    }
    settle(mesh).await;
    Ok(())
}

/// Waits until what the pods' readiness has set in motion has reached the ingress.
async fn settle(mesh: &Mesh) {
    let state = mesh.state();
    let (Some(url), true) = (&state.ingress.http, state.gateways) else {
        return;
    };
    let deadline = Instant::now() + SETTLE;
    while Instant::now() < deadline {
        match status_of(url).await {
            Some(503) | None => sleep(Duration::from_millis(50)).await,
            Some(_) => return,
        }
    }
}

/// The status of the page at `url`, if anybody answers.
async fn status_of(url: &str) -> Option<u16> {
    let address = url.strip_prefix("http://")?;
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = [0; 12];
    timeout(Duration::from_secs(2), stream.read_exact(&mut head))
        .await
        .ok()?
        .ok()?;
    std::str::from_utf8(&head)
        .ok()?
        .strip_prefix("HTTP/1.1 ")?
        .parse()
        .ok()
}

fn announce(state: &State, took: Duration) {
    let ingress = state.ingress.http.as_deref().unwrap_or("no ingress gateway");
    say(&format!("ready: {ingress}"));
    say(&format!(
        "  {} pods, {} services, {:.1} s",
        state.pods.len(),
        state.services.len(),
        took.as_secs_f64()
    ));
    for problem in &state.problems {
        say(&format!("  problem: {problem}"));
    }
    if let Some(kubeconfig) = &state.kubeconfig {
        say(&format!("  kubectl --kubeconfig {}", kubeconfig.display()));
    }
    say("try:");
    let own = |namespace: &str| namespace == "istio-system";
    let service = state
        .services
        .iter()
        .find(|service| !own(namespace_of(&service.host)) && !is_api_server(&service.host));
    // A pod from which the way to the service leads through the mesh.
    let app = state
        .pods
        .iter()
        .rfind(|pod| !own(&pod.namespace) && pod.container("istio-proxy").is_some());
    if let (Some(pod), Some(service)) = (app, service) {
        let host = service.host.trim_end_matches(".svc.cluster.local");
        let port = service.ports.first().copied().unwrap_or(80);
        say(&format!(
            "  cargo mesh exec {} -- curl -s {host}:{port}/",
            pod.name
        ));
        say(&format!("  cargo mesh logs {} -c istio-proxy", pod.name));
    }
    if let Some(admin) = app.and_then(|pod| pod.admin.as_ref()) {
        say(&format!("  {admin} (an Envoy's administration page)"));
    }
    say(&format!(
        "  cargo mesh status, cargo mesh down ({})",
        relative(&state.config_dir)
    ));
}

/// The namespace in a service's full name.
fn namespace_of(host: &str) -> &str {
    host.split('.').nth(1).unwrap_or_default()
}

/// Whether this is the service by which pods reach the API server.
fn is_api_server(host: &str) -> bool {
    host.starts_with("kubernetes.default.")
}

/// A path as short as can be.
fn relative(path: &Path) -> String {
    let root = path.parent().unwrap_or(path);
    format!(
        "files in {}",
        root.strip_prefix(workspace()).unwrap_or(root).display()
    )
}

/// The signals that end a mesh.
struct Leave {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

// === impl Leave ===

impl Leave {
    fn new() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
