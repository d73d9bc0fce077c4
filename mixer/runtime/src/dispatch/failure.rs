//! Requests that are not answered.

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure, as gRPC has it.
    pub kind: FailureKind,
    /// For whoever asked.
    pub message: String,
}

/// The kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The request makes no sense.
    InvalidArgument,
    /// Something did not work.
    Internal,
    /// Parts of a report did not arrive.
    Unknown,
    /// There is too much to do, or nobody is there who could say.
    Unavailable,
}

// === impl Failure ===

impl Failure {
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Internal,
            message: message.into(),
        }
    }

    pub(super) fn unknown(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Unknown,
            message: message.into(),
        }
    }

    /// The request makes no sense.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::InvalidArgument,
            message: message.into(),
        }
    }

    /// Nobody could say how much of a quota there is.
    #[must_use]
    pub fn undecided(quota: &str, reason: &str) -> Self {
        Self {
            kind: FailureKind::Unavailable,
            message: format!("quota {quota}: {reason}"),
        }
    }

    /// There is too much to do.
    #[must_use]
    pub fn overloaded() -> Self {
        Self {
            kind: FailureKind::Unavailable,
            message: "Server is currently overloaded. Please try again.".to_owned(),
        }
    }
}
