//! The `mixs` that is measured.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mesh_testing::{Process, eventually};

use super::scrape;
use crate::bench::process::Usage;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    process: Process,
    pub(super) address: SocketAddr,
}

impl Server {
    /// Starts it with a configuration, and waits until that is in force.
    pub(super) async fn start(program: &Path, config: &Path, flags: &[&str]) -> Result<Self> {
        ensure!(config.is_dir(), "{} is not a folder", config.display());
        let mut command = Command::new(program);
        command
            .arg("server")
            .arg(format!("--configStoreURL=fs://{}", config.display()))
            .args([
                "--configDefaultNamespace=istio-system",
                "--address=127.0.0.1:0",
                "--monitoringAddr=127.0.0.1:0",
                "--ctrlz_address=",
                "--log_as_json",
            ])
            .args(flags);
        let mut process = Process::start_bound("mixs", &command)
            .with_context(|| format!("cannot start {}", program.display()))?;
        let address = process.wait_for_address(PATIENCE, "--address").await?;
        let monitoring = process.wait_for_address(PATIENCE, "--monitoringAddr").await?;
        eventually(PATIENCE, async || scrape::get(monitoring, "/ready").await).await?;
        Ok(Self { process, address })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its memory, in bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        Ok(Usage::of(self.id())?.resident)
    }
}
