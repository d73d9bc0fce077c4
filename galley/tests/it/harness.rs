//! A running `galley` with a directory of its own, and a sink of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mesh_config::{Config, Kind};
use mesh_mcp::metrics::McpMetrics;
use mesh_mcp::{Change, Content, Sink, SinkHandle, SinkOptions};
use mesh_runtime::grpc::{self, ClientOptions};
use mesh_runtime::{Metrics, Spawner, TaskHandle};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tonic::transport::Channel;

/// Longer than anything here takes, also on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A process, killed when dropped; its log is shown when the test fails.
pub(crate) struct Galley {
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    pub(crate) mcp: SocketAddr,
    pub(crate) monitoring: SocketAddr,
}

/// A directory with configuration.
pub(crate) struct ConfigDir {
    directory: TempDir,
}

/// A subscriber that keeps what it was sent.
pub(crate) struct TestSink {
    changes: mpsc::Receiver<Change>,
    pub(crate) handle: SinkHandle,
    task: TaskHandle,
    state: BTreeMap<Kind, Vec<Config>>,
}

/// Asks again and again until there is an answer.
pub(crate) async fn within<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(answer) = probe().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
}

pub(crate) fn gateway(name: &str, port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata:
  name: {name}
  namespace: weather
spec:
  servers:
  - hosts: ['*']
    port: {{number: {port}, name: http, protocol: HTTP}}
---
"
    )
}

// === impl ConfigDir ===

impl ConfigDir {
    pub(crate) fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Truncates and writes, as most editors and tools do.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Replaces a file at once, so that nobody reads a part of it.
    pub(crate) fn replace(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file.persist(&path).unwrap();
        path
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path().join(name)).unwrap();
    }
}

// === impl Galley ===

impl Galley {
    /// Serves a directory on ports of the system's choice.
    pub(crate) fn start(config: &Path) -> Self {
        Self::start_with(config, "127.0.0.1:0", &[])
    }

    pub(crate) fn start_with(config: &Path, address: &str, more: &[&str]) -> Self {
        Self::start_from(&format!("--configPath={}", config.display()), address, more)
    }

    /// Serves what a flag names.
    pub(crate) fn start_from(source: &str, address: &str, more: &[&str]) -> Self {
        let probes: &[&str] = if more.iter().any(|flag| flag.contains("Probe")) {
            &[]
        } else {
            &["--livenessProbePath=", "--readinessProbePath="]
        };
        // Who names certificates wants TLS.
        let secured = more.iter().any(|flag| flag.starts_with("--tls"));
        let plain: &[&str] = if secured { &[] } else { &["--insecure"] };
        let mut child = Command::new(env!("CARGO_BIN_EXE_galley"))
            .arg("server")
            .arg(source)
            .arg(format!("--server-address=tcp://{address}"))
            .args([
                "--monitoringAddr=127.0.0.1:0",
                "--ctrlz_address=",
                // Its registration would be that of all Galleys of the server.
                "--enable-validation=false",
                "--log_as_json",
            ])
            .args(plain)
            .args(["--log_output_level=default:info,mcp:debug"])
            .args(probes)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();

        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock()
                    .unwrap()
                    .push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let mut address = |flag: &str| {
            let start = Instant::now();
            loop {
                let listening = find(&log.lock().unwrap(), |line| {
                    line["msg"] == "listening" && line["flag"] == flag
                });
                if let Some(line) = listening {
                    return line["address"].as_str().unwrap().parse().unwrap();
                }
                if let Some(status) = child.try_wait().unwrap() {
                    panic!("galley ended with {status}: {:#?}", log.lock().unwrap());
                }
                assert!(start.elapsed() < PATIENCE, "no address of {flag}");
                std::thread::yield_now();
            }
        };
        let (mcp, monitoring) = (address("--server-address"), address("--monitoringAddr"));
        Self {
            child,
            log,
            mcp,
            monitoring,
        }
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns how the process ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        // Sinks of this thread must be able to take their leave.
        within("end of the process", async || self.child.try_wait().unwrap()).await
    }

