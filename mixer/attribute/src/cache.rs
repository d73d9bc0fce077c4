//! Answers to Checks that are given again to requests that look the same (`spec 02` §2.8).
//!
//! An answer names what was read to find it: its shape. A request gets it if all of that is the same, present or absent.
//! Keys are the values themselves and no digest of them, so that two requests are never taken for one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::bag::Bag;
use crate::track::References;
use crate::value::Value;
use crate::vocabulary::AttributeId;

/// Answers by what was read for them, those that were used last.
///
/// Time is how much of it has gone by since any point that does not move. Generations are those of the configuration: an
/// answer of another one is never given, and the first call of a newer one empties the cache.
#[derive(Debug)]
pub struct CheckCache<A> {
    capacity: usize,
    generation: u64,
    shapes: Vec<Shape>,
    next_shape: u64,
    entries: HashMap<Key, Entry<A>>,
    /// Keys by when they were used.
    used: BTreeMap<u64, Key>,
    uses: u64,
    counts: CacheCounts,
}

/// How often an answer may be given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// For so long; not at all if that is nothing.
    pub duration: Duration,
    /// So many times, the first one included, and without limit if it is negative. What a client does with the answer that
    /// it was given is its own affair.
    pub use_count: i32,
}

/// An answer that is still good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cached<'c, A> {
    /// The answer.
    pub answer: &'c A,
    /// For how long it stays good.
    pub valid_duration: Duration,
}

/// What happened since the cache was made (`mixer_checkcache_cache_*_total`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Answers that were put in.
    pub writes: u64,
    /// Requests that got one.
    pub hits: u64,
    /// Requests that got none.
    pub misses: u64,
    /// Answers that were thrown out for newer ones, or since they were no longer good, or used up.
    pub evictions: u64,
}

/// Number of the shape, then the values.
type Key = Arc<[u8]>;

#[derive(Debug)]
struct Shape {
    number: u64,
    parts: Vec<Part>,
    /// How many answers have it.
    entries: usize,
}

#[derive(Debug, PartialEq)]
struct Part {
    id: AttributeId,
    /// The key, if this is one of a map.
    key: Option<Box<str>>,
    present: bool,
}

#[derive(Debug)]
struct Entry<A> {
    answer: A,
    expires: Duration,
    used: u64,
    /// How often it may be given yet; `None` without limit.
    left: Option<u32>,
}

/// Every shape is tried for every request. Beyond so many the one that was used longest ago is forgotten: a rule that reads
/// a key which comes from the request makes a shape of each.
const MAX_SHAPES: usize = 128;

/// Answers that hang on more bytes of values are not kept.
const MAX_KEY: usize = 4096;

// === impl CheckCache ===

