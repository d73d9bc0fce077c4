//! The labels of a series as one piece of bytes, with its hash.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use mixer_adapter::text;
use mixer_attribute::Value;
use mixer_template::Fields;

use super::config::{Label, sanitized};

/// Ends the text of a label in a key. No text has such a byte.
pub(super) const END: u8 = 0xFF;

/// Every label of the series that has what found no room.
const OTHER: &str = "other";

/// The texts of labels in the order of [`Shape::labels`](super::config::Shape::labels).
///
/// It is kept from one instance to the next: those of a record mostly have the same dimensions, and so the same key.
pub(super) struct Key<'k> {
    hasher: RandomState,
    hash: u64,
    text: Vec<u8>,
    /// The labels that it is of, by number, and their values.
    of: Option<(usize, &'k Fields<'k>)>,
}

// === impl Key ===

impl<'k> Key<'k> {
    /// An empty one. Keys for one metric have hashers that are alike.
    pub(super) fn new(hasher: &RandomState) -> Self {
        Self {
            hasher: hasher.clone(),
            hash: 0,
            text: Vec::new(),
            of: None,
        }
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Takes the labels that dimensions give. `number` is the same for equal labels.
    pub(super) fn set(
        &mut self,
        number: usize,
        labels: &[Label],
        dimensions: &'k Fields<'k>,
    ) -> Result<(), String> {
        if let Some((of, before)) = self.of
            && of == number
            && are_same(before, dimensions)
        {
            return Ok(());
        }
        self.of = None;
        self.text.clear();
        self.write(labels, dimensions)?;
        self.hash = self.hasher.hash_one(self.text.as_slice());
        self.of = Some((number, dimensions));
        Ok(())
    }

    fn write(&mut self, labels: &[Label], dimensions: &Fields<'_>) -> Result<(), String> {
        let as_expected = labels.len() == dimensions.len()
            && labels
                .iter()
                .zip(dimensions)
                .all(|(label, (name, _))| label.dimension == *name);
        if as_expected {
            for (_, value) in dimensions {
                self.push(value);
            }
            return Ok(());
        }
        // They may still give the same labels by other names.
        let mut given: Vec<_> = dimensions
            .iter()
            .map(|(name, value)| (sanitized(name), value))
            .collect();
        for label in labels {
            let found = given.iter().position(|(name, _)| *name == label.name);
            let found = found.ok_or_else(|| format!("there is no dimension for label {}", label.name))?;
            let (_, value) = given.swap_remove(found);
            self.push(value);
        }
        match given.first() {
            Some((name, _)) => Err(format!("{name} is no label of it")),
            None => Ok(()),
        }
    }

    fn push(&mut self, value: &Value<'_>) {
        if let Value::String(text) = value {
            self.text.extend_from_slice(text.as_bytes());
        } else {
            // A vector takes whatever is written.
            let _ = text::write(self, value);
        }
        self.text.push(END);
    }
}

impl Key<'_> {
    /// The key of the series that has what found no room.
    pub(super) fn other(labels: usize) -> Arc<[u8]> {
        let mut label = OTHER.as_bytes().to_vec();
        label.push(END);
        label.repeat(labels).into()
    }
}

impl fmt::Write for Key<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Whether dimensions have the same names and texts for sure, found out for less than it takes to write them.
fn are_same(before: &Fields<'_>, now: &Fields<'_>) -> bool {
    let same = |(before, now): (&Value<'_>, &Value<'_>)| match (before, now) {
        (Value::Double(before), Value::Double(now)) => before.to_bits() == now.to_bits(),
        (Value::StringMap(_), _) => false,
        (before, now) => before == now,
    };
    before.len() == now.len()
        && before
            .iter()
            .zip(now)
            .all(|((name, before), (other, now))| name == other && same((before, now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str) -> Label {
        Label {
            dimension: name.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn what_is_kept_is_that_of_the_same_labels_and_values_only() {
        let (ab, ba) = ([label("a"), label("b")], [label("b"), label("a")]);
        let fields =
            |first: f64, second: &'static str| vec![("a", Value::Double(first)), ("b", second.into())];
        let (zero, negative, other) = (fields(0.0, "x"), fields(-0.0, "x"), fields(-0.0, "y"));
        let hasher = RandomState::new();
        let mut key = Key::new(&hasher);
        for (number, labels, fields, expected) in [
            (0, &ab, &zero, "0|x|"),
            (0, &ab, &zero, "0|x|"),
            (0, &ab, &negative, "-0|x|"),
            (1, &ba, &negative, "x|-0|"),
            (0, &ab, &other, "-0|y|"),
        ] {
            key.set(number, labels, fields).unwrap();
            let text = key
                .text()
                .iter()
                .map(|&byte| if byte == END { '|' } else { byte.into() });
            assert_eq!(text.collect::<String>(), expected);
            assert_eq!(key.hash(), hasher.hash_one(key.text()));
        }
        // What does not fit is not kept.
        let short = vec![("a", Value::Bool(true))];
        for _ in 0..2 {
            key.set(0, &ab, &short).unwrap_err();
        }
        key.set(0, &ab, &other).unwrap();
        assert_eq!(key.hash(), hasher.hash_one(key.text()));
    }
}
