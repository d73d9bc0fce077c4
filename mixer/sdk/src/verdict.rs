//! Decisions.

use std::time::Duration;

use mesh_api::istio::mixer::adapter::model::v1beta1::CheckResult;
use tonic::Code;

use crate::RpcStatus;

/// A request may pass. Mixer and proxies may decide so themselves for requests alike, so long and so often; with 0 they ask
/// again.
#[must_use]
pub fn permitted(valid_duration: Duration, valid_use_count: i32) -> CheckResult {
    CheckResult {
        status: None,
        // Longer than any decision holds.
        valid_duration: valid_duration.try_into().ok(),
        valid_use_count,
    }
}

/// A request must not pass; the reason is shown to who made it. Proxies ask again for the next one.
#[must_use]
pub fn refused(code: Code, reason: impl Into<String>) -> CheckResult {
    CheckResult {
        status: Some(RpcStatus {
            code: code.into(),
            message: reason.into(),
            details: Vec::new(),
        }),
        valid_duration: None,
        valid_use_count: 0,
    }
}
