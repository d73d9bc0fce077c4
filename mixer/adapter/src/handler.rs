//! Handlers: what rules send instances to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use mesh_api::google::rpc::Status;
use mixer_template::{
    ApiKey, Authorization, CheckNothing, Edge, Kubernetes, KubernetesOutput, ListEntry, LogEntry, Metric,
    Quota, ReportNothing, Template, TraceSpan,
};
use tonic::Code;

/// What a handler answers: at once, or when it has waited for somebody else.
pub enum Answer<T> {
    /// At once.
    Now(Result<T, HandlerError>),
    /// Later. The future owns what it needs of the instance. Dropping it gives the call up.
    Later(BoxFuture<'static, Result<T, HandlerError>>),
}

/// A handler could not do its work. A refusal is no error.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct HandlerError(String);

/// A decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckResult {
    /// OK: allowed.
    pub status: Status,
    /// How long the decision may be used again.
    pub valid_duration: Duration,
    /// How often the decision may be used again; without limit if it is negative.
    pub valid_use_count: i32,
}

/// What is asked of a quota.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaArgs {
    /// The same for a call that is made again. Empty: never the same.
    pub deduplication_id: String,
    /// How much; negative gives back.
    pub amount: i64,
    /// A part is welcome. Otherwise all or nothing.
    pub best_effort: bool,
}

/// What a quota gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuotaResult {
    /// OK, or why nothing is granted.
    pub status: Status,
    /// How long the amount is granted for.
    pub valid_duration: Duration,
    /// How much is granted. 0 is a refusal.
    pub amount: i64,
}