    /// Resident memory in kB.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The first line of the log that fits, as soon as there is one.
    pub(crate) async fn log_line(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        within(&format!("log line: {what}"), async || {
            find(&self.log.lock().unwrap(), &fits)
        })
        .await
    }

    pub(crate) fn log_lines(&self, fits: impl Fn(&Value) -> bool) -> usize {
        self.log.lock().unwrap().iter().filter(|line| fits(line)).count()
    }

    /// Status and body of a page.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.monitoring).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: galley\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// What `/debug/errors` shows.
    pub(crate) async fn errors(&self) -> Vec<Value> {
        self.json("/debug/errors").await["errors"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// The value of a metric, 0 if it was never touched.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_default()
    }
}

impl Drop for Galley {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if std::thread::panicking() {
            for line in self.log.lock().unwrap().iter() {
                eprintln!("{line}");
            }
        }
    }
}

fn find(log: &[Value], fits: impl Fn(&Value) -> bool) -> Option<Value> {
    log.iter().find(|line| fits(line)).cloned()
}

/// Runs `galley` until it ends; returns its exit code and what it said.
pub(crate) fn run(args: &[&str]) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_galley"))
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code().unwrap(), text)
}

// === impl TestSink ===

impl TestSink {
    pub(crate) fn start(source: SocketAddr, kinds: &[Kind]) -> Self {
        Self::start_with(source, SinkOptions::new("test", kinds.iter().copied()))
    }

    pub(crate) fn start_with(source: SocketAddr, options: SinkOptions) -> Self {
        let channel = grpc::connect(&source.to_string().parse().unwrap(), &ClientOptions::default()).unwrap();
        Self::over(channel, options)
    }

    /// A sink of these kinds over a channel of its own making.
    pub(crate) fn start_on(channel: Channel, kinds: &[Kind]) -> Self {
        Self::over(channel, SinkOptions::new("test", kinds.iter().copied()))
    }

    fn over(channel: Channel, options: SinkOptions) -> Self {
        let metrics = McpMetrics::register(&Metrics::new(), "test").unwrap();
        let options = SinkOptions {
            max_message_bytes: 64 << 20,
            ..options
        };
        let (sink, handle) = Sink::new(channel, "galley", options, metrics);
        let (sender, changes) = mpsc::channel(1);
        let task = Spawner::default().spawn("sink", sink.run(sender));
        Self {
            changes,
            handle,
            task,
            state: BTreeMap::new(),
        }
    }

    /// Takes changes until the objects of a kind have these names.
    pub(crate) async fn expect(&mut self, kind: Kind, names: &[&str]) {
        let wait = async {
            while self.names(kind).is_none_or(|there| there != names) {
                self.next().await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("{kind}: {names:?} expected, there is {:?}", self.names(kind));
        }
    }

    /// Takes changes until there is one that fits.
    pub(crate) async fn expect_where(&mut self, kind: Kind, fits: impl Fn(&[Config]) -> bool) {
        let wait = async {
            while !self.state.get(&kind).is_some_and(|configs| fits(configs)) {
                self.next().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }

    /// Takes the next change.
    pub(crate) async fn next(&mut self) -> Kind {
        let change = self.changes.recv().await.unwrap();
        assert_eq!(change.errors, []);
        match change.content {
            Content::Full(objects) => {
                self.state.insert(change.kind, objects);
            }
            Content::Changes { changed, gone } => {
                let state = self.state.entry(change.kind).or_default();
                state.retain(|known| {
                    let is_changed = changed.iter().any(|config| config.meta.key == known.meta.key);
                    !is_changed && !gone.contains(&known.meta.key)
                });
                state.extend(changed);
                state.sort_by_key(|config| config.meta.key.resource_name());
            }
        }
        change.kind
    }

    /// Whether something was delivered that was not taken.
    pub(crate) fn has_more(&mut self) -> bool {
        !self.changes.is_empty()
    }

    pub(crate) fn names(&self, kind: Kind) -> Option<Vec<String>> {
        let configs = self.state.get(&kind)?;
        Some(
            configs
                .iter()
                .map(|config| config.meta.key.resource_name())
                .collect(),
        )
    }

    pub(crate) fn configs(&self, kind: Kind) -> &[Config] {
        self.state.get(&kind).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Drop for TestSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}
