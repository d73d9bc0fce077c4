//! A Consul agent of its own for a test.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{Process, eventually, loopback, ports, provision};

/// Longer than an agent takes to elect itself, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent in development mode: server and client in one, everything in memory, nothing but loopback.
#[derive(Debug)]
pub struct ConsulAgent {
    ports: [u16; 4],
    process: Process,
}

// === impl ConsulAgent ===

impl ConsulAgent {
    /// Starts an agent with an empty catalog and waits until it answers.
    ///
    /// # Errors
    ///
    /// When the program cannot be provided ([`provision::consul`]) or does not answer.
    pub async fn start() -> Result<Self> {
        // The first time this builds a program.
        tokio::task::spawn_blocking(provision::consul).await??;
        let mut numbers = [0; 4];
        for number in &mut numbers {
            *number = ports::unused()?;
        }
        Self::on_ports(numbers).await
    }

    async fn on_ports(ports: [u16; 4]) -> Result<Self> {
        let [http, server, lan, wan] = ports;
        let mut command = Command::new(provision::consul()?);
        command
            .args([
                "agent",
                "-dev",
                "-bind=127.0.0.1",
                "-client=127.0.0.1",
                "-dns-port=-1",
            ])
            .arg(format!("-http-port={http}"))
            .arg(format!("-server-port={server}"))
            .arg(format!("-serf-lan-port={lan}"))
            .arg(format!("-serf-wan-port={wan}"))
            .args([
                "-hcl",
                "ports { grpc = -1 }",
                "-hcl",
                "disable_update_check = true",
            ]);
        let agent = Self {
            ports,
            process: Process::start("consul", command)?,
        };
        // It has registered itself once it can be written to.
        eventually(PATIENCE, async || {
            let services = agent.get("/v1/catalog/services").await?;
            ensure!(services.get("consul").is_some(), "the catalog is {services}");
            Ok(())
        })
        .await?;
        Ok(agent)
    }

    /// Kills the agent and starts another at the same address, which knows nothing of what was registered.
    ///
    /// # Errors
    ///
    /// When the new one does not answer.
    pub async fn restart(self) -> Result<Self> {
        let ports = self.ports;
        drop(self);
        Self::on_ports(ports).await
    }

    /// The address of its HTTP API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// Kills the agent.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Registers an instance: `node` at `address` runs `service`, an object of the API.
    ///
    /// # Errors
    ///
    /// When the agent refuses.
    pub async fn register(&self, node: &str, address: &str, service: Value) -> Result<()> {
        let body = json!({ "Node": node, "Address": address, "Service": service });
        self.put("/v1/catalog/register", &body).await
    }

    /// Sets the state of the check of an instance: `passing`, `warning` or `critical`.
    ///
    /// # Errors
    ///
    /// When the agent refuses.
    pub async fn set_check(&self, node: &str, address: &str, instance: &str, status: &str) -> Result<()> {
        let check = json!({ "CheckID": instance, "Name": instance, "ServiceID": instance, "Status": status });
        let body = json!({ "Node": node, "Address": address, "SkipNodeUpdate": true, "Check": check });
        self.put("/v1/catalog/register", &body).await
    }

    /// Takes an instance out of the catalog.
    ///
    /// # Errors
    ///
    /// When the agent refuses.
    pub async fn deregister(&self, node: &str, instance: &str) -> Result<()> {
        let body = json!({ "Node": node, "ServiceID": instance });
        self.put("/v1/catalog/deregister", &body).await
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let body = loopback::exchange(self.ports[0], "GET", path, "").await?;
        Ok(serde_json::from_str(&body)?)
    }

    async fn put(&self, path: &str, body: &Value) -> Result<()> {
        loopback::exchange(self.ports[0], "PUT", path, &body.to_string()).await?;
        Ok(())
    }
}
