//! What is wrong with objects, gathered.

use mesh_config::{ConfigError, ConfigKey};

/// Longest reason, in bytes: names and values of any length may stand in an object, and what is wrong is logged.
const LONGEST_REASON: usize = 4096;

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
            reason: bounded(reason.into()),
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
        self.0.extend(others.into_iter().map(|problem| ConfigError {
            reason: bounded(problem.reason),
            ..problem
        }));
    }

    /// All of them.
    #[must_use]
    pub fn into_vec(self) -> Vec<ConfigError> {
        self.0
    }
}

fn bounded(mut reason: String) -> String {
    let bytes = reason.len();
    if bytes > LONGEST_REASON {
        reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
        reason.push_str("… (");
        reason.push_str(&bytes.to_string());
        reason.push_str(" bytes)");
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_make_no_long_messages() {
        let problem = ConfigError {
            location: None,
            object: "rule istio-system/r".to_owned(),
            field: String::new(),
            reason: format!("there is no template {}", "é".repeat(1 << 20)),
        };
        let mut problems = Problems::default();
        problems.extend([problem]);
        let [problem] = &problems.into_vec()[..] else {
            unreachable!("one came in");
        };
        assert!(problem.reason.starts_with("there is no template é"));
        assert!(
            problem.reason.ends_with("é… (2097173 bytes)"),
            "{}",
            problem.reason.len()
        );
        assert!(problem.reason.len() < LONGEST_REASON + 32);
    }
}
