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
    /// Up to [`FEW`] entries are in the order of the message, and the last one with a key counts; more of them are
    /// sorted, and their keys are different. Most maps are small and asked for few keys, if any.
    Borrowed(Arc<[(&'a str, &'a str)]>),
    Shared(Arc<BTreeMap<Arc<str>, Arc<str>>>),
}

/// How many entries are rather looked through than sorted.
const FEW: usize = 32;

// === impl Text ===

impl<'a> Text<'a> {
    fn borrowed(&self) -> Option<&'a str> {
        match self {
            Self::Borrowed(text) => Some(text),
            Self::Shared(_) => None,
        }
    }

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
        let entries: Arc<[_]> = entries.into_iter().collect();
        if entries.len() <= FEW {
            return Self(Repr::Borrowed(entries));
        }
        let entries: BTreeMap<_, _> = entries.iter().copied().collect();
        Self(Repr::Borrowed(entries.into_iter().collect()))
    }

    /// A map of words of a message. Of two entries with one key the last one counts.
    #[must_use]
    pub(crate) fn of_words(entries: &[(Text<'a>, Text<'a>)]) -> Self {
        let borrowed = |(key, value): &(Text<'a>, Text<'a>)| Some((key.borrowed()?, value.borrowed()?));
        if entries.iter().all(|entry| borrowed(entry).is_some()) {
            return Self::borrowed(entries.iter().map(|entry| borrowed(entry).unwrap_or_default()));
        }
        let owned = entries
            .iter()
            .map(|(key, value)| (Arc::from(&**key), Arc::from(&**value)));
        Self(Repr::Shared(Arc::new(owned.collect())))
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Text<'a>> {
        match &self.0 {
            Repr::Borrowed(entries) if entries.len() <= FEW => {
                let found = entries.iter().rfind(|(known, _)| *known == key)?;
                Some(Text::Borrowed(found.1))
            }
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
            Repr::Borrowed(entries) if entries.len() <= FEW => {
                let sorted: BTreeMap<_, _> = entries.iter().copied().collect();
                sorted.iter().for_each(|(key, value)| each(key, value));
            }
            Repr::Borrowed(entries) => entries.iter().for_each(|(key, value)| each(key, value)),
            Repr::Shared(entries) => entries.iter().for_each(|(key, value)| each(key, value)),
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Borrowed(entries) if entries.len() <= FEW => {
                let counts = |&(place, (key, _)): &(usize, &(&str, &str))| {
                    !entries[place + 1..].iter().any(|(later, _)| later == key)
                };
                entries.iter().enumerate().filter(counts).count()
            }
            Repr::Borrowed(entries) => entries.len(),
            Repr::Shared(entries) => entries.len(),
        }
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Repr::Borrowed(entries) => entries.is_empty(),
            Repr::Shared(entries) => entries.is_empty(),
        }
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
