//! The requests of Mixer's service as they are on the wire (`spec 02` §2.1). Nothing is copied; sets of attributes stay
//! encoded until [`Decoder`](crate::Decoder) reads them.

use std::collections::BTreeMap;

use crate::decode::Words;
use crate::wire::{Fields, Malformed};

/// A `CheckRequest`.
#[derive(Clone, Debug, Default)]
pub struct CheckRequest<'r> {
    /// What is known of the request that is to be checked.
    pub attributes: Compressed<'r>,
    /// How many words of the dictionary the caller knows.
    pub global_word_count: u32,
    /// What all attempts of one call have in common; may be empty.
    pub deduplication_id: &'r str,
    /// What is to be allocated, by name of the quota, at most [`MAX_QUOTAS`] of them. Of two with one name the last one
    /// counts.
    pub quotas: BTreeMap<&'r str, QuotaParams>,
}

/// How much of a quota is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaParams {
    /// So much.
    pub amount: i64,
    /// Whether less is better than nothing.
    pub best_effort: bool,
}

/// A `ReportRequest`.
#[derive(Clone, Debug, Default)]
pub struct ReportRequest<'r> {
    /// The sets of attributes, in their order.
    pub attributes: Vec<Compressed<'r>>,
    /// The dictionary of the sets that have none of their own.
    pub default_words: Words<'r>,
    /// How many words of the dictionary the caller knows.
    pub global_word_count: u32,
    /// What the sets have to do with each other.
    pub semantics: Semantics,
}

/// What the sets of a report have to do with each other (`spec 02` §2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Semantics {
    /// Each set changes what the ones before it said.
    #[default]
    Delta,
    /// Each set is complete.
    Independent,
}

/// An encoded `CompressedAttributes`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compressed<'r>(pub &'r [u8]);

/// How many quotas one request may ask for. What was read is told for each of them, so that a small request would make a
/// large answer.
pub const MAX_QUOTAS: usize = 1000;

// === impl CheckRequest ===

impl<'r> CheckRequest<'r> {
    /// Reads the message. Its attributes are not looked at.
    ///
    /// # Errors
    ///
    /// If it is none, or asks for too many quotas.
    pub fn read(message: &'r [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(message);
        let mut request = Self::default();
        let mut attributes = None;
        while let Some(field) = fields.next()? {
            match field.number {
                1 if attributes.is_some() => return Err(Malformed::Twice { field: 1 }),
                1 => attributes = Some(Compressed(field.bytes()?)),
                2 => request.global_word_count = field.uint32()?,
                3 => request.deduplication_id = field.text()?,
                4 => {
                    let (name, params) = quota(field.message()?)?;
                    request.quotas.insert(name, params);
                    if request.quotas.len() > MAX_QUOTAS {
                        return Err(Malformed::TooMany {
                            field: 4,
                            most: MAX_QUOTAS,
                        });
                    }
                }
                _ => {}
            }
        }
        request.attributes = attributes.unwrap_or_default();
        Ok(request)
    }
}

fn quota(mut entry: Fields<'_>) -> Result<(&str, QuotaParams), Malformed> {
    let (mut name, mut params) = ("", QuotaParams::default());
    while let Some(field) = entry.next()? {
        match field.number {
            1 => name = field.text()?,
            2 => {
                let mut fields = field.message()?;
                while let Some(field) = fields.next()? {
                    match field.number {
                        1 => params.amount = field.int64()?,
                        2 => params.best_effort = field.varint()? != 0,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok((name, params))
}

// === impl ReportRequest ===

impl<'r> ReportRequest<'r> {
    /// Reads the message. Its attributes are not looked at.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn read(message: &'r [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(message);
        let mut request = Self::default();
        while let Some(field) = fields.next()? {
            match field.number {
                1 => request.attributes.push(Compressed(field.bytes()?)),
                2 => request.default_words.push(field.bytes()?),
                3 => request.global_word_count = field.uint32()?,
                4 => {
                    // Whoever knows more of them than we do means what there was first.
                    request.semantics = match field.varint()? {
                        1 => Semantics::Independent,
                        _ => Semantics::Delta,
                    }
                }
                _ => {}
            }
        }
        Ok(request)
    }
}