/// What the handlers of a template do.
macro_rules! handle {
    ($($(#[$doc:meta])* $trait:ident $method:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        $(#[$doc])*
        pub trait $trait: Send + Sync {
            /// Called with what rules send; for reports with everything that one call of Report sends here.
            fn $method(&self, $($argument: $type),*) -> Answer<$result>;
        }
    )*};
}

handle! {
    /// Handles [`Template::ApiKey`].
    HandleApiKey handle_api_key(instance: &ApiKey<'_>) -> CheckResult;
    /// Handles [`Template::Authorization`].
    HandleAuthorization handle_authorization(instance: &Authorization<'_>) -> CheckResult;
    /// Handles [`Template::CheckNothing`].
    HandleCheckNothing handle_check_nothing(instance: &CheckNothing<'_>) -> CheckResult;
    /// Handles [`Template::Edge`].
    HandleEdge handle_edge(instances: &[Edge<'_>]) -> ();
    /// Handles [`Template::Kubernetes`].
    HandleKubernetes handle_kubernetes(instance: &Kubernetes<'_>) -> KubernetesOutput;
    /// Handles [`Template::ListEntry`].
    HandleListEntry handle_list_entry(instance: &ListEntry<'_>) -> CheckResult;
    /// Handles [`Template::LogEntry`].
    HandleLogEntry handle_log_entry(instances: &[LogEntry<'_>]) -> ();
    /// Handles [`Template::Metric`].
    HandleMetric handle_metric(instances: &[Metric<'_>]) -> ();
    /// Handles [`Template::Quota`].
    HandleQuota handle_quota(instance: &Quota<'_>, args: &QuotaArgs) -> QuotaResult;
    /// Handles [`Template::ReportNothing`].
    HandleReportNothing handle_report_nothing(instances: &[ReportNothing<'_>]) -> ();
    /// Handles [`Template::TraceSpan`].
    HandleTraceSpan handle_trace_span(instances: &[TraceSpan<'_>]) -> ();
}

/// How a handler serves one template.
#[derive(Clone)]
pub enum Handle {
    /// [`Template::ApiKey`].
    ApiKey(Arc<dyn HandleApiKey>),
    /// [`Template::Authorization`].
    Authorization(Arc<dyn HandleAuthorization>),
    /// [`Template::CheckNothing`].
    CheckNothing(Arc<dyn HandleCheckNothing>),
    /// [`Template::Edge`].
    Edge(Arc<dyn HandleEdge>),
    /// [`Template::Kubernetes`].
    Kubernetes(Arc<dyn HandleKubernetes>),
    /// [`Template::ListEntry`].
    ListEntry(Arc<dyn HandleListEntry>),
    /// [`Template::LogEntry`].
    LogEntry(Arc<dyn HandleLogEntry>),
    /// [`Template::Metric`].
    Metric(Arc<dyn HandleMetric>),
    /// [`Template::Quota`].
    Quota(Arc<dyn HandleQuota>),
    /// [`Template::ReportNothing`].
    ReportNothing(Arc<dyn HandleReportNothing>),
    /// [`Template::TraceSpan`].
    TraceSpan(Arc<dyn HandleTraceSpan>),
}

/// A configured adapter at work.
#[derive(Default)]
pub struct Handler {
    handles: Vec<Handle>,
    close: Option<Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send + Sync>>,
}

// === impl Answer ===

impl<T: Default> Answer<T> {
    /// Done, and there is nothing to say.
    #[must_use]
    pub fn done() -> Self {
        Self::Now(Ok(T::default()))
    }
}

impl<T> Answer<T> {
    /// It did not work.
    #[must_use]
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Now(Err(HandlerError::new(reason)))
    }

    /// The same answer in another form.
    #[must_use]
    pub fn map<U>(self, into: impl FnOnce(T) -> U + Send + 'static) -> Answer<U>
    where
        T: 'static,
    {
        match self {
            Self::Now(result) => Answer::Now(result.map(into)),
            Self::Later(future) => Answer::Later(Box::pin(async move { future.await.map(into) })),
        }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// That of the handler.
    pub async fn wait(self) -> Result<T, HandlerError> {
        match self {
            Self::Now(result) => result,
            Self::Later(future) => future.await,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(result) => f.debug_tuple("Now").field(result).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

// === impl CheckResult ===

impl CheckResult {
    /// A refusal that must not be used again.
    #[must_use]
    pub fn refused(code: Code, message: impl Into<String>) -> Self {
        Self {
            status: status(code, message),
            ..Self::default()
        }
    }
}

/// A status.
#[must_use]
pub fn status(code: Code, message: impl Into<String>) -> Status {
    Status {
        code: code.into(),
        message: message.into(),
        ..Status::default()
    }
}

// === impl HandlerError ===

impl HandlerError {
    /// An error with its reason.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

// === impl Handle ===

impl Handle {
    /// The template it serves.
    #[must_use]
    pub fn template(&self) -> Template {
        match self {
            Self::ApiKey(_) => Template::ApiKey,
            Self::Authorization(_) => Template::Authorization,
            Self::CheckNothing(_) => Template::CheckNothing,
            Self::Edge(_) => Template::Edge,
            Self::Kubernetes(_) => Template::Kubernetes,
            Self::ListEntry(_) => Template::ListEntry,
            Self::LogEntry(_) => Template::LogEntry,
            Self::Metric(_) => Template::Metric,
            Self::Quota(_) => Template::Quota,
            Self::ReportNothing(_) => Template::ReportNothing,
            Self::TraceSpan(_) => Template::TraceSpan,
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.template())
    }
}

// === impl Handler ===

impl Handler {
    /// Serves one more template.
    #[must_use]
    pub fn with(mut self, handle: Handle) -> Self {
        self.handles.push(handle);
        self
    }

    /// What is done when nobody uses the handler any more: buffers are sent, connections are closed. Tasks of its
    /// [`Env`](crate::Env) end after it.
    #[must_use]
    pub fn on_close<F>(mut self, close: impl FnOnce() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.close = Some(Box::new(|| Box::pin(close())));
        self
    }

    /// How it serves `template`; `None` if it does not.
    #[must_use]
    pub fn handle(&self, template: Template) -> Option<&Handle> {
        self.handles.iter().find(|handle| handle.template() == template)
    }

    /// Ends its work.
    pub async fn close(self) {
        if let Some(close) = self.close {
            close().await;
        }
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handler").field(&self.handles).finish()
    }
}
