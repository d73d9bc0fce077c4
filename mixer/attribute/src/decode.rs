//! From `CompressedAttributes` to a bag (`spec 02` §2.2).
//!
//! A set is read in one pass over its bytes. Strings are borrowed from it; nothing is made for attributes that the
//! configuration does not know. The work is linear in the size of the set, whatever is in it.

use std::sync::Arc;

use crate::bag::Bag;
use crate::dictionary;
use crate::request::Compressed;
use crate::text::{StringMap, Text};
use crate::value::{Value, ValueType};
use crate::vocabulary::{AttributeId, Vocabulary};
use crate::wire::{Field, Fields, Malformed};

/// Reads the sets of attributes for one configuration. Made once for it; it knows the dictionary as attributes.
#[derive(Clone, Debug)]
pub struct Decoder {
    vocabulary: Arc<Vocabulary>,
    /// What the words of the global dictionary are called in the vocabulary.
    global: Box<[Option<AttributeId>]>,
}

/// The dictionary of a message.
#[derive(Clone, Debug, Default)]
pub struct Words<'r>(Vec<Text<'r>>);

/// Reads the sets of one request.
#[derive(Debug)]
pub struct Reader<'d, 'r> {
    decoder: &'d Decoder,
    default_words: &'d Words<'r>,
    /// Those of the set that is read.
    own_words: Words<'r>,
    /// Entries of the map that is read.
    entries: Vec<(Text<'r>, Text<'r>)>,
    /// A bit for each attribute that the set had until now.
    seen: Vec<u64>,
    /// What a delta says, before all of it is known to be good.
    changes: Vec<(AttributeId, Value<'r>)>,
    absent: Vec<Undecodable>,
}

/// A set of attributes cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is no message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// One attribute is there twice, be it under two types.
    #[error("duplicate attribute {name}")]
    Duplicate {
        /// The attribute.
        name: String,
    },
    /// Of a delta all has to be readable.
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
}

/// An attribute that does not say anything. In a complete set it counts as absent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// No dictionary has such a word.
    #[error("attribute index {index} is not defined in the available dictionaries")]
    Index {
        /// The index.
        index: i32,
    },
    /// The vocabulary says otherwise.
    #[error("attribute {name} is sent as {sent}, but is of type {expected}")]
    Type {
        /// The attribute.
        name: String,
        /// Its type in the vocabulary.
        expected: ValueType,
        /// What the wire has.
        sent: &'static str,
    },
    /// An address has 4 or 16 bytes.
    #[error("attribute {name} has {length} bytes, which is no address")]
    Address {
        /// The attribute.
        name: String,
        /// So many bytes.
        length: usize,
    },
    /// No such time, or no such span of time.
    #[error("attribute {name} is outside of what a {expected} can be")]
    Time {
        /// The attribute.
        name: String,
        /// [`ValueType::Timestamp`] or [`ValueType::Duration`].
        expected: ValueType,
    },
}

/// How many of the attributes that cannot be read are told.
const TOLD: usize = 8;

/// The maps of `CompressedAttributes`, by the numbers of their fields.
mod field {
    pub(super) const WORDS: u32 = 1;
    pub(super) const STRINGS: u32 = 2;
    pub(super) const INT64S: u32 = 3;
    pub(super) const DOUBLES: u32 = 4;
    pub(super) const BOOLS: u32 = 5;
    pub(super) const TIMESTAMPS: u32 = 6;
    pub(super) const DURATIONS: u32 = 7;
    pub(super) const BYTES: u32 = 8;
    pub(super) const STRING_MAPS: u32 = 9;

    /// What the field is called.
    pub(super) fn name(number: u32) -> &'static str {
        match number {
            STRINGS => "strings",
            INT64S => "int64s",
            DOUBLES => "doubles",
            BOOLS => "bools",
            TIMESTAMPS => "timestamps",
            DURATIONS => "durations",
            BYTES => "bytes",
            _ => "string_maps",
        }
    }
}

