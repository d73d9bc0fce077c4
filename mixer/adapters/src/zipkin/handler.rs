//! A handler: encodes the spans of the traces that are sent, and leaves them for the task that sends.

use mixer_adapter::{Answer, Env, HandleTraceSpan};
use mixer_template::TraceSpan;

use super::LIMITS;
use super::config::Sampler;
use super::format::Version;
use super::span::Span;
use crate::outbox::Outbox;

/// Encodes spans.
pub(super) struct ZipkinHandler {
    sampler: Sampler,
    version: Version,
    spans: Outbox<Vec<u8>>,
    env: Env,
}

// === impl ZipkinHandler ===

impl ZipkinHandler {
    pub(super) fn new(sampler: Sampler, version: Version, spans: Outbox<Vec<u8>>, env: Env) -> Self {
        Self {
            sampler,
            version,
            spans,
            env,
        }
    }

    /// Whether the span is sent, or is none that is to be sent.
    fn take(&self, instance: &TraceSpan<'_>) -> bool {
        let Some(span) = Span::new(instance).filter(|span| self.sampler.takes(span.trace)) else {
            return true;
        };
        match self.version.encode(&span) {
            Ok(encoded) => encoded.len() <= LIMITS.bytes && self.spans.put(encoded),
            // What has strings and numbers only is always JSON.
            Err(_) => false,
        }
    }
}

impl HandleTraceSpan for ZipkinHandler {
    fn handle_trace_span(&self, instances: &[TraceSpan<'_>]) -> Answer<()> {
        let dropped = instances.iter().filter(|instance| !self.take(instance)).count();
        if dropped == 0 {
            return Answer::done();
        }
        self.env
            .fault("dropped", u64::try_from(dropped).unwrap_or(u64::MAX));
        Answer::failed(format!(
            "{dropped} spans are dropped: Zipkin takes them slower than they come, or they are too large"
        ))
    }
}
