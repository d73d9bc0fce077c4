//! What is said.

use mesh_api::adapter::denier::config::Params;
use mixer_adapter::{CheckResult, Code, ConfigErrors, status};
use prost_types::Duration;

pub(super) fn defaults() -> Params {
    Params {
        status: Some(status(Code::FailedPrecondition, "")),
        valid_duration: Some(Duration { seconds: 5, nanos: 0 }),
        valid_use_count: 1000,
    }
}

/// The answer to every check. The status is that of the parameters, whatever its code and details are.
pub(super) fn answer(params: &Params, errors: &mut ConfigErrors) -> CheckResult {
    CheckResult {
        status: params.status.clone().unwrap_or_default(),
        valid_duration: errors.duration("validDuration", params.valid_duration.as_ref()),
        valid_use_count: params.valid_use_count,
    }
}