impl<A> CheckCache<A> {
    /// A cache for so many answers (`--numCheckCacheEntries`).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            generation: 0,
            shapes: Vec::new(),
            next_shape: 0,
            entries: HashMap::new(),
            used: BTreeMap::new(),
            uses: 0,
            counts: CacheCounts::default(),
        }
    }

    /// The answer for a request as it came, before any attribute was generated.
    pub fn get(&mut self, bag: &Bag<'_>, generation: u64, now: Duration) -> Option<Cached<'_, A>> {
        if self.is_current(generation)
            && let Some((place, key)) = self.find(bag, now)
        {
            // The shapes that are needed are found first.
            self.shapes[..=place].rotate_right(1);
            self.counts.hits += 1;
            self.uses += 1;
            let entry = self.entries.get_mut(&key)?;
            self.used.remove(&entry.used);
            entry.used = self.uses;
            entry.left = entry.left.map(|left| left.saturating_sub(1));
            self.used.insert(self.uses, key);
            return Some(Cached {
                answer: &entry.answer,
                valid_duration: entry.expires.saturating_sub(now),
            });
        }
        self.counts.misses += 1;
        None
    }

    /// Keeps an answer, which was given once. `bag` are the attributes as they came, `references` what was read of those.
    /// What was found by another generation than the newest is not kept.
    pub fn put(
        &mut self,
        bag: &Bag<'_>,
        references: &References,
        answer: A,
        validity: Validity,
        generation: u64,
        now: Duration,
    ) {
        // How often it may be given again; `None` without limit.
        let left = u32::try_from(validity.use_count)
            .ok()
            .map(|count| count.saturating_sub(1));
        let unfit = self.capacity == 0 || validity.duration.is_zero() || left == Some(0);
        if !self.is_current(generation) || unfit {
            return;
        }
        let parts = parts(references);
        let known = self.shapes.iter().position(|shape| shape.parts == parts);
        let number = known.map_or(self.next_shape, |place| self.shapes[place].number);
        // None, if what was read is not what came.
        let Some(key) = key(number, &parts, bag) else {
            return;
        };
        match known {
            Some(place) => self.shapes[place].entries += 1,
            None => {
                self.next_shape += 1;
                self.shapes.truncate(MAX_SHAPES - 1);
                self.shapes.insert(
                    0,
                    Shape {
                        number,
                        parts,
                        entries: 1,
                    },
                );
            }
        }
        let key: Key = key.into();
        self.remove(&key);
        while self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.used.first_key_value()
        {
            let oldest = Arc::clone(oldest);
            self.remove(&oldest);
            self.counts.evictions += 1;
        }
        self.counts.writes += 1;
        self.uses += 1;
        self.used.insert(self.uses, Arc::clone(&key));
        let entry = Entry {
            answer,
            expires: now.saturating_add(validity.duration),
            used: self.uses,
            left,
        };
        self.entries.insert(key, entry);
    }

    /// What happened until now.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        self.counts
    }

    /// How many answers there are, be they good or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many different things were read for them.
    #[must_use]
    pub fn shapes(&self) -> usize {
        self.shapes.len()
    }

    /// Whether a caller has the newest configuration that was seen. What was found by older ones is forgotten.
    fn is_current(&mut self, generation: u64) -> bool {
        if generation > self.generation {
            self.generation = generation;
            self.shapes.clear();
            self.entries.clear();
            self.used.clear();
        }
        generation == self.generation
    }

    /// The place of the shape, and the key, of an answer that is good.
    fn find(&mut self, bag: &Bag<'_>, now: Duration) -> Option<(usize, Key)> {
        let mut place = 0;
        while let Some(shape) = self.shapes.get(place) {
            if let Some(key) = key(shape.number, &shape.parts, bag)
                && let Some((key, entry)) = self.entries.get_key_value(&key[..])
            {
                let key = Arc::clone(key);
                if entry.expires > now && entry.left != Some(0) {
                    return Some((place, key));
                }
                let shapes = self.shapes.len();
                self.remove(&key);
                self.counts.evictions += 1;
                if self.shapes.len() < shapes {
                    // The next one has taken its place.
                    continue;
                }
            }
            place += 1;
        }
        None
    }

    /// Takes an answer out, and its shape if nobody else has it.
    fn remove(&mut self, key: &Key) {
        let Some(entry) = self.entries.remove(key) else {
            return;
        };
        self.used.remove(&entry.used);
        let number = key.first_chunk().map(|number| u64::from_le_bytes(*number));
        let Some(place) = self.shapes.iter().position(|shape| Some(shape.number) == number) else {
            return;
        };
        let shape = &mut self.shapes[place];
        shape.entries -= 1;
        if shape.entries == 0 {
            self.shapes.remove(place);
        }
    }
}

fn parts(references: &References) -> Vec<Part> {
    let attributes = references.attributes().map(|(id, present)| Part {
        id,
        key: None,
        present,
    });
    let keys = references.keys().map(|(id, key, present)| Part {
        id,
        key: Some(key.into()),
        present,
    });
    attributes.chain(keys).collect()
}

/// The key of a request in a shape; `None` if the request is of another one, or has too much in it.
fn key(number: u64, parts: &[Part], bag: &Bag<'_>) -> Option<Vec<u8>> {
    let mut bytes = number.to_le_bytes().to_vec();
    for part in parts {
        match (&part.key, bag.get(part.id)) {
            (None, None) if !part.present => {}
            (None, Some(value)) if part.present => push_value(&mut bytes, value),
            (Some(key), Some(Value::StringMap(map))) => match map.get(key) {
                Some(text) if part.present => push_text(&mut bytes, &text),
                None if !part.present => {}
                _ => return None,
            },
            _ => return None,
        }
        if bytes.len() > MAX_KEY {
            return None;
        }
    }
    Some(bytes)
}

/// No two values of one type give the same bytes, nor is one the beginning of another; an attribute has one type.
fn push_value(bytes: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::String(text) => push_text(bytes, text),
        Value::Int64(value) => bytes.extend(value.to_le_bytes()),
        Value::Double(value) => bytes.extend(value.to_bits().to_le_bytes()),
        Value::Bool(value) => bytes.push((*value).into()),
        Value::Timestamp(time) => push_time(bytes, time.seconds, time.nanos),
        Value::Duration(span) => push_time(bytes, span.seconds, span.nanos),
        Value::IpAddress(IpAddr::V4(address)) => {
            bytes.push(4);
            bytes.extend(address.octets());
        }
        Value::IpAddress(IpAddr::V6(address)) => {
            bytes.push(6);
            bytes.extend(address.octets());
        }
        Value::StringMap(map) => {
            bytes.extend(map.len().to_le_bytes());
            map.for_each(|key, value| {
                push_text(bytes, key);
                push_text(bytes, value);
            });
        }
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.len().to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn push_time(bytes: &mut Vec<u8>, seconds: i64, nanos: i32) {
    bytes.extend(seconds.to_le_bytes());
    bytes.extend(nanos.to_le_bytes());
}
