//! etcd, where an API server keeps its objects.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{Process, eventually, loopback, ports, provision};

/// Longer than a start takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// One etcd on loopback with its data in a folder.
#[derive(Debug)]
pub(super) struct Etcd {
    process: Option<Process>,
    client_port: u16,
    peer_port: u16,
    data: PathBuf,
}

// === impl Etcd ===

impl Etcd {
    pub(super) async fn start(data: PathBuf) -> Result<Self> {
        let mut etcd = Self {
            process: None,
            client_port: ports::unused()?,
            peer_port: ports::unused()?,
            data,
        };
        etcd.resume().await?;
        Ok(etcd)
    }

    pub(super) fn stop(&mut self) {
        self.process = None;
    }

    pub(super) async fn resume(&mut self) -> Result<()> {
        self.process = None;
        let client = self.url();
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = Command::new(provision::etcd()?);
        command
            .args(["--name=test", "--log-level=warn"])
            .arg(format!("--data-dir={}", self.data.display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=test={peer}"))
            // The disk of a test machine is slow, and nothing here must survive its failure.
            .arg("--unsafe-no-fsync");
        self.process = Some(Process::start_bound("etcd", &command)?);
        eventually(PATIENCE, async || self.revision().await)
            .await
            .context("etcd does not answer")?;
        Ok(())
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// The number of the newest change.
    async fn revision(&self) -> Result<i64> {
        // Any key will do: every answer tells the revision.
        let answer = self.call("/v3/kv/range", &json!({ "key": "AA==" })).await?;
        let revision = answer["header"]["revision"].as_str();
        Ok(revision.context("the answer has no revision")?.parse()?)
    }

    pub(super) async fn compact(&self) -> Result<()> {
        let revision = self.revision().await?.to_string();
        let request = json!({ "revision": revision, "physical": true });
        self.call("/v3/kv/compaction", &request).await?;
        Ok(())
    }

    async fn call(&self, path: &str, request: &Value) -> Result<Value> {
        let body = loopback::exchange(self.client_port, "POST", path, &request.to_string()).await?;
        Ok(serde_json::from_str(&body)?)
    }
}
