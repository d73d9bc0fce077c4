//! `noop`: agrees to everything and forgets what it is told (`spec 02` §7.13).

use std::sync::Arc;
use std::time::Duration;

use mesh_api::adapter::noop::config::Params;
use mixer_adapter::{
    Adapter, Answer, BuildError, CheckResult, ConfigErrors, Env, Handle, HandleAuthorization,
    HandleCheckNothing, HandleListEntry, HandleLogEntry, HandleMetric, HandleQuota, HandleReportNothing,
    HandleTraceSpan, Handler, Inferred, Info, QuotaArgs, QuotaResult,
};
use mixer_template::{
    Authorization, CheckNothing, ListEntry, LogEntry, Metric, Quota, ReportNothing, Template, TraceSpan,
};

/// How long what it says holds: for ever, as far as anybody can tell.
const DURATION: Duration = Duration::from_secs(1_000_000_000);

/// How often what it says may be used.
const USES: i32 = 1_000_000_000;

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Noop;

impl Adapter for Noop {
    type Params = Params;

    const INFO: Info = Info {
        name: "noop",
        description: "Does nothing (useful for testing)",
        templates: &[
            Template::Authorization,
            Template::CheckNothing,
            Template::ListEntry,
            Template::LogEntry,
            Template::Metric,
            Template::Quota,
            Template::ReportNothing,
            Template::TraceSpan,
        ],
    };

    fn validate(_: &Params, _: &Inferred) -> ConfigErrors {
        ConfigErrors::default()
    }

    async fn build(&self, _: Params, _: &Inferred, _: Env) -> Result<Handler, BuildError> {
        Ok(Handler::default()
            .with(Handle::Authorization(Arc::new(Self)))
            .with(Handle::CheckNothing(Arc::new(Self)))
            .with(Handle::ListEntry(Arc::new(Self)))
            .with(Handle::LogEntry(Arc::new(Self)))
            .with(Handle::Metric(Arc::new(Self)))
            .with(Handle::Quota(Arc::new(Self)))
            .with(Handle::ReportNothing(Arc::new(Self)))
            .with(Handle::TraceSpan(Arc::new(Self))))
    }
}

fn allowed() -> Answer<CheckResult> {
    Answer::Now(Ok(CheckResult {
        valid_duration: DURATION,
        valid_use_count: USES,
        ..CheckResult::default()
    }))
}

impl HandleAuthorization for Noop {
    fn handle_authorization(&self, _: &Authorization<'_>) -> Answer<CheckResult> {
        allowed()
    }
}

impl HandleCheckNothing for Noop {
    fn handle_check_nothing(&self, _: &CheckNothing<'_>) -> Answer<CheckResult> {
        allowed()
    }
}

impl HandleListEntry for Noop {
    fn handle_list_entry(&self, _: &ListEntry<'_>) -> Answer<CheckResult> {
        allowed()
    }
}

impl HandleQuota for Noop {
    fn handle_quota(&self, _: &Quota<'_>, args: &QuotaArgs) -> Answer<QuotaResult> {
        Answer::Now(Ok(QuotaResult {
            valid_duration: DURATION,
            amount: args.amount,
            ..QuotaResult::default()
        }))
    }
}

impl HandleLogEntry for Noop {
    fn handle_log_entry(&self, _: &[LogEntry<'_>]) -> Answer<()> {
        Answer::done()
    }
}

impl HandleMetric for Noop {
    fn handle_metric(&self, _: &[Metric<'_>]) -> Answer<()> {
        Answer::done()
    }
}

impl HandleReportNothing for Noop {
    fn handle_report_nothing(&self, _: &[ReportNothing<'_>]) -> Answer<()> {
        Answer::done()
    }
}

impl HandleTraceSpan for Noop {
    fn handle_trace_span(&self, _: &[TraceSpan<'_>]) -> Answer<()> {
        Answer::done()
    }
}
