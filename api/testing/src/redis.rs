//! A Redis of its own for a test.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Process, eventually, ports, provision};

/// Longer than a start takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Redis on loopback that keeps everything in memory.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    process: Option<Process>,
}

// === impl Redis ===

impl Redis {
    /// Starts an empty one and waits until it answers.
    ///
    /// # Errors
    ///
    /// When the program cannot be provided ([`provision::redis_server`]) or does not answer.
    pub async fn start() -> Result<Self> {
        // The first time this fetches a program.
        tokio::task::spawn_blocking(provision::redis_server).await??;
        let mut redis = Self {
            port: ports::unused()?,
            process: None,
        };
        redis.restart().await?;
        Ok(redis)
    }

    /// Kills it. Nobody listens at its address until [`restart`](Self::restart).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// An empty one at the same address, instead of the one that is there or is gone.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = None;
        let mut command = Command::new(provision::redis_server()?);
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &self.port.to_string()]);
        self.process = Some(Process::start_bound("redis", &command)?);
        eventually(PATIENCE, async || {
            let answer = self.command("PING").await?;
            ensure!(answer == "+PONG", "it answered {answer}");
            anyhow::Ok(())
        })
        .await
        .context("Redis does not answer")
    }

    /// It keeps its connections and does nothing until [`resume`](Self::resume).
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Ends [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs a command of one line; the first line of the answer in the protocol's form.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn command(&self, line: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n") {
            ensure!(stream.read_buf(&mut answer).await? > 0, "the answer is not whole");
        }
        let answer = String::from_utf8_lossy(&answer);
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("it is gone")?;
        Ok(process.signal(signal)?)
    }
}
