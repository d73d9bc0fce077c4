//! Collects problems with the place that they are at.

use std::fmt::Display;

use super::Problem;

/// The problems of one object, and the place that is being looked at.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    path: String,
}

impl Problems {
    /// Looks at a field of the current place.
    pub(super) fn field(&mut self, name: &str, look: impl FnOnce(&mut Self)) {
        let separator = if self.path.is_empty() { "" } else { "." };
        self.inside(&format!("{separator}{name}"), look);
    }

    /// Looks at each item of a list that is a field of the current place.
    pub(super) fn each<T>(&mut self, name: &str, items: &[T], mut look: impl FnMut(&mut Self, &T)) {
        self.field(name, |problems| {
            for (index, item) in items.iter().enumerate() {
                problems.inside(&format!("[{index}]"), |problems| look(problems, item));
            }
        });
    }

    /// Looks at each entry of a map that is a field of the current place.
    pub(super) fn each_entry<'a, K: Display + 'a, V: 'a>(
        &mut self,
        name: &str,
        entries: impl IntoIterator<Item = (&'a K, &'a V)>,
        mut look: impl FnMut(&mut Self, &'a K, &'a V),
    ) {
        self.field(name, |problems| {
            for (key, value) in entries {
                problems.inside(&format!("[{key}]"), |problems| look(problems, key, value));
            }
        });
    }

    /// Reports a fault of the current place.
    pub(super) fn report(&mut self, reason: impl Into<String>) {
        self.found.push(Problem {
            field: self.path.clone(),
            reason: reason.into(),
        });
    }

    /// Reports a fault of a field of the current place.
    pub(super) fn report_field(&mut self, name: &str, reason: impl Into<String>) {
        self.field(name, |problems| problems.report(reason));
    }

    /// Reports what a check of the current place found.
    pub(super) fn check(&mut self, checked: Result<(), String>) {
        if let Err(reason) = checked {
            self.report(reason);
        }
    }

    /// Reports what a check of a field of the current place found.
    pub(super) fn check_field(&mut self, name: &str, checked: Result<(), String>) {
        if let Err(reason) = checked {
            self.report_field(name, reason);
        }
    }

    /// How many problems there are so far.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.found
    }

    fn inside(&mut self, segment: &str, look: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(segment);
        look(self);
        self.path.truncate(length);
    }
}
