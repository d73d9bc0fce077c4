//! What is counted of a request (G8.3, G8.4).

use std::fmt;

/// Why a request was not passed: the label `reason` of `galley/validation/failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Neither creation nor update, nor for Mixer's kinds removal; such requests are allowed all the same.
    UnsupportedOperation,
    /// The request holds no object, or it is not readable as one.
    YamlDecodeError,
    /// The object is of a kind that this webhook does not know.
    UnknownType,
    /// The object has fields that its kind does not have, or values of a wrong type.
    CrdConversionError,
    /// The object breaks rules of its kind.
    InvalidResource,
}

/// The resource that a request is about: labels of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// API group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural name.
    pub resource: String,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Counts in `galley/validation/passed`.
    Passed(Resource),
    /// Counts in `galley/validation/failed`.
    Failed(Resource, Reason),
    /// No review took place. Counts in `galley/validation/http_error`, by the status that was answered.
    HttpError(u16),
}

// === impl Reason ===

impl Reason {
    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnsupportedOperation => "unsupported_operation",
            Self::YamlDecodeError => "yaml_decode_error",
            Self::UnknownType => "unknown_type",
            Self::CrdConversionError => "crd_conversion_error",
            Self::InvalidResource => "invalid_resource",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
