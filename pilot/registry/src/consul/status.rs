//! What is known of an agent, for debug pages and metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use mesh_runtime::Metrics;
use mesh_runtime::metrics::MetricsError;
use prometheus::{IntCounter, IntGauge};
use serde::Serialize;
use tokio::sync::watch;

use super::client::ConsulUrl;

/// Shows how it stands with an agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConsulHandle {
    source: Arc<str>,
    shared: Arc<watch::Sender<Shared>>,
    metrics: ConsulMetrics,
}

/// How it stands with an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsulStatus {
    /// Address of the agent.
    pub source: String,
    /// Whether it answered the last time.
    pub connected: bool,
    /// Whether all of its services were received once.
    pub synced: bool,
    /// Why it did not answer the last time.
    pub error: Option<String>,
    /// Services in the catalog.
    pub services: usize,
    /// By service: why it, or some of its instances, are left out.
    pub problems: BTreeMap<String, Vec<String>>,
}

/// What the registry counts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConsulMetrics {
    /// `pilot_consul_connected`: whether the agent answered the last time.
    connected: IntGauge,
    /// `pilot_consul_errors`: questions that were not answered.
    errors: IntCounter,
    /// `pilot_consul_problems`: services and instances that are left out.
    problems: IntGauge,
}

#[derive(Debug, Default)]
struct Shared {
    connected: bool,
    synced: bool,
    error: Option<String>,
    services: usize,
    problems: BTreeMap<String, Vec<String>>,
}

// === impl ConsulMetrics ===

impl ConsulMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    ///
    /// When one of the names is taken.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            connected: metrics.int_gauge(
                "pilot_consul_connected",
                "Whether the Consul agent answered the last time.",
            )?,
            errors: metrics.counter(
                "pilot_consul_errors",
                "Questions to the Consul agent that were not answered.",
            )?,
            problems: metrics.int_gauge(
                "pilot_consul_problems",
                "Services and instances of the Consul catalog that are left out.",
            )?,
        })
    }
}

// === impl ConsulHandle ===

impl ConsulHandle {
    pub(super) fn new(url: &ConsulUrl, metrics: ConsulMetrics) -> Self {
        Self {
            source: url.to_string().into(),
            shared: Arc::new(watch::Sender::new(Shared::default())),
            metrics,
        }
    }

    /// How it stands now.
    pub fn status(&self) -> ConsulStatus {
        let shared = self.shared.borrow();
        ConsulStatus {
            source: self.source.to_string(),
            connected: shared.connected,
            synced: shared.synced,
            error: shared.error.clone(),
            services: shared.services,
            problems: shared.problems.clone(),
        }
    }

    /// The agent answered. Says so when it did not before.
    pub(super) fn on_answer(&self) {
        let was_error = self.shared.borrow().error.is_some();
        if !self.shared.borrow().connected {
            tracing::info!(source = %self.source, after_error = was_error, "connected to the Consul agent");
            self.shared.send_modify(|shared| {
                shared.connected = true;
                shared.error = None;
            });
            self.metrics.connected.set(1);
        }
    }

    /// The agent did not answer. Says so once, however long it is away.
    pub(super) fn on_error(&self, error: &impl fmt::Display) {
        self.metrics.errors.inc();
        let error = error.to_string();
        let is_new = {
            let shared = self.shared.borrow();
            shared.connected || shared.error.is_none()
        };
        if is_new {
            tracing::warn!(source = %self.source, error, "no answer from the Consul agent: what it said last stays");
        }
        self.shared.send_modify(|shared| {
            shared.connected = false;
            shared.error = Some(error);
        });
        self.metrics.connected.set(0);
    }

    pub(super) fn set_services(&self, services: usize) {
        self.shared.send_modify(|shared| shared.services = services);
    }

    pub(super) fn set_synced(&self) {
        tracing::info!(source = %self.source, "every service of the Consul catalog was received");
        self.shared.send_modify(|shared| shared.synced = true);
    }

    /// What is wrong with a service. Says so when it is news.
    pub(super) fn set_problems(&self, service: &str, problems: Vec<String>) {
        let is_known = {
            let shared = self.shared.borrow();
            shared.problems.get(service).map_or(&[][..], Vec::as_slice) == problems
        };
        if is_known {
            return;
        }
        for problem in &problems {
            tracing::warn!(service, problem, "left out of the Consul catalog");
        }
        self.shared.send_modify(|shared| {
            if problems.is_empty() {
                shared.problems.remove(service);
            } else {
                shared.problems.insert(service.to_owned(), problems);
            }
        });
        let count: usize = self.shared.borrow().problems.values().map(Vec::len).sum();
        self.metrics
            .problems
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
