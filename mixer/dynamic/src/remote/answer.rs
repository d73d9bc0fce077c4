//! What an adapter answers (`spec 02` §10.2).

use std::time::Duration;

use bytes::Bytes;
use mesh_api::istio::mixer::adapter::model::v1beta1::{
    CheckResult as WireCheck, QuotaResult as WireQuota, ReportResult,
};
use mixer_adapter::{CheckResult, HandlerError, QuotaResult};
use mixer_attribute::span;
use mixer_template::Variety;
use prost::Message;

use crate::output::Output;
use crate::template::Template;

/// A decision, and what the adapter put out with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// The decision.
    pub result: CheckResult,
    /// Of templates with output only.
    pub output: Option<Output>,
}

/// The answer of a check with output.
#[derive(Clone, PartialEq, Message)]
struct WithOutput {
    #[prost(message, optional, tag = "1")]
    result: Option<WireCheck>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    output: Option<Bytes>,
}

pub(crate) fn check(template: &Template, answer: Bytes) -> Result<Checked, HandlerError> {
    if template.variety() != Variety::CheckWithOutput {
        return Ok(Checked {
            result: result(read(answer)?),
            output: None,
        });
    }
    let answer: WithOutput = read(answer)?;
    Ok(Checked {
        result: result(answer.result.unwrap_or_default()),
        output: Some(output(template, &answer.output.unwrap_or_default())?),
    })
}

pub(crate) fn output(template: &Template, answer: &[u8]) -> Result<Output, HandlerError> {
    Output::read(template, answer).map_err(|error| unreadable(&error))
}

pub(crate) fn report(answer: Bytes) -> Result<(), HandlerError> {
    read::<ReportResult>(answer).map(|_| ())
}

/// What is granted of the quota of an instance.
pub(crate) fn quota(instance: &str, answer: Bytes) -> Result<QuotaResult, HandlerError> {
    let mut answer: WireQuota = read(answer)?;
    let granted = answer.quotas.remove(instance);
    let granted = granted
        .ok_or_else(|| HandlerError::new(format!("the adapter's answer has nothing for {instance}")))?;
    Ok(QuotaResult {
        valid_duration: duration(granted.valid_duration),
        amount: granted.granted_amount,
        ..QuotaResult::default()
    })
}

fn result(result: WireCheck) -> CheckResult {
    CheckResult {
        status: result.status.unwrap_or_default(),
        valid_duration: duration(result.valid_duration),
        valid_use_count: result.valid_use_count,
    }
}

/// A time that is negative is over.
fn duration(duration: Option<prost_types::Duration>) -> Duration {
    duration.as_ref().and_then(span).unwrap_or_default()
}

fn read<M: Message + Default>(answer: Bytes) -> Result<M, HandlerError> {
    M::decode(answer).map_err(|error| unreadable(&error))
}

fn unreadable(error: &prost::DecodeError) -> HandlerError {
    HandlerError::new(format!("the adapter's answer cannot be read: {error}"))
}