// === impl Decoder ===

impl Decoder {
    /// A decoder for the attributes of `vocabulary`.
    #[must_use]
    pub fn new(vocabulary: Arc<Vocabulary>) -> Self {
        let global = dictionary::WORDS.iter().map(|word| vocabulary.id(word)).collect();
        Self { vocabulary, global }
    }

    /// The attributes that it knows.
    #[must_use]
    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    /// The bag of a set that stands alone, that of a Check.
    ///
    /// # Errors
    ///
    /// If it is no message, or has an attribute twice.
    pub fn bag<'r>(&self, set: Compressed<'r>) -> Result<Bag<'r>, DecodeError> {
        let mut bag = Bag::new(&self.vocabulary);
        self.reader(&Words::default()).read(&mut bag, set)?;
        Ok(bag)
    }

    /// Reads the sets of one request, of which those without words of their own are in `default_words`.
    #[must_use]
    pub fn reader<'d, 'r>(&'d self, default_words: &'d Words<'r>) -> Reader<'d, 'r> {
        Reader {
            decoder: self,
            default_words,
            own_words: Words::default(),
            entries: Vec::new(),
            seen: vec![0; self.vocabulary.len().div_ceil(64)],
            changes: Vec::new(),
            absent: Vec::new(),
        }
    }
}

// === impl Words ===

impl<'r> Words<'r> {
    /// Adds a word. What is not UTF-8 in it, as headers may have it, becomes U+FFFD.
    pub(crate) fn push(&mut self, word: &'r [u8]) {
        self.0.push(match str::from_utf8(word) {
            Ok(word) => Text::Borrowed(word),
            Err(_) => String::from_utf8_lossy(word).into_owned().into(),
        });
    }

    /// The word that an index stands for, be it of this dictionary or of the global one.
    ///
    /// # Errors
    ///
    /// If it is in neither.
    pub fn get(&self, index: i32) -> Result<Text<'r>, Undecodable> {
        let word = match usize::try_from(index) {
            Ok(number) => dictionary::WORDS.get(number).map(|word| Text::Borrowed(word)),
            Err(_) => self.own(index).cloned(),
        };
        word.ok_or(Undecodable::Index { index })
    }

    /// The word of the message that a negative index stands for: -1 is the first one.
    fn own(&self, index: i32) -> Option<&Text<'r>> {
        self.0.get(usize::try_from(!index).ok()?)
    }
}

impl<'r> FromIterator<&'r str> for Words<'r> {
    fn from_iter<T: IntoIterator<Item = &'r str>>(words: T) -> Self {
        Self(words.into_iter().map(Text::Borrowed).collect())
    }
}

// === impl Reader ===

