//! Traces of Mixer itself (`spec 02` §9.2): one span for each call that its caller wants traced, as the headers `b3` say.
//!
//! Spans go to the log, and in Zipkin's JSON to a collector. A collector that is away loses spans, and nobody waits for it.

mod b3;
mod collector;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_runtime::Runtime;
use mesh_runtime::metrics::MetricsError;
use prometheus::IntCounterVec;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tonic::Code;
use tonic::metadata::MetadataMap;
use tracing::info;

use b3::Context;

pub(crate) use collector::Endpoint;

/// So many spans wait for the collector at most.
const QUEUE: usize = 1000;

/// What Mixer is called in traces, as in 1.1.
const SERVICE: &str = "istio-mixer";

/// How calls are traced.
#[derive(Clone, Debug, Default)]
pub(crate) struct TraceOptions {
    /// Where spans are sent to.
    pub(crate) collector: Option<Endpoint>,
    /// Whether they are written to the log.
    pub(crate) log: bool,
    /// Part of the calls that are traced whose caller leaves that to us, from 0 to 1.
    pub(crate) rate: f64,
}

/// Traces calls.
#[derive(Debug)]
pub(crate) struct Tracer {
    rate: f64,
    log: bool,
    queue: Option<mpsc::Sender<Value>>,
    /// By what became of them.
    spans: IntCounterVec,
    /// Ids are numbers that nobody else has.
    ids: RandomState,
    next: AtomicU64,
}

/// A call that is traced.
#[derive(Debug)]
pub(crate) struct Span {
    name: &'static str,
    trace: String,
    id: String,
    parent: Option<String>,
    started: SystemTime,
}

// === impl Tracer ===

impl Tracer {
    /// A tracer, and the task that sends its spans.
    ///
    /// # Errors
    ///
    /// When the name of its metric is taken.
    pub(crate) fn new(runtime: &Runtime, options: TraceOptions) -> Result<Self, MetricsError> {
        let spans = runtime.metrics().counter_vec(
            "mixer/tracing/spans_total",
            "Spans of Mixer's own calls: sent, dropped since too many waited, or failed to be sent",
            &["outcome"],
        )?;
        let queue = options.collector.map(|endpoint| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let sending = collector::send(endpoint, waiting, spans.clone());
            let drain = runtime.drain().clone();
            runtime.spawner().spawn("trace collector", async move {
                drain.cancel(sending).await;
            });
            queue
        });
        Ok(Self {
            rate: options.rate,
            log: options.log,
            queue,
            spans,
            ids: RandomState::new(),
            next: AtomicU64::new(0),
        })
    }

    /// A call has begun. `None`: it is not traced.
    pub(crate) fn span(&self, name: &'static str, metadata: &MetadataMap) -> Option<Span> {
        if !self.log && self.queue.is_none() {
            return None;
        }
        let context = Context::of(metadata);
        if !context.is_sampled(self.rate) {
            return None;
        }
        Some(Span {
            name,
            trace: context.trace.unwrap_or_else(|| self.id()),
            id: self.id(),
            parent: context.span,
            started: SystemTime::now(),
        })
    }

    /// The call has ended.
    pub(crate) fn finish(&self, span: &Span, code: Code, took: Duration) {
        let status = format!("{code:?}");
        if self.log {
            let Span {
                name,
                trace,
                id,
                parent,
                ..
            } = span;
            info!(name, trace, id, parent, status, ?took, "span");
        }
        let Some(queue) = &self.queue else { return };
        if queue.try_send(span.to_zipkin(&status, code, took)).is_err() {
            self.spans.with_label_values(&["dropped"]).inc();
        }
    }

    fn id(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // An id of zeros is none.
        format!("{:016x}", self.ids.hash_one(number).max(1))
    }
}

// === impl Span ===

impl Span {
    fn to_zipkin(&self, status: &str, code: Code, took: Duration) -> Value {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut span = json!({
            "traceId": self.trace,
            "id": self.id,
            "kind": "SERVER",
            "name": self.name,
            "timestamp": micros(started),
            // Zipkin takes no time for unknown.
            "duration": micros(took).max(1),
            "localEndpoint": {"serviceName": SERVICE},
            "tags": {"component": "gRPC", "grpc.status_code": status},
        });
        if let Some(parent) = &self.parent {
            span["parentId"] = parent.as_str().into();
        }
        if code != Code::Ok {
            span["tags"]["error"] = status.into();
        }
        span
    }
}
