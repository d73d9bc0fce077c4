//! What the webhook counts (G8.3, G8.4, G8.6).

use galley_validation::{Outcome, Resource};
use mesh_config::Kind;
use mesh_runtime::Metrics;
use mesh_runtime::metrics::MetricsError;
use prometheus::{IntCounter, IntCounterVec};

/// Stands for what nobody registered us for: what a stranger writes into a request must not become a label.
const UNKNOWN: &str = "unknown";

/// Versions of the kinds that are served.
const VERSIONS: [&str; 5] = ["v1alpha1", "v1alpha2", "v1alpha3", "v1beta1", "v1"];

/// Counters of the webhook. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ValidationMetrics {
    passed: IntCounterVec,
    failed: IntCounterVec,
    http_errors: IntCounterVec,
    pub(crate) config_updates: IntCounter,
    pub(crate) config_update_errors: IntCounterVec,
    pub(crate) config_loads: IntCounter,
    pub(crate) config_load_errors: IntCounter,
}

// === impl ValidationMetrics ===

impl ValidationMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        let counter = |name: &str, help: &str| metrics.counter(&format!("galley/validation/{name}"), help);
        let labelled = |name: &str, help: &str, labels: &[&str]| {
            metrics.counter_vec(&format!("galley/validation/{name}"), help, labels)
        };
        Ok(Self {
            passed: labelled(
                "passed",
                "Objects that are valid",
                &["group", "version", "resource"],
            )?,
            failed: labelled(
                "failed",
                "Objects that are not valid, or not for us to judge",
                &["group", "version", "resource", "reason"],
            )?,
            http_errors: labelled("http_error", "Requests that held no review", &["status"])?,
            config_updates: counter("config_updates", "Writes of the webhook configuration")?,
            config_update_errors: labelled(
                "config_update_error",
                "Writes of the webhook configuration that failed",
                &["reason"],
            )?,
            config_loads: counter(
                "config_load",
                "Readings of the file with the webhook configuration",
            )?,
            config_load_errors: counter(
                "config_load_error",
                "Readings of the file with the webhook configuration that failed",
            )?,
        })
    }

    pub(crate) fn count(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Passed(resource) => self.passed.with_label_values(&labels(resource)).inc(),
            Outcome::Failed(resource, reason) => {
                let [group, version, resource] = labels(resource);
                self.failed
                    .with_label_values(&[group, version, resource, reason.as_str()])
                    .inc();
            }
            Outcome::HttpError(status) => self.http_error(*status),
        }
    }

    pub(crate) fn http_error(&self, status: u16) {
        self.http_errors.with_label_values(&[&*status.to_string()]).inc();
    }
}

fn labels(resource: &Resource) -> [&str; 3] {
    let known = Kind::ALL
        .iter()
        .map(|kind| kind.schema())
        .find(|schema| schema.group == resource.group && schema.plural == resource.resource);
    let version = VERSIONS.into_iter().find(|version| *version == resource.version);
    known.map_or([UNKNOWN; 3], |schema| {
        [schema.group, version.unwrap_or(UNKNOWN), schema.plural]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g8_4_strangers_do_not_make_labels() {
        let resource = |group: &str, version: &str, resource: &str| Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
        };
        assert_eq!(
            labels(&resource("networking.istio.io", "v1", "virtualservices")),
            ["networking.istio.io", "v1", "virtualservices"]
        );
        assert_eq!(
            labels(&resource("networking.istio.io", "v9", "gateways")),
            ["networking.istio.io", UNKNOWN, "gateways"]
        );
        assert_eq!(labels(&resource("a", "b", "c")), [UNKNOWN; 3]);
    }
}
