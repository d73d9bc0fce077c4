//! A Prometheus of its own for a test.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Process, eventually, loopback, ports, provision};

/// Longer than it takes to start, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Prometheus that scrapes one target once a second.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts one that scrapes `/metrics` of `target`, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When the program cannot be provided ([`provision::prometheus`]) or does not answer.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let config = format!(
            "global: {{ scrape_interval: 1s }}\n\
             scrape_configs:\n\
             - job_name: istio-mesh\n  static_configs:\n  - targets: ['{target}']\n"
        );
        Self::configured(&config, &[]).await
    }

    /// Starts one with a configuration of one's own and further flags, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// As [`Self::start`], and when it does not take the configuration.
    pub async fn configured(config: &str, flags: &[&str]) -> Result<Self> {
        // The first time this fetches a package.
        let program = tokio::task::spawn_blocking(provision::prometheus).await??;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config)?;
        let port = ports::unused()?;
        let mut command = Command::new(program);
        command
            .args(flags)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start("prometheus", command)?;
        eventually(PATIENCE, async || {
            loopback::exchange(port, "GET", "/-/ready", "").await
        })
        .await?;
        Ok(Self {
            port,
            _process: process,
            _folder: folder,
        })
    }

    /// What its API says: the `data` of the answer to a GET of `/api/v1/<path>`.
    ///
    /// # Errors
    ///
    /// When the request is wrong, or nobody answers.
    pub async fn api(&self, path: &str) -> Result<Value> {
        let path = format!("/api/v1/{path}");
        let mut answer: Value =
            serde_json::from_str(&loopback::exchange(self.port, "GET", &path, "").await?)?;
        ensure!(answer["status"] == "success", "{path}: {answer}");
        Ok(answer["data"].take())
    }

    /// The result of a query, a vector: the labels and the value of each of its elements.
    ///
    /// # Errors
    ///
    /// When the query is wrong, or nobody answers.
    pub async fn query(&self, query: &str) -> Result<Vec<(Value, f64)>> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.api(&format!("query?query={escaped}")).await?;
        let result = data["result"].as_array().context("no vector")?;
        result
            .iter()
            .map(|element| {
                let value = element["value"][1].as_str().context("no value")?;
                Ok((element["metric"].clone(), value.parse()?))
            })
            .collect()
    }
}
