//! Instances that wait until a report is complete (`spec 02` §2.7).

use mixer_adapter::{Answer, Handle};
use mixer_template::{Edge, Instance, LogEntry, Metric, ReportNothing, Template, TraceSpan, Variety};
use tokio::time::Instant;

use crate::instance::{AnyTemplate, Made};
use crate::routing::{Destination, Target};

/// Instances for one destination.
pub(super) enum Batch<'r> {
    Edge(Vec<Edge<'r>>),
    LogEntry(Vec<LogEntry<'r>>),
    Metric(Vec<Metric<'r>>),
    ReportNothing(Vec<ReportNothing<'r>>),
    TraceSpan(Vec<TraceSpan<'r>>),
    /// For an adapter of another process.
    Encoded(Vec<u8>),
}

// === impl Batch ===

impl<'r> Batch<'r> {
    /// An empty one; `None` for templates that are not reported.
    pub(super) fn new(template: &AnyTemplate) -> Option<Self> {
        let template = match template {
            AnyTemplate::BuiltIn(template) => template,
            AnyTemplate::Remote(template) => {
                let reported = template.variety() == Variety::Report;
                return reported.then(|| Self::Encoded(Vec::new()));
            }
        };
        Some(match template {
            Template::Edge => Self::Edge(Vec::new()),
            Template::LogEntry => Self::LogEntry(Vec::new()),
            Template::Metric => Self::Metric(Vec::new()),
            Template::ReportNothing => Self::ReportNothing(Vec::new()),
            Template::TraceSpan => Self::TraceSpan(Vec::new()),
            Template::ApiKey
            | Template::Authorization
            | Template::CheckNothing
            | Template::Kubernetes
            | Template::ListEntry
            | Template::Quota => return None,
        })
    }

    /// Adds an instance of its template; others are none of its business.
    pub(super) fn push(&mut self, made: Made<'r>) {
        let instance = match made {
            Made::BuiltIn(instance) => instance,
            Made::Encoded(one) => {
                if let Self::Encoded(all) = self {
                    all.extend(one);
                }
                return;
            }
        };
        match (self, instance) {
            (Self::Edge(all), Instance::Edge(one)) => all.push(one),
            (Self::LogEntry(all), Instance::LogEntry(one)) => all.push(one),
            (Self::Metric(all), Instance::Metric(one)) => all.push(one),
            (Self::ReportNothing(all), Instance::ReportNothing(one)) => all.push(one),
            (Self::TraceSpan(all), Instance::TraceSpan(one)) => all.push(one),
            _ => {}
        }
    }

    /// Hands all of them over.
    pub(super) fn call(self, destination: &Destination, until: Instant) -> Answer<()> {
        let called = match (&destination.target, self) {
            (Target::Remote(backend, template), Self::Encoded(all)) => {
                return backend.report(template, all, until);
            }
            (Target::BuiltIn(handle), batch) => (handle, batch),
            (Target::Remote(..), _) => return Answer::failed("is told nothing"),
        };
        match called {
            (Handle::Edge(handler), Self::Edge(all)) => handler.handle_edge(&all),
            (Handle::LogEntry(handler), Self::LogEntry(all)) => handler.handle_log_entry(&all),
            (Handle::Metric(handler), Self::Metric(all)) => handler.handle_metric(&all),
            (Handle::ReportNothing(handler), Self::ReportNothing(all)) => handler.handle_report_nothing(&all),
            (Handle::TraceSpan(handler), Self::TraceSpan(all)) => handler.handle_trace_span(&all),
            _ => Answer::failed("is told nothing"),
        }
    }
}
