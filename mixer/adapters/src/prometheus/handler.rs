//! A handler: takes the values of instances to the series of its metrics.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mixer_adapter::{Answer, HandleMetric, text};
use mixer_attribute::Value;
use mixer_template::Metric;

use super::config::{Config, Expiry};
use super::key::Key;
use super::registry::{Lease, Registry};
use super::series::{Budget, Family};
use super::server::Open;
use crate::faults::Faults;

pub(super) struct PrometheusHandler {
    registry: Arc<Registry>,
    /// By full name of the instance.
    metrics: HashMap<String, Vec<Target>>,
    budget: Budget,
    _open: Arc<Open>,
}

/// A metric that takes the values of an instance.
struct Target {
    lease: Lease,
    /// The same for all metrics of the handler that have the same labels.
    labels: usize,
}

/// Removes series for as long as it is asked to.
pub(super) async fn expire(registry: Arc<Registry>, families: Vec<Arc<Family>>, check: Duration) {
    loop {
        tokio::time::sleep(check).await;
        let now = registry.now();
        for family in &families {
            family.expire(now);
        }
    }
}

/// A value as a number.
fn number(value: Option<&Value<'_>>) -> Result<f64, String> {
    match value {
        Some(Value::Double(number)) => Ok(*number),
        // Prometheus has no other numbers.
        Some(Value::Int64(number)) => Ok(*number as f64),
        Some(Value::Duration(duration)) => Ok(duration.seconds as f64 + f64::from(duration.nanos) / 1e9),
        Some(Value::String(text)) => text.parse().map_err(|_| format!("{text:?} is no number")),
        Some(other) => Err(format!("{:?} is no number", text::stringify(Some(other)))),
        None => Err("there is no value".to_owned()),
    }
}

// === impl PrometheusHandler ===

impl PrometheusHandler {
    /// The handler with this full name.
    pub(super) fn new(name: &str, config: &Config, registry: &Arc<Registry>, open: Arc<Open>) -> Self {
        let mut metrics: HashMap<String, Vec<Target>> = HashMap::new();
        let mut families: Vec<Arc<Family>> = Vec::new();
        for definition in &config.metrics {
            let lease = registry.lease(name, definition);
            if !families.iter().any(|known| Arc::ptr_eq(known, &lease.family)) {
                families.push(Arc::clone(&lease.family));
            }
            let same = |known: &Arc<Family>| known.shape.labels == lease.family.shape.labels;
            let labels = families.iter().position(same).unwrap_or_default();
            metrics
                .entry(definition.instance.clone())
                .or_default()
                .push(Target { lease, labels });
        }
        let millis = |expiry: Expiry| u64::try_from(expiry.after.as_millis()).unwrap_or(u64::MAX).max(1);
        for family in &families {
            family.set_expiry(config.expiry.map_or(0, millis));
        }
        Self {
            registry: Arc::clone(registry),
            metrics,
            budget: Budget::new(config.series, families),
            _open: open,
        }
    }

    pub(super) fn families(&self) -> Vec<Arc<Family>> {
        self.budget.families().to_vec()
    }

    fn record<'k>(&self, metric: &'k Metric<'k>, now: u64, key: &mut Key<'k>) -> Result<(), String> {
        let targets = self
            .metrics
            .get(metric.name)
            .ok_or_else(|| "the handler has no metric for it".to_owned())?;
        let number = number(metric.value.as_ref())?;
        let mut result = Ok(());
        for Target { lease, labels } in targets {
            let family = &lease.family;
            let recorded = key
                .set(*labels, &family.shape.labels, &metric.dimensions)
                .and_then(|()| family.record(key, number, now, &self.budget));
            // One metric that it does not fit is no reason to keep it from the others.
            result = result.and(recorded);
        }
        result
    }
}

impl HandleMetric for PrometheusHandler {
    fn handle_metric(&self, instances: &[Metric<'_>]) -> Answer<()> {
        let now = self.registry.now();
        let mut key = self.registry.key();
        let mut faults = Faults::default();
        for metric in instances {
            if let Err(reason) = self.record(metric, now, &mut key) {
                faults.push(metric.name, &reason);
            }
        }
        faults.answer()
    }
}
