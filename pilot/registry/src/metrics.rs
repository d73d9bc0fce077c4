//! What the sources say, counted by 1.1's names (P17).

use mesh_config::Kind;
use mesh_runtime::Metrics;
use mesh_runtime::metrics::MetricsError;
use prometheus::{IntCounter, IntCounterVec};

use crate::config_store::ConfigEvent;
use crate::kube::Happened;
use crate::{CLUSTER_KINDS, kinds};

/// What can happen to an object.
const EVENTS: [&str; 3] = ["add", "update", "delete"];

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
        let registered = Self {
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
        };
        // What did not happen yet reads 0, and is not missing.
        for kind in kinds() {
            for event in EVENTS {
                registered.event(kind, event);
            }
        }
        Ok(registered)
    }

    pub(crate) fn count(&self, event: &ConfigEvent) {
        let [add, update, delete] = EVENTS;
        let (kind, event) = match event {
            ConfigEvent::Added(config) => (config.meta.key.kind, add),
            ConfigEvent::Set(config) => (config.meta.key.kind, update),
            ConfigEvent::Gone(meta) => (meta.key.kind, delete),
        };
        self.event(kind, event).inc();
    }

    /// Counts what an API server said of an object that was there before, or not.
    pub(crate) fn count_kube(&self, happened: &Happened, was_there: bool) {
        let [add, update, delete] = EVENTS;
        let event = match (was_there, happened.is_there) {
            (false, true) => add,
            (true, true) => update,
            (true, false) => delete,
            (false, false) => return,
        };
        self.services.with_label_values(&[happened.kind, event]).inc();
    }

    fn event(&self, kind: Kind, event: &str) -> IntCounter {
        let counter = match kind {
            kind if CLUSTER_KINDS.contains(&kind) => &self.services,
            _ => &self.configs,
        };
        counter.with_label_values(&[kind.schema().kind, event])
    }
}
