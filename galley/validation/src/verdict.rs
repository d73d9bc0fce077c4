//! Whether an object is admitted, and what is said about it.

use mesh_config::ConfigError;

use crate::outcome::Reason;

/// Problems that are written out; the others are counted.
pub(crate) const MAX_PROBLEMS: usize = 32;

/// The result of looking at an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Why the object is not what it should be.
    pub(crate) failure: Option<Reason>,
    /// Whether it is admitted; with a failure too, where it is not for this webhook to judge.
    pub(crate) allowed: bool,
    /// For whoever asked: one line, or one for each problem.
    pub(crate) message: String,
    /// The problems by their fields.
    pub(crate) problems: Vec<ConfigError>,
    /// Shown by kubectl although the object is admitted.
    pub(crate) warnings: Vec<String>,
}

// === impl Verdict ===

impl Verdict {
    /// Nothing is wrong with it.
    pub(crate) fn passed() -> Self {
        Self {
            allowed: true,
            ..Self::default()
        }
    }

    /// Not for this webhook to judge.
    pub(crate) fn not_judged(reason: Reason) -> Self {
        Self {
            failure: Some(reason),
            ..Self::passed()
        }
    }

    /// Refused in one sentence.
    pub(crate) fn refused(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            failure: Some(reason),
            message: message.into(),
            ..Self::default()
        }
    }

    /// Refused for each of these problems.
    pub(crate) fn invalid(reason: Reason, problems: Vec<ConfigError>) -> Self {
        Self {
            failure: Some(reason),
            message: listed(&problems),
            problems,
            ..Self::default()
        }
    }

    /// Admitted all the same, saying what is wrong.
    pub(crate) fn tolerated(self) -> Self {
        let mut warnings = self.warnings;
        warnings.extend(self.problems.iter().take(MAX_PROBLEMS).map(ToString::to_string));
        if warnings.is_empty() && !self.message.is_empty() {
            warnings.push(self.message);
        }
        Self {
            warnings,
            ..Self::passed()
        }
    }

    /// With one more warning.
    pub(crate) fn warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }
}

/// The problems as `kubectl` shows them: names the object once, then each field with what is wrong.
fn listed(problems: &[ConfigError]) -> String {
    let object = problems
        .first()
        .map(|first| first.object.as_str())
        .unwrap_or_default();
    let mut text = "configuration is invalid: ".to_owned();
    if !object.is_empty() {
        text.push_str(&format!("{object}: "));
    }
    match problems {
        [only] => text.push_str(&in_field(only)),
        _ => {
            text.push_str(&format!("{} errors occurred:", problems.len()));
            for problem in problems.iter().take(MAX_PROBLEMS) {
                text.push_str(&format!("\n\t* {}", in_field(problem)));
            }
            if let Some(more @ 1..) = problems.len().checked_sub(MAX_PROBLEMS) {
                text.push_str(&format!("\n\t* and {more} more"));
            }
        }
    }
    text
}

fn in_field(problem: &ConfigError) -> String {
    if problem.field.is_empty() {
        problem.reason.clone()
    } else {
        format!("{}: {}", problem.field, problem.reason)
    }
}
