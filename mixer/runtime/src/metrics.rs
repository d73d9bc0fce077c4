//! What the engine tells about itself (`spec 02` §9.10).

mod series;
mod tasks;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mesh_runtime::Metrics;
use mesh_runtime::metrics::MetricsError;
use mixer_attribute::CacheCounts;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::config::Counts;
use crate::handler::{HandlerCounts, HandlerTable};
use series::{InUse, Series};
use tasks::{Handlers, TaskCollector};

/// Upper bounds of the time that a call of a handler takes, in seconds.
const DISPATCH_BUCKETS: [f64; 16] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Upper bounds of how many destinations or instances a request has.
const COUNT_BUCKETS: [f64; 12] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0];

/// Of so many configurations the numbers are shown; more would grow without end.
const CONFIGURATIONS: usize = 10;

/// The numbers of a configuration: name in 1.1, name that 1.1's dashboard asks for, meaning.
const CONFIG: [(&str, &str, &str); 13] = [
    (
        "attributes_total",
        "attribute_count",
        "Attributes of the vocabulary",
    ),
    (
        "handler_configs_total",
        "handler_config_count",
        "Handlers that are configured",
    ),
    (
        "instance_configs_total",
        "instance_config_count",
        "Instances that are configured",
    ),
    (
        "instance_config_errors_total",
        "instance_config_error_count",
        "Instances that are left out",
    ),
    (
        "rule_configs_total",
        "rule_config_count",
        "Rules that are configured",
    ),
    (
        "rule_config_errors_total",
        "rule_config_error_count",
        "Rules that are left out",
    ),
    (
        "adapter_info_configs_total",
        "adapter_info_config_count",
        "Adapters that are known",
    ),
    (
        "adapter_info_config_errors_total",
        "adapter_info_config_error_count",
        "Adapters that are left out",
    ),
    (
        "template_configs_total",
        "template_config_count",
        "Templates that are known",
    ),
    (
        "template_config_errors_total",
        "template_config_error_count",
        "Templates that are left out",
    ),
    (
        "rule_config_match_error_total",
        "rule_config_match_error_count",
        "Rules whose match does not compile",
    ),
    (
        "unsatisfied_action_handler_total",
        "unsatisfied_action_handler_count",
        "Actions that cannot be done as they are written",
    ),
    (
        "handler_validation_error_total",
        "handler_validation_error_count",
        "Handlers with wrong parameters",
    ),
];

/// The numbers of handlers, likewise.
const HANDLER: [(&str, &str, &str); 5] = [
    (
        "new_handlers_total",
        "new_handler_count",
        "Handlers that were built",
    ),
    (
        "reused_handlers_total",
        "reused_handler_count",
        "Handlers that were kept",
    ),
    (
        "closed_handlers_total",
        "closed_handler_count",
        "Handlers that are not used any more",
    ),
    (
        "handler_build_failures_total",
        "build_failure_count",
        "Handlers that could not be built",
    ),
    (
        "handler_close_failures_total",
        "close_failure_count",
        "Handlers that could not be closed",
    ),
];

/// Label of numbers that belong to one configuration.
const CONFIG_ID: &str = "configID";

/// The metrics of the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EngineMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Vec<Pair>,
    handler: Vec<Pair>,
    faults: IntCounterVec,
    calls: Series,
    destinations: Histogram,
    instances: Histogram,
    throttled: IntCounter,
    /// Writes, hits, misses, evictions.
    cache: [IntGauge; 4],
    generation: IntGauge,
    shown: Mutex<VecDeque<String>>,
    handlers: Handlers,
}

/// A number under the name of 1.1, and under that of its dashboard.
#[derive(Debug)]
struct Pair(IntCounterVec, IntGaugeVec);

/// What is told of the calls of one handler for one template.
#[derive(Clone, Debug)]
pub(crate) struct CallMetrics {
    done: (IntCounter, Histogram),
    failed: (IntCounter, Histogram),
    _in_use: InUse,
}

// === impl EngineMetrics ===

