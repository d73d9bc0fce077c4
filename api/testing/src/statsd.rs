//! A statsd of its own for a test.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::{Process, eventually, ports, provision};

/// Longer than a start takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What ends an answer of the management port.
const END: &str = "END\n\n";

/// A statsd on loopback that keeps what it is sent, and passes nothing on.
#[derive(Debug)]
pub struct Statsd {
    port: u16,
    management: u16,
    _process: Process,
    _folder: TempDir,
}

// === impl Statsd ===

impl Statsd {
    /// Starts one and waits until it counts, which leaves a counter `probe`.
    ///
    /// # Errors
    ///
    /// When the program cannot be provided ([`provision::statsd`]) or does not answer.
    pub async fn start() -> Result<Self> {
        // The first time this fetches a package.
        let program = tokio::task::spawn_blocking(provision::statsd).await??;
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("config.js");
        let (port, management) = (ports::unused()?, ports::unused()?);
        // It forgets counters when it flushes them.
        let text = format!(
            "{{ address: '127.0.0.1', port: {port}, mgmt_address: '127.0.0.1', mgmt_port: {management},\n  \
             backends: [], flushInterval: 86400000 }}\n"
        );
        fs::write(&config, text)?;
        let mut command = Command::new(program);
        command.arg(&config);
        let statsd = Self {
            port,
            management,
            _process: Process::start("statsd", command)?,
            _folder: folder,
        };
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        eventually(PATIENCE, async || {
            // Fails while nobody listens.
            let _ = socket.send_to(b"probe:1|c", statsd.address()).await;
            let counters = statsd.ask("counters").await?;
            ensure!(counters.contains("probe: "), "{counters}");
            anyhow::Ok(())
        })
        .await
        .context("statsd does not answer")?;
        Ok(statsd)
    }

    /// `host:port` for metrics.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it has counted, as its management port shows it: `counters`, `gauges` or `timers`.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn ask(&self, command: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.management)).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(END.as_bytes()) {
            ensure!(stream.read_buf(&mut answer).await? > 0, "the answer is not whole");
        }
        let answer = String::from_utf8(answer)?;
        Ok(answer.trim_end_matches(END).to_owned())
    }
}
