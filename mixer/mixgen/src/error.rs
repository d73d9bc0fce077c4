//! What keeps something from being generated.

use std::path::Path;

/// A file, or what else somebody gave, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub(crate) struct Invalid {
    what: String,
    reason: String,
}

// === impl Invalid ===

impl Invalid {
    pub(crate) fn new(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn file(path: &Path, reason: impl Into<String>) -> Self {
        Self::new(path.display().to_string(), reason)
    }

    /// For [`Result::map_err`] of what was done with a file.
    pub(crate) fn io<E: std::error::Error>(path: &Path) -> impl FnOnce(E) -> Self + '_ {
        move |error| Self::file(path, error.to_string())
    }
}
