//! The server that is measured: `pilot-discovery` as a process of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::bench::process::{Meter, Usage};

/// The mesh configuration: the built-in defaults.
const MESH: &str = "rootNamespace: istio-system\n";
/// How often readiness is asked for.
const POLL: Duration = Duration::from_millis(5);
/// How much of the log a failure shows, in bytes.
const TAIL: usize = 4096;

/// A running server. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    source: SocketAddr,
    addresses: Addresses,
    child: Child,
    pid: u32,
    started: Instant,
    log: PathBuf,
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    xds: SocketAddr,
    http: SocketAddr,
    monitoring: SocketAddr,
    control: SocketAddr,
}

// === impl Server ===

impl Server {
    /// Starts the server with the configuration of `source`. Its log goes to `log`.
    pub(crate) fn start(program: &Path, source: SocketAddr, log: &Path) -> Result<Self> {
        let folder = log.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mesh = mesh_file(log);
        fs::write(&mesh, MESH).with_context(|| format!("cannot write {}", mesh.display()))?;
        fs::File::create(log).with_context(|| format!("cannot create {}", log.display()))?;

        let [xds, http, monitoring, control] = free_addresses()?;
        let addresses = Addresses {
            xds,
            http,
            monitoring,
            control,
        };
        let started = Instant::now();
        let (child, pid) = spawn(program, source, addresses, log)?;
        Ok(Self {
            program: program.to_owned(),
            source,
            addresses,
            child,
            pid,
            started,
            log: log.to_owned(),
        })
    }

    /// Kills it and starts it again at the same addresses. Returns how long it took from then until it was ready.
    pub(crate) async fn restart(&mut self, limit: Duration) -> Result<Duration> {
        self.child.kill().await.context("cannot end the server")?;
        self.started = Instant::now();
        (self.child, self.pid) = spawn(&self.program, self.source, self.addresses, &self.log)?;
        self.ready(limit).await
    }

    /// Where it serves xDS.
    pub(crate) fn xds(&self) -> SocketAddr {
        self.addresses.xds
    }

    /// Waits until it says that it is ready. Returns how long that took since it was started.
    pub(crate) async fn ready(&mut self, limit: Duration) -> Result<Duration> {
        let ready = async {
            loop {
                if is_ready(self.addresses.http).await {
                    return self.started.elapsed();
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::select! {
            ready = ready => return Ok(ready),
            status = self.child.wait() => return Err(self.ended(status?)),
            () = tokio::time::sleep(limit) => {}
        }
        bail!("the server is not ready after {limit:?}{}", self.tail())
    }

    /// Fails when the server leaves before `work` is done.
    pub(crate) async fn during<T, E>(&mut self, work: impl Future<Output = Result<T, E>>) -> Result<T>
    where
        E: Into<Error>,
    {
        tokio::select! {
            done = work => Ok(done.map_err(Into::into)?),
            status = self.child.wait() => Err(self.ended(status?)),
        }
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid)
    }

    /// Starts measuring it.
    pub(crate) fn meter(&self) -> Result<Meter> {
        Meter::start(self.pid)
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.child.kill().await.context("cannot end the server")
    }

    fn ended(&self, status: ExitStatus) -> Error {
        anyhow!("the server ended with {status}{}", self.tail())
    }

    /// The end of its log.
    fn tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(TAIL)..];
        format!(
            "; the end of {}:\n{}",
            self.log.display(),
            String::from_utf8_lossy(tail)
        )
    }
}

/// Its mesh configuration, beside its log.
fn mesh_file(log: &Path) -> PathBuf {
    log.with_file_name("mesh.yaml")
}

fn spawn(program: &Path, source: SocketAddr, addresses: Addresses, log: &Path) -> Result<(Child, u32)> {
    let output = fs::OpenOptions::new()
        .append(true)
        .open(log)
        .with_context(|| format!("cannot open {}", log.display()))?;
    let child = Command::new(program)
        .args([
            "discovery",
            "--registries=MCP",
            "--secureGrpcAddr=",
            "--networksConfig=",
        ])
        .args(["--domain=cluster.local", "--mcpMaxMsgSize=104857600"])
        .args([
            "--log_output_level=default:warn",
            "--keepaliveMaxServerConnectionAge=24h",
        ])
        .arg(format!("--mcpServerAddrs=mcp://{source}"))
        .arg(format!("--grpcAddr={}", addresses.xds))
        .arg(format!("--httpAddr={}", addresses.http))
        .arg(format!("--monitoringAddr={}", addresses.monitoring))
        .arg(format!("--ctrlz_port={}", addresses.control.port()))
        .arg(format!("--meshConfig={}", mesh_file(log).display()))
        .envs([("POD_NAMESPACE", "istio-system"), ("POD_NAME", "pilot-0")])
        .envs([("PILOT_DEBOUNCE_AFTER", "100ms"), ("PILOT_DEBOUNCE_MAX", "10s")])
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let pid = child.id().context("the server has no process id")?;
    Ok((child, pid))
}

/// Addresses of loopback that nobody listens on.
fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    // All at once, so that they differ.
    let listeners: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<std::io::Result<_>>()
        .context("cannot listen on loopback")?;
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}

async fn is_ready(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"GET /ready HTTP/1.0\r\nhost: localhost\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = ask.await.unwrap_or_default();
    answer.split(|byte| *byte == b' ').nth(1) == Some(b"200")
}
