//! A receiver of Fluentd's forward protocol of its own for a test.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Process, eventually, ports, provision};

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a line of JSON for every entry.
const SCRIPT: &str = "\
const { FluentServer } = require(process.argv[2]);
const port = Number(process.argv[3]);
const server = new FluentServer({ listenOptions: { host: '127.0.0.1', port } });
server.on('entry', (tag, time, record) => {
  const shown = typeof time === 'number' ? time : { seconds: time.epoch, nanos: time.nano };
  console.log(JSON.stringify({ tag, time: shown, record }));
});
server.listen().then(() => console.log('listening'));
";

/// The server of the Fluent project's own library, which is strict about the protocol: it closes the connection at the first
/// message that is none.
#[derive(Debug)]
pub struct FluentReceiver {
    port: u16,
    process: Process,
    folder: TempDir,
}

// === impl FluentReceiver ===

impl FluentReceiver {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    ///
    /// When the library cannot be provided ([`provision::fluent_logger`]) or it does not listen.
    pub async fn start() -> Result<Self> {
        // The first time this fetches packages.
        tokio::task::spawn_blocking(provision::fluent_logger).await??;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("receiver.js"), SCRIPT)?;
        let port = ports::unused()?;
        let process = Self::listen(&folder, port).await?;
        Ok(Self {
            port,
            process,
            folder,
        })
    }

    async fn listen(folder: &TempDir, port: u16) -> Result<Process> {
        let mut command = Command::new("node");
        command
            .arg(folder.path().join("receiver.js"))
            .arg(provision::fluent_logger()?)
            .arg(port.to_string());
        let mut process = Process::start("fluentd", command)?;
        process
            .wait_for_line(PATIENCE, |line| (line == "listening").then_some(()))
            .await?;
        Ok(process)
    }

    /// `host:port`
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it. What it has received is forgotten.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again at the same address.
    ///
    /// # Errors
    ///
    /// When it does not listen.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = Self::listen(&self.folder, self.port).await?;
        Ok(())
    }

    /// Everything that was received, once it is as much: `tag`, `time` and `record` of each entry.
    ///
    /// # Errors
    ///
    /// When it does not become as much.
    pub async fn entries(&self, count: usize) -> Result<Vec<Value>> {
        let entries = eventually(PATIENCE, async || {
            let log = self.process.log();
            // The last line may not be whole yet.
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let lines = whole.lines().filter(|line| line.starts_with('{'));
            let entries = lines
                .map(serde_json::from_str)
                .collect::<Result<Vec<Value>, _>>()?;
            ensure!(
                entries.len() >= count,
                "{} of {count} entries are there",
                entries.len()
            );
            Ok(entries)
        });
        Ok(entries.await?)
    }
}
