//! What the sources say, counted by 1.1's names (P17).

use mesh_config::Kind;
use mesh_runtime::Metrics;
use mesh_runtime::metrics::MetricsError;
use prometheus::IntCounterVec;

use crate::config_store::ConfigEvent;

/// Counters of the controller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RegistryMetrics {
    /// `pilot_k8s_reg_events{type,event}`: objects that services are made from.
    services: IntCounterVec,
    /// `pilot_k8s_cfg_events{type,event}`: all other objects.
    configs: IntCounterVec,
}

// === impl RegistryMetrics ===

impl RegistryMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    ///
    /// When one of the names is taken.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            services: metrics.counter_vec(
                "pilot_k8s_reg_events",
                "Events from k8s registry.",
                &["type", "event"],
            )?,
            configs: metrics.counter_vec(
                "pilot_k8s_cfg_events",
                "Events from k8s config.",
                &["type", "event"],
            )?,
        })
    }

    pub(crate) fn count(&self, event: &ConfigEvent) {
        let (kind, event) = match event {
            ConfigEvent::Added(config) => (config.meta.key.kind, "add"),
            ConfigEvent::Set(config) => (config.meta.key.kind, "update"),
            ConfigEvent::Gone(meta) => (meta.key.kind, "delete"),
        };
        let counter = match kind {
            Kind::Service | Kind::Endpoints | Kind::Pod | Kind::Node | Kind::Namespace => &self.services,
            _ => &self.configs,
        };
        counter.with_label_values(&[kind.schema().kind, event]).inc();
    }
}
