//! Label maps and how they select.

use std::collections::BTreeMap;

use crate::Str;

/// The labels of a workload, or a selector over them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(BTreeMap<Str, Str>);

impl Labels {
    /// Whether every label of `self` stands in `other` with the same value. The empty map selects everything.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|(key, value)| other.0.get(key) == Some(value))
    }

    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(AsRef::as_ref)
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

impl<K: Into<Str>, V: Into<Str>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        Self(
            labels
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

impl From<&BTreeMap<String, String>> for Labels {
    fn from(labels: &BTreeMap<String, String>) -> Self {
        labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_matches_when_all_its_labels_are_there() {
        let workload: Labels = [("app", "forecast"), ("version", "v1")].into_iter().collect();
        let app: Labels = [("app", "forecast")].into_iter().collect();
        let other: Labels = [("app", "forecast"), ("version", "v2")].into_iter().collect();
        assert!(app.is_subset_of(&workload));
        assert!(Labels::default().is_subset_of(&workload));
        assert!(!other.is_subset_of(&workload));
        assert!(!workload.is_subset_of(&app));
    }
}
