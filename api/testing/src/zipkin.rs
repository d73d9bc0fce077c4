//! A Zipkin server for tests.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{Process, eventually, loopback, ports, provision};

/// Longer than a start takes, also on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// How the JAR of a server is run: small, soon there, with its spans in memory and none of its own.
#[must_use]
pub fn command(jar: &Path) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar"])
        .arg(jar)
        .env("STORAGE_TYPE", "mem")
        .env("SELF_TRACING_ENABLED", "false");
    command
}

/// A Zipkin that keeps its spans in memory. Ends with this process.
#[derive(Debug)]
pub struct ZipkinServer {
    port: u16,
    _process: Process,
}

// === impl ZipkinServer ===

impl ZipkinServer {
    /// The server that the tests of this process share: a start takes many seconds. Tests have traces of their own.
    ///
    /// # Errors
    ///
    /// When it cannot be provided ([`provision::zipkin`]) or does not become healthy.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<ZipkinServer> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    async fn start() -> Result<Self> {
        // The first time this fetches a JAR.
        let jar = tokio::task::spawn_blocking(provision::zipkin).await??;
        let port = ports::unused()?;
        let mut command = command(&jar);
        command.env("QUERY_PORT", port.to_string());
        // It outlives the test that happens to start it.
        let process = Process::start_bound("zipkin", &command)?;
        eventually(PATIENCE, async || {
            loopback::exchange(port, "GET", "/health", "").await
        })
        .await?;
        Ok(Self {
            port,
            _process: process,
        })
    }

    /// Where it is, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The spans of a trace; an error while it has none.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn trace(&self, id: &str) -> Result<Vec<Value>> {
        let path = format!("/api/v2/trace/{id}");
        let body = loopback::exchange(self.port, "GET", &path, "").await?;
        Ok(serde_json::from_str(&body)?)
    }
}
