//! What is wrong with an object, and where.

use std::fmt;

use crate::Str;

/// Where a document stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// File as the source names it.
    pub file: Str,
    /// Number of the document in the file, from 1.
    pub document: usize,
    /// Line in the file, from 1.
    pub line: usize,
}

/// Why an object was left out.
///
/// Displays as `file:line: object: field: reason`, without the parts that are unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Where the text stands, when it came from a file. The line is that of the fault where it can be told.
    pub location: Option<Location>,
    /// The object, such as `VirtualService weather/forecast-route`; empty when the document is not that far readable.
    pub object: String,
    /// Path of the field, such as `http[0].route[1].weight`; empty when the fault is not in one field.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        for part in [&self.object, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.reason)
    }
}
