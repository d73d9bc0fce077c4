//! Strings and maps of strings that are borrowed from the request where that is possible.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A string: a part of the request or of the configuration, or one that was made on the way.
#[derive(Clone)]
pub enum Text<'a> {
    /// Lives in the request or in the configuration.
    Borrowed(&'a str),
    /// Was made while the request is served. Shared, because one such value may go to many adapters.
    Shared(Arc<str>),
}

/// Strings by string.
#[derive(Clone)]
pub struct StringMap<'a>(Repr<'a>);

#[derive(Clone)]
enum Repr<'a> {
    /// Sorted by key.
    Borrowed(Arc<[(&'a str, &'a str)]>),
    Shared(Arc<BTreeMap<Arc<str>, Arc<str>>>),
}

// === impl Text ===

impl Text<'_> {
    /// The same string without the loan.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        match self {
            Self::Borrowed(text) => Text::Shared(text.into()),
            Self::Shared(text) => Text::Shared(text),
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self::Borrowed("")
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::Borrowed(text)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl From<Arc<str>> for Text<'_> {
    fn from(text: Arc<str>) -> Self {
        Self::Shared(text)
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

// === impl StringMap ===

impl<'a> StringMap<'a> {
    /// A map of strings that live in the request. Of two entries with one key the last one counts.
    #[must_use]
    pub fn borrowed(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let entries: BTreeMap<_, _> = entries.into_iter().collect();
        Self(Repr::Borrowed(entries.into_iter().collect()))
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Text<'a>> {
        match &self.0 {
            Repr::Borrowed(entries) => {
                let found = entries.binary_search_by_key(&key, |(key, _)| key).ok()?;
                Some(Text::Borrowed(entries[found].1))
            }
            Repr::Shared(entries) => entries.get(key).cloned().map(Text::Shared),
        }
    }

    /// Calls `each` with every entry, in the order of the keys.
    pub fn for_each(&self, mut each: impl FnMut(&str, &str)) {
        match &self.0 {
            Repr::Borrowed(entries) => entries.iter().for_each(|(key, value)| each(key, value)),
            Repr::Shared(entries) => entries.iter().for_each(|(key, value)| each(key, value)),
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Borrowed(entries) => entries.len(),
            Repr::Shared(entries) => entries.len(),
        }
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same map without the loan.
    #[must_use]
    pub fn into_owned(self) -> StringMap<'static> {
        StringMap(Repr::Shared(match self.0 {
            Repr::Borrowed(entries) => Arc::new(
                entries
                    .iter()
                    .map(|&(key, value)| (Arc::from(key), Arc::from(value)))
                    .collect(),
            ),
            Repr::Shared(entries) => entries,
        }))
    }
}

impl Default for StringMap<'_> {
    fn default() -> Self {
        Self(Repr::Shared(Arc::default()))
    }
}

impl From<Arc<BTreeMap<Arc<str>, Arc<str>>>> for StringMap<'_> {
    fn from(entries: Arc<BTreeMap<Arc<str>, Arc<str>>>) -> Self {
        Self(Repr::Shared(entries))
    }
}

impl PartialEq for StringMap<'_> {
    fn eq(&self, other: &Self) -> bool {
        let mut equal = self.len() == other.len();
        self.for_each(|key, value| equal = equal && other.get(key).is_some_and(|other| other == *value));
        equal
    }
}

impl Eq for StringMap<'_> {}

impl fmt::Debug for StringMap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        self.for_each(|key, value| {
            map.entry(&key, &value);
        });
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_equal_whoever_owns_their_strings() {
        let borrowed = StringMap::borrowed([("b", "2"), ("a", "0"), ("a", "1")]);
        assert_eq!(format!("{borrowed:?}"), r#"{"a": "1", "b": "2"}"#);
        let owned = borrowed.clone().into_owned();
        assert_eq!(borrowed, owned);
        assert_eq!(owned.get("b").as_deref(), Some("2"));
        assert_eq!(borrowed.get("c"), None);
        assert_ne!(borrowed, StringMap::borrowed([("a", "1"), ("c", "2")]));
    }
}
