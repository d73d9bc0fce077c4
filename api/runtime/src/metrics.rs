//! The registry of a process and helpers that register metrics under exactly the given names.
//!
//! There are no global metrics: a library has a struct with its metrics and a function that registers
//! them, and the binary passes the registry in.

mod process;

use std::borrow::Cow;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::version::BuildInfo;

/// Where metrics are registered and read. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Registry,
}

/// A metric could not be registered or encoded.
#[derive(Debug, thiserror::Error)]
#[error("metric {name:?}: {source}")]
pub struct MetricsError {
    name: String,
    source: prometheus::Error,
}

// === impl Metrics ===

impl Metrics {
    /// The media type of [`Self::encode`].
    pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry with what every process shows: `istio_build` (TEL-24) and `process_*`.
    ///
    /// # Errors
    /// Never for a registry that is new, which this one is.
    pub fn for_process(build: &BuildInfo) -> Result<Self, MetricsError> {
        let metrics = Self::new();
        let labels = ["component", "tag"];
        metrics
            .int_gauge_vec("istio_build", "Istio component build info", &labels)?
            .with_label_values(&[build.component.as_str(), build.version])
            .set(1);
        metrics.register("process", process::ProcessCollector::default())?;
        Ok(metrics)
    }

    /// The registry itself, for collectors that these helpers do not cover.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A counter.
    ///
    /// # Errors
    /// When the name is invalid or taken; so for every function of this kind.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
        let name = sanitize(name);
        self.add(&name, IntCounter::new(&*name, help))
    }

    /// A counter with labels.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn counter_vec(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, MetricsError> {
        let name = sanitize(name);
        self.add(&name, IntCounterVec::new(Opts::new(&*name, help), labels))
    }

    /// A gauge of whole numbers.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn int_gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        let name = sanitize(name);
        self.add(&name, IntGauge::new(&*name, help))
    }

    /// A gauge of whole numbers with labels.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn int_gauge_vec(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, MetricsError> {
        let name = sanitize(name);
        self.add(&name, IntGaugeVec::new(Opts::new(&*name, help), labels))
    }

    /// A gauge of fractions.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricsError> {
        let name = sanitize(name);
        self.add(&name, Gauge::new(&*name, help))
    }

    /// A gauge of fractions with labels.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, MetricsError> {
        let name = sanitize(name);
        self.add(&name, GaugeVec::new(Opts::new(&*name, help), labels))
    }

    /// A histogram with the given upper bounds, ascending.
    ///
    /// # Errors
    /// As [`Self::counter`], or when the bounds are not ascending.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, MetricsError> {
        let name = sanitize(name);
        self.add(
            &name,
            Histogram::with_opts(HistogramOpts::new(&*name, help).buckets(buckets.to_vec())),
        )
    }

    /// A histogram with labels and the given upper bounds, ascending.
    ///
    /// # Errors
    /// As [`Self::histogram`].
    pub fn histogram_vec(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, MetricsError> {
        let name = sanitize(name);
        let options = HistogramOpts::new(&*name, help).buckets(buckets.to_vec());
        self.add(&name, HistogramVec::new(options, labels))
    }

    /// Registers a collector that computes its values when it is read; `name` is used in errors.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn register(&self, name: &str, collector: impl Collector + 'static) -> Result<(), MetricsError> {
        self.registry
            .register(Box::new(collector))
            .map_err(|source| MetricsError {
                name: name.to_owned(),
                source,
            })
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// When a collector returns a family without samples.
    pub fn encode(&self) -> Result<String, MetricsError> {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(|source| MetricsError {
                name: "encoding".to_owned(),
                source,
            })
    }

    fn add<C>(&self, name: &str, collector: Result<C, prometheus::Error>) -> Result<C, MetricsError>
    where
        C: Collector + Clone + 'static,
    {
        let collector = collector.map_err(|source| MetricsError {
            name: name.to_owned(),
            source,
        })?;
        self.register(name, collector.clone())?;
        Ok(collector)
    }
}

/// Istio 1.1 writes some names with slashes (`mixer/config/handler_configs_total`), which its
/// exporter turns into underscores.
fn sanitize(name: &str) -> Cow<'_, str> {
    if name.contains('/') {
        Cow::Owned(name.replace('/', "_"))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_and_slashes_become_underscores() {
        let metrics = Metrics::new();
        metrics
            .counter("pilot_total_xds_rejects", "Rejects")
            .unwrap()
            .inc();
        metrics
            .counter("mixer/config/handler_configs_total", "Handlers")
            .unwrap()
            .inc_by(2);
        let text = metrics.encode().unwrap();
        assert!(text.contains("\npilot_total_xds_rejects 1\n"), "{text}");
        assert!(
            text.contains("\nmixer_config_handler_configs_total 2\n"),
            "{text}"
        );
    }

    #[test]
    fn every_kind_is_encoded() {
        let metrics = Metrics::new();
        metrics
            .counter_vec("pushes", "h", &["type"])
            .unwrap()
            .with_label_values(&["cds"])
            .inc();
        metrics.int_gauge("services", "h").unwrap().set(3);
        metrics
            .int_gauge_vec("clients", "h", &["version"])
            .unwrap()
            .with_label_values(&["1.1"])
            .set(4);
        metrics.gauge("ratio", "h").unwrap().set(0.5);
        metrics
            .gauge_vec("load", "h", &["cpu"])
            .unwrap()
            .with_label_values(&["0"])
            .set(1.5);
        metrics
            .histogram("seconds", "h", &[0.1, 1.0])
            .unwrap()
            .observe(0.5);
        metrics
            .histogram_vec("by_type", "h", &["type"], &[1.0])
            .unwrap()
            .with_label_values(&["eds"])
            .observe(2.0);
        let text = metrics.encode().unwrap();
        for line in [
            "pushes{type=\"cds\"} 1",
            "services 3",
            "clients{version=\"1.1\"} 4",
            "ratio 0.5",
            "load{cpu=\"0\"} 1.5",
            "seconds_bucket{le=\"0.1\"} 0",
            "seconds_bucket{le=\"1\"} 1",
            "by_type_bucket{type=\"eds\",le=\"+Inf\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_name_that_is_taken_or_invalid_is_an_error_that_names_it() {
        let metrics = Metrics::new();
        metrics.counter("pushes", "h").unwrap();
        let taken = metrics.int_gauge("pushes", "other").unwrap_err().to_string();
        assert!(taken.starts_with("metric \"pushes\": "), "{taken}");
        let invalid = metrics.counter("a b", "h").unwrap_err().to_string();
        assert!(invalid.starts_with("metric \"a b\": "), "{invalid}");
    }

    #[test]
    fn tel_24_a_process_shows_its_build_and_its_resources() {
        let metrics = Metrics::for_process(&BuildInfo::of("pilot")).unwrap();
        let text = metrics.encode().unwrap();
        let build = format!(
            "istio_build{{component=\"pilot\",tag=\"{}\"}} 1\n",
            crate::version::VERSION
        );
        assert!(text.contains(&build), "{text}");
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ] {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            assert!(value.is_some(), "{name} is missing in:\n{text}");
        }
    }
}
