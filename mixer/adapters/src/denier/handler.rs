//! Says it.

use mixer_adapter::{
    Answer, CheckResult, HandleCheckNothing, HandleListEntry, HandleQuota, QuotaArgs, QuotaResult,
};
use mixer_template::{CheckNothing, ListEntry, Quota};

/// The same answer to everybody.
#[derive(Debug)]
pub(super) struct Denial(pub(super) CheckResult);

impl Denial {
    fn answer(&self) -> Answer<CheckResult> {
        Answer::Now(Ok(self.0.clone()))
    }
}

impl HandleCheckNothing for Denial {
    fn handle_check_nothing(&self, _: &CheckNothing<'_>) -> Answer<CheckResult> {
        self.answer()
    }
}

impl HandleListEntry for Denial {
    fn handle_list_entry(&self, _: &ListEntry<'_>) -> Answer<CheckResult> {
        self.answer()
    }
}

impl HandleQuota for Denial {
    /// Grants nothing.
    fn handle_quota(&self, _: &Quota<'_>, _: &QuotaArgs) -> Answer<QuotaResult> {
        Answer::Now(Ok(QuotaResult {
            status: self.0.status.clone(),
            ..QuotaResult::default()
        }))
    }
}
