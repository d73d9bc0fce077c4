//! Answers of adapters as they are read, without anybody who sends them.

use bytes::Bytes;
use mixer_adapter::{HandlerError, QuotaResult};

use crate::output::Output;
use crate::remote::{Checked, answer};
use crate::template::Template;

/// What an adapter says to a check.
///
/// # Errors
///
/// When it cannot be read.
pub fn check(template: &Template, message: Bytes) -> Result<Checked, HandlerError> {
    answer::check(template, message)
}

/// What it grants of the quota of an instance.
///
/// # Errors
///
/// When it cannot be read, or says nothing of the instance.
pub fn quota(instance: &str, message: Bytes) -> Result<QuotaResult, HandlerError> {
    answer::quota(instance, message)
}

/// What it knows.
///
/// # Errors
///
/// When it cannot be read.
pub fn output(template: &Template, message: &[u8]) -> Result<Output, HandlerError> {
    answer::output(template, message)
}

/// What it says to a report.
///
/// # Errors
///
/// When it cannot be read.
pub fn report(message: Bytes) -> Result<(), HandlerError> {
    answer::report(message)
}
