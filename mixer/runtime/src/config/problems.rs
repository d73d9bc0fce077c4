//! What is wrong with objects, gathered.

use mesh_config::{ConfigError, ConfigKey};

/// Everything that is wrong with the objects of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<ConfigError>);

// === impl Problems ===

impl Problems {
    /// Notes what is wrong with a field of an object.
    pub fn push(&mut self, key: &ConfigKey, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(ConfigError {
            location: None,
            object: key.to_string(),
            field: field.into(),
            reason: reason.into(),
        });
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// Adds those of somebody else.
    pub fn extend(&mut self, others: impl IntoIterator<Item = ConfigError>) {
        self.0.extend(others);
    }

    /// All of them.
    #[must_use]
    pub fn into_vec(self) -> Vec<ConfigError> {
        self.0
    }
}
