//! The templates that are built in.

use std::fmt;

/// A template that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Template {
    /// A call of an API with a key.
    ApiKey,
    /// Somebody wants to do something.
    Authorization,
    /// A question without content.
    CheckNothing,
    /// Two workloads talk to each other.
    Edge,
    /// Asks for what Kubernetes knows about both ends.
    Kubernetes,
    /// A value that may stand in a list.
    ListEntry,
    /// What is written to a log.
    LogEntry,
    /// A measurement.
    Metric,
    /// Something that is to be had in limited amounts.
    Quota,
    /// Something happened.
    ReportNothing,
    /// A span of a trace.
    TraceSpan,
}

/// When a template is used, and what its adapters answer (`spec 02` §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variety {
    /// In Check: a decision.
    Check,
    /// In Report: nothing.
    Report,
    /// In Check: an amount.
    Quota,
    /// Before all others: more attributes.
    AttributeGenerator,
    /// In Check: a decision, and values for headers.
    CheckWithOutput,
}

impl Template {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::ApiKey,
        Self::Authorization,
        Self::CheckNothing,
        Self::Edge,
        Self::Kubernetes,
        Self::ListEntry,
        Self::LogEntry,
        Self::Metric,
        Self::Quota,
        Self::ReportNothing,
        Self::TraceSpan,
    ];

    /// Its name, which is also that of the legacy kind of its instances.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "apikey",
            Self::Authorization => "authorization",
            Self::CheckNothing => "checknothing",
            Self::Edge => "edge",
            Self::Kubernetes => "kubernetes",
            Self::ListEntry => "listentry",
            Self::LogEntry => "logentry",
            Self::Metric => "metric",
            Self::Quota => "quota",
            Self::ReportNothing => "reportnothing",
            Self::TraceSpan => "tracespan",
        }
    }

    /// The template called `name`.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|template| template.name() == name)
    }

    /// When it is used.
    #[must_use]
    pub fn variety(self) -> Variety {
        match self {
            Self::ApiKey | Self::Authorization | Self::CheckNothing | Self::ListEntry => Variety::Check,
            Self::Edge | Self::LogEntry | Self::Metric | Self::ReportNothing | Self::TraceSpan => {
                Variety::Report
            }
            Self::Quota => Variety::Quota,
            Self::Kubernetes => Variety::AttributeGenerator,
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