impl EngineMetrics {
    /// Registers them.
    ///
    /// # Errors
    ///
    /// When the names are taken.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        let pairs = |group: &str, names: &[(&str, &str, &str)]| {
            let pair = |(name, old, help): &(&str, &str, &str)| {
                let counter = metrics.counter_vec(&format!("mixer/{group}/{name}"), help, &[CONFIG_ID])?;
                let gauge = metrics.int_gauge_vec(&format!("mixer/{group}/{old}"), help, &[CONFIG_ID])?;
                Ok(Pair(counter, gauge))
            };
            names.iter().map(pair).collect::<Result<Vec<_>, MetricsError>>()
        };
        let handlers = Handlers::default();
        TaskCollector::register(metrics, &handlers)?;
        let call = ["meshFunction", "handler", "adapter", "error"];
        let counts = &COUNT_BUCKETS;
        // Gauges, as in 1.1, though they only grow.
        let cache =
            |name: &str, help: &str| metrics.int_gauge(&format!("mixer/checkcache/cache_{name}"), help);
        Ok(Self(Arc::new(Inner {
            config: pairs("config", &CONFIG)?,
            handler: pairs("handler", &HANDLER)?,
            faults: metrics.counter_vec(
                "mixer/handler/faults_total",
                "What went wrong in handlers outside of calls",
                &["handler", "adapter", "fault"],
            )?,
            calls: Series::new(
                metrics.counter_vec("mixer/runtime/dispatches_total", "Calls of handlers", &call)?,
                metrics.histogram_vec(
                    "mixer/runtime/dispatch_duration_seconds",
                    "Time that calls of handlers take",
                    &call,
                    &DISPATCH_BUCKETS,
                )?,
            ),
            destinations: metrics.histogram(
                "mixer/dispatcher/destinations_per_request",
                "Handlers that a request goes to",
                counts,
            )?,
            instances: metrics.histogram(
                "mixer/dispatcher/instances_per_request",
                "Instances that are made of a request",
                counts,
            )?,
            throttled: metrics.counter(
                "mixer/loadshedding/requests_throttled",
                "Requests that were not served because there are too many",
            )?,
            cache: [
                cache("writes_total", "Verdicts that were remembered")?,
                cache("hits_total", "Requests that got a verdict of another one")?,
                cache("misses_total", "Requests that got none")?,
                cache("evictions_total", "Verdicts that were forgotten")?,
            ],
            generation: metrics.int_gauge("mixer/config/current_id", "The configuration in force")?,
            shown: Mutex::default(),
            handlers,
        })))
    }

    /// A configuration is in force.
    pub fn configured(&self, id: u64, counts: &Counts, handlers: &HandlerCounts) {
        let label = id.to_string();
        let of_config = [
            counts.attributes,
            counts.handlers,
            counts.instances,
            counts.instance_errors,
            counts.rules,
            counts.rule_errors,
            counts.adapter_infos,
            counts.adapter_info_errors,
            counts.templates,
            counts.template_errors,
            counts.match_errors,
            counts.unsatisfied_actions,
            counts.handler_validation_errors + handlers.validation_errors,
        ];
        let of_handlers = [
            handlers.new,
            handlers.reused,
            handlers.closed,
            handlers.build_failures,
            0,
        ];
        let all = self.0.config.iter().zip(of_config);
        for (pair, count) in all.chain(self.0.handler.iter().zip(of_handlers)) {
            pair.add(&label, count);
        }
        self.0.calls.prune();
        self.0.generation.set(i64::try_from(id).unwrap_or(i64::MAX));
        let mut shown = self.0.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if !shown.contains(&label) {
            shown.push_back(label);
        }
        while shown.len() > CONFIGURATIONS {
            let Some(old) = shown.pop_front() else { break };
            for pair in self.0.config.iter().chain(&self.0.handler) {
                pair.forget(&old);
            }
        }
    }

    /// A handler could not be closed.
    pub(crate) fn not_closed(&self) {
        let id = self.0.generation.get().to_string();
        if let Some(failures) = self.0.handler.last() {
            failures.add(&id, 1);
        }
    }

    /// The handlers whose tasks are counted from now on.
    pub fn show_tasks(&self, table: &HandlerTable) {
        self.0.handlers.replace(table);
    }

    /// Counts what goes wrong in a handler outside of its calls.
    pub(crate) fn faults(
        &self,
        handler: &str,
        adapter: &str,
    ) -> impl Fn(&'static str, u64) + Send + Sync + use<> {
        let (faults, handler, adapter) = (self.0.faults.clone(), handler.to_owned(), adapter.to_owned());
        move |fault, count| {
            faults
                .with_label_values(&[handler.as_str(), adapter.as_str(), fault])
                .inc_by(count);
        }
    }

    /// What is told of the calls of a handler for a template.
    pub(crate) fn calls(&self, template: &str, handler: &str, adapter: &str) -> CallMetrics {
        self.0.calls.of([template, handler, adapter])
    }

    /// A request was dispatched.
    pub(crate) fn dispatched(&self, destinations: usize, instances: usize) {
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.0.destinations.observe(count(destinations));
        self.0.instances.observe(count(instances));
    }

    /// What became of verdicts since the start.
    pub(crate) fn remembered(&self, counts: CacheCounts) {
        let CacheCounts {
            writes,
            hits,
            misses,
            evictions,
        } = counts;
        for (gauge, count) in self.0.cache.iter().zip([writes, hits, misses, evictions]) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// A request was not served because there are too many.
    pub fn throttled(&self) {
        self.0.throttled.inc();
    }
}

// === impl Pair ===

impl Pair {
    fn add(&self, id: &str, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.0.with_label_values(&[id]).inc_by(count);
        self.1
            .with_label_values(&[id])
            .set(i64::try_from(self.0.with_label_values(&[id]).get()).unwrap_or(i64::MAX));
    }

    fn forget(&self, id: &str) {
        let _never_shown = self.0.remove_label_values(&[id]);
        let _never_shown = self.1.remove_label_values(&[id]);
    }
}

// === impl CallMetrics ===

impl CallMetrics {
    /// A call has ended.
    pub(crate) fn observe(&self, ok: bool, time: Duration) {
        let (count, seconds) = if ok { &self.done } else { &self.failed };
        count.inc();
        seconds.observe(time.as_secs_f64());
    }
}
