//! Metrics of the processing (G5), and of what is not served.

use mesh_config::Kind;
use mesh_runtime::metrics::{Metrics, MetricsError};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGaugeVec};

/// Metrics of the processing.
#[derive(Clone, Debug)]
pub struct ProcessingMetrics {
    pub(crate) on_change: IntCounter,
    pub(crate) max_time_reached: IntCounter,
    pub(crate) quiesce_reached: IntCounter,
    pub(crate) resets: IntCounter,
    pub(crate) event_span: Histogram,
    pub(crate) events_processed: IntCounter,
    pub(crate) snapshots_published: IntCounter,
    pub(crate) snapshot_events: Histogram,
    pub(crate) snapshot_lifetime: Histogram,
    pub(crate) type_instances: IntGaugeVec,
    pub(crate) rejected: IntCounterVec,
    pub(crate) invalid: IntGaugeVec,
    pub(crate) status_writes: IntCounterVec,
}

const MILLISECONDS: [f64; 11] = [
    0.0,
    10.0,
    50.0,
    100.0,
    500.0,
    1000.0,
    5000.0,
    10_000.0,
    50_000.0,
    100_000.0,
    1_000_000.0,
];
const EVENTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 16_384.0];

// === impl ProcessingMetrics ===

impl ProcessingMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    ///
    /// When a name is taken.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            on_change: metrics.counter(
                "galley/runtime/strategy/on_change_total",
                "The number of times the strategy's onChange has been called",
            )?,
            max_time_reached: metrics.counter(
                "galley/runtime/strategy/timer_max_time_reached_total",
                "The number of times the max time has been reached",
            )?,
            quiesce_reached: metrics.counter(
                "galley/runtime/strategy/timer_quiesce_reached_total",
                "The number of times a quiesce has been reached",
            )?,
            resets: metrics.counter(
                "galley/runtime/strategy/timer_resets_total",
                "The number of times the timer has been reset",
            )?,
            event_span: metrics.histogram(
                "galley/runtime/processor/event_span_duration_milliseconds",
                "The duration between each incoming event",
                &MILLISECONDS,
            )?,
            events_processed: metrics.counter(
                "galley/runtime/processor/events_processed_total",
                "The number of events that have been processed",
            )?,
            snapshots_published: metrics.counter(
                "galley/runtime/processor/snapshots_published_total",
                "The number of snapshots that have been published",
            )?,
            snapshot_events: metrics.histogram(
                "galley/runtime/processor/snapshot_events_total",
                "The number of events per snapshot",
                &EVENTS,
            )?,
            snapshot_lifetime: metrics.histogram(
                "galley/runtime/processor/snapshot_lifetime_duration_milliseconds",
                "The duration of each snapshot",
                &MILLISECONDS,
            )?,
            type_instances: metrics.int_gauge_vec(
                "galley/runtime/state/type_instances_total",
                "The number of type instances per type URL",
                &["collection"],
            )?,
            rejected: metrics.counter_vec(
                "galley/source/rejected_objects_total",
                "The number of times an object or document was found that cannot be served",
                &["kind"],
            )?,
            invalid: metrics.int_gauge_vec(
                "galley/source/invalid_objects",
                "The number of objects and documents that cannot be served now",
                &["kind"],
            )?,
            status_writes: metrics.counter_vec(
                "galley/source/status_writes_total",
                "The number of times the status of an object was to be written",
                &["result"],
            )?,
        })
    }
}

/// The label of a kind; of a document whose kind is not known, `unknown`.
pub(crate) fn label(kind: Option<Kind>) -> &'static str {
    kind.map_or("unknown", |kind| kind.schema().kind)
}
