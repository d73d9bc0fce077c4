//! On which line each value of a document stands.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::path::Segment;

/// The lines of a document, in the shape of its value.
#[derive(Debug)]
pub(super) struct Lines {
    line: usize,
    parts: Parts,
}

#[derive(Debug)]
enum Parts {
    None,
    Fields(BTreeMap<String, Lines>),
    Items(Vec<Lines>),
}

impl Lines {
    /// Reads the lines of a document that has been read before. `None` when there is no text.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let read: Spanned<Parts> =
            serde_saphyr::from_str_with_options(text, super::options(super::MAX_NODES)).ok()?;
        Some(Self::new(read))
    }

    /// The line of the value at `path`, or of the deepest part of the path that is there. From 1.
    pub(super) fn find(&self, path: &[Segment]) -> Option<usize> {
        let mut here = self;
        for segment in path {
            let next = match (&here.parts, segment) {
                (Parts::Items(items), Segment::Index(index)) => items.get(*index),
                (Parts::Fields(fields), Segment::Field(name) | Segment::Key(name)) => fields.get(name),
                (Parts::Fields(fields), Segment::Index(index)) => fields.get(&index.to_string()),
                _ => None,
            };
            match next {
                Some(next) => here = next,
                None => break,
            }
        }
        (here.line > 0).then_some(here.line)
    }

    fn new(read: Spanned<Parts>) -> Self {
        Self {
            line: usize::try_from(read.referenced.line()).unwrap_or_default(),
            parts: read.value,
        }
    }
}

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = Lines::new(map.next_value()?);
            // A field stands where its name stands, not where its value begins.
            let line = usize::try_from(key.referenced.line()).unwrap_or(value.line);
            fields.insert(key.value, Lines { line, ..value });
        }
        Ok(Parts::Fields(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parts, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(Lines::new(item));
        }
        Ok(Parts::Items(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_unit<E>(self) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_none<E>(self) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parts, D::Error> {
        Parts::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parts, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Parts::None)
    }
}