impl<'r> Reader<'_, 'r> {
    /// Makes `bag` that of a complete set. What cannot be read in it is absent, and told by [`absent`](Self::absent).
    ///
    /// # Errors
    ///
    /// If it is no message, or has an attribute twice. The bag is empty then.
    pub fn read(&mut self, bag: &mut Bag<'r>, set: Compressed<'r>) -> Result<(), DecodeError> {
        bag.clear();
        self.absent.clear();
        let read = self.each(set, |reader, found| {
            match found {
                Ok((id, value)) => bag.set(id, value),
                Err(absent) if reader.absent.len() < TOLD => reader.absent.push(absent),
                Err(_) => {}
            }
            Ok(())
        });
        if read.is_err() {
            bag.clear();
        }
        read
    }

    /// Changes `bag` as a set says that tells what became different. Nothing can be taken out of it that way.
    ///
    /// # Errors
    ///
    /// If it is no message, has an attribute twice, or one that cannot be read. The bag is as before then.
    pub fn apply(&mut self, bag: &mut Bag<'r>, set: Compressed<'r>) -> Result<(), DecodeError> {
        self.absent.clear();
        self.changes.clear();
        self.each(set, |reader, found| {
            reader.changes.push(found?);
            Ok(())
        })?;
        for (id, value) in self.changes.drain(..) {
            bag.set(id, value);
        }
        Ok(())
    }

    /// Why attributes of the set that was last [`read`](Self::read) are absent, for the log: the first of them.
    #[must_use]
    pub fn absent(&self) -> &[Undecodable] {
        &self.absent
    }

    /// Calls `put` with every attribute that the vocabulary knows, in the order of the message.
    fn each(
        &mut self,
        set: Compressed<'r>,
        mut put: impl FnMut(&mut Self, Result<(AttributeId, Value<'r>), Undecodable>) -> Result<(), Undecodable>,
    ) -> Result<(), DecodeError> {
        self.seen.fill(0);
        self.own_words.0.clear();
        let mut fields = self.read_words(set)?;
        while let Some(field) = fields.next()? {
            if (field::STRINGS..=field::STRING_MAPS).contains(&field.number) {
                let (key, value) = entry(field)?;
                let id = match self.attribute(key) {
                    Ok(Some(id)) => id,
                    Ok(None) => {
                        well_formed(field.number, value)?;
                        continue;
                    }
                    Err(undecodable) => {
                        well_formed(field.number, value)?;
                        put(self, Err(undecodable))?;
                        continue;
                    }
                };
                self.note(id)?;
                let value = self.value(id, field.number, value)?;
                put(self, value.map(|value| (id, value)))?;
            }
        }
        Ok(())
    }

    /// Reads the dictionary of a set; returns what stands behind it. All that we know write it first, but nobody has to.
    fn read_words(&mut self, set: Compressed<'r>) -> Result<Fields<'r>, Malformed> {
        let mut fields = Fields::new(set.0);
        let mut behind = fields;
        let mut first = true;
        while let Some(field) = fields.next()? {
            first &= field.number == field::WORDS;
            if field.number == field::WORDS {
                self.own_words.push(field.bytes()?);
            }
            if first {
                behind = fields;
            }
        }
        Ok(behind)
    }

    /// The attribute that an index stands for; `None` if the vocabulary does not have it.
    #[inline]
    fn attribute(&self, index: i32) -> Result<Option<AttributeId>, Undecodable> {
        let known = match usize::try_from(index) {
            Ok(number) => self.decoder.global.get(number).copied(),
            Err(_) => {
                let word = self.words().own(index);
                word.map(|word| self.decoder.vocabulary.id(word))
            }
        };
        known.ok_or(Undecodable::Index { index })
    }

    /// Takes down that the set has an attribute.
    #[inline]
    fn note(&mut self, id: AttributeId) -> Result<(), DecodeError> {
        let bit = 1 << (id.index() % 64);
        let Some(seen) = self.seen.get_mut(id.index() / 64) else {
            return Ok(());
        };
        if *seen & bit != 0 {
            let name = self.decoder.vocabulary.name(id).to_owned();
            return Err(DecodeError::Duplicate { name });
        }
        *seen |= bit;
        Ok(())
    }

    fn words(&self) -> &Words<'r> {
        if self.own_words.0.is_empty() {
            self.default_words
        } else {
            &self.own_words
        }
    }

    /// The value of an attribute in one of the maps. A value that is left out is the type's zero.
    fn value(
        &mut self,
        id: AttributeId,
        map: u32,
        value: Option<Field<'r>>,
    ) -> Result<Result<Value<'r>, Undecodable>, Malformed> {
        let vocabulary = &self.decoder.vocabulary;
        let expected = vocabulary.value_type(id);
        let name = || vocabulary.name(id).to_owned();
        Ok(match (map, expected) {
            (
                field::STRINGS,
                ValueType::String | ValueType::EmailAddress | ValueType::Uri | ValueType::DnsName,
            ) => {
                let index = value.map_or(Ok(0), Field::sint32)?;
                self.words().get(index).map(Value::String)
            }
            (field::INT64S, ValueType::Int64) => Ok(Value::Int64(value.map_or(Ok(0), Field::int64)?)),
            (field::DOUBLES, ValueType::Double) => Ok(Value::Double(value.map_or(Ok(0.0), Field::double)?)),
            (field::BOOLS, ValueType::Bool) => Ok(Value::Bool(value.map_or(Ok(0), Field::varint)? != 0)),
            (field::TIMESTAMPS, ValueType::Timestamp) => {
                let (seconds, nanos) = time(value)?;
                Value::timestamp(seconds, nanos).ok_or_else(|| Undecodable::Time {
                    name: name(),
                    expected,
                })
            }
            (field::DURATIONS, ValueType::Duration) => {
                let (seconds, nanos) = time(value)?;
                Value::duration(seconds, nanos).ok_or_else(|| Undecodable::Time {
                    name: name(),
                    expected,
                })
            }
            (field::BYTES, ValueType::IpAddress) => {
                let bytes = value.map_or(Ok(&[][..]), Field::bytes)?;
                Value::address(bytes).ok_or_else(|| Undecodable::Address {
                    name: name(),
                    length: bytes.len(),
                })
            }
            (field::STRING_MAPS, ValueType::StringMap) => self.string_map(value)?.map(Value::StringMap),
            _ => {
                well_formed(map, value)?;
                Err(Undecodable::Type {
                    name: name(),
                    expected,
                    sent: field::name(map),
                })
            }
        })
    }

    fn string_map(
        &mut self,
        value: Option<Field<'r>>,
    ) -> Result<Result<StringMap<'r>, Undecodable>, Malformed> {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        let mut undecodable = None;
        each_entry(value, |key, value| {
            match (self.words().get(key), self.words().get(value)) {
                (Ok(key), Ok(value)) => entries.push((key, value)),
                (Err(error), _) | (_, Err(error)) => undecodable = Some(error),
            }
        })?;
        let map = match undecodable {
            None => Ok(StringMap::of_words(&entries)),
            Some(undecodable) => Err(undecodable),
        };
        self.entries = entries;
        Ok(map)
    }
}

