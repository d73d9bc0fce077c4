//! Which attributes were read, present or not: the recipe by which an answer may be used again (`spec 02` §2.8).

use std::collections::{BTreeMap, BTreeSet};

use crate::vocabulary::AttributeId;

/// Is told what is read.
pub trait Track {
    /// An attribute was read, or found absent; a map only if all of it counts, or if it is absent.
    fn attribute(&mut self, id: AttributeId, present: bool);

    /// A key of a map that is there was read, or found absent.
    fn key(&mut self, id: AttributeId, key: &str, present: bool);
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untracked;

/// Everything that was read. What was present once counts as present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    attributes: BTreeMap<AttributeId, bool>,
    keys: BTreeMap<AttributeId, BTreeMap<Box<str>, bool>>,
    /// Not in the request, but added to it.
    added: BTreeSet<AttributeId>,
}

impl Track for Untracked {
    fn attribute(&mut self, _: AttributeId, _: bool) {}

    fn key(&mut self, _: AttributeId, _: &str, _: bool) {}
}

impl Track for References {
    fn attribute(&mut self, id: AttributeId, present: bool) {
        *self.attributes.entry(id).or_default() |= present && !self.added.contains(&id);
    }

    fn key(&mut self, id: AttributeId, key: &str, present: bool) {
        if self.added.contains(&id) {
            return self.attribute(id, false);
        }
        let keys = self.keys.entry(id).or_default();
        if let Some(known) = keys.get_mut(key) {
            *known |= present;
        } else {
            keys.insert(key.into(), present);
        }
    }
}

impl References {
    /// An attribute counts as absent, whoever reads it and whoever has read it: somebody added it to what the request
    /// brought, and the caller, who will compare its next requests, does not have it.
    pub fn added(&mut self, id: AttributeId) {
        self.added.insert(id);
        if self.keys.remove(&id).is_some() || self.attributes.contains_key(&id) {
            self.attributes.insert(id, false);
        }
    }

    /// The attributes that were read, and whether they were there.
    pub fn attributes(&self) -> impl Iterator<Item = (AttributeId, bool)> {
        self.attributes.iter().map(|(id, present)| (*id, *present))
    }

    /// The keys of maps that were read, and whether they were there.
    pub fn keys(&self) -> impl Iterator<Item = (AttributeId, &str, bool)> {
        self.keys
            .iter()
            .flat_map(|(id, keys)| keys.iter().map(|(key, present)| (*id, &**key, *present)))
    }
}
