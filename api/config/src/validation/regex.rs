//! Regular expressions, which Envoy compiles with RE2.

use super::primitive::Checked;
use crate::re2;

/// Rejects what RE2 certainly rejects.
///
/// One pattern that does not compile makes Envoy refuse the whole route configuration it stands in, and with it every
/// other change, so it is worth finding here.
pub(super) fn pattern(text: &str) -> Checked {
    match re2::rejected(text) {
        Some(reason) => Err(format!("{text:?} is not a regular expression: {reason}")),
        None => Ok(()),
    }
}