/// Key and value of an entry of a map. A key that is left out is 0.
#[inline]
fn entry(field: Field<'_>) -> Result<(i32, Option<Field<'_>>), Malformed> {
    let mut fields = field.message()?;
    let (mut key, mut value) = (0, None);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => key = field.sint32()?,
            2 => value = Some(field),
            _ => {}
        }
    }
    Ok((key, value))
}

/// Calls `each` with every entry of a `StringMap`.
fn each_entry(value: Option<Field<'_>>, mut each: impl FnMut(i32, i32)) -> Result<(), Malformed> {
    let Some(value) = value else {
        return Ok(());
    };
    let mut fields = value.message()?;
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            let (key, value) = entry(field)?;
            each(key, value.map_or(Ok(0), Field::sint32)?);
        }
    }
    Ok(())
}

/// Seconds and nanoseconds of a `Timestamp` or a `Duration`.
fn time(value: Option<Field<'_>>) -> Result<(i64, i32), Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    if let Some(value) = value {
        let mut fields = value.message()?;
        while let Some(field) = fields.next()? {
            match field.number {
                1 => seconds = field.int64()?,
                2 => nanos = field.uint32()?.cast_signed(),
                _ => {}
            }
        }
    }
    Ok((seconds, nanos))
}

/// Whether a value of a map is one, for those that nobody wants.
fn well_formed(map: u32, value: Option<Field<'_>>) -> Result<(), Malformed> {
    let Some(field) = value else {
        return Ok(());
    };
    match map {
        field::STRINGS | field::INT64S | field::BOOLS => field.varint().map(drop),
        field::DOUBLES => field.double().map(drop),
        field::BYTES => field.bytes().map(drop),
        field::TIMESTAMPS | field::DURATIONS => time(value).map(drop),
        _ => each_entry(value, |_, _| {}),
    }
}
