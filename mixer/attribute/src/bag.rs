//! The attributes of one request.

use crate::value::Value;
use crate::vocabulary::{AttributeId, Vocabulary};

/// Values by attribute of one vocabulary. What comes with the request is borrowed from it.
#[derive(Clone, Debug)]
pub struct Bag<'r> {
    values: Vec<Option<Value<'r>>>,
}

/// Which attributes a bag has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence(Box<[u64]>);

impl<'r> Bag<'r> {
    /// A bag without attributes.
    #[must_use]
    pub fn new(vocabulary: &Vocabulary) -> Self {
        Self {
            values: vec![None; vocabulary.len()],
        }
    }

    /// The value of an attribute, if it is there.
    #[must_use]
    pub fn get(&self, id: AttributeId) -> Option<&Value<'r>> {
        self.values.get(id.index())?.as_ref()
    }

    /// Gives an attribute a value.
    pub fn set(&mut self, id: AttributeId, value: Value<'r>) {
        if let Some(slot) = self.values.get_mut(id.index()) {
            *slot = Some(value);
        }
    }

    /// Takes an attribute out.
    pub fn remove(&mut self, id: AttributeId) {
        if let Some(slot) = self.values.get_mut(id.index()) {
            *slot = None;
        }
    }

    /// Which attributes there are now.
    #[must_use]
    pub fn presence(&self) -> Presence {
        let bits = |values: &[Option<Value<'r>>]| {
            let places = values.iter().enumerate().filter(|(_, value)| value.is_some());
            places.fold(0_u64, |bits, (place, _)| bits | 1 << place)
        };
        Presence(self.values.chunks(64).map(bits).collect())
    }

    /// Takes all attributes out.
    pub fn clear(&mut self) {
        self.values.fill(None);
    }
}

// === impl Presence ===

impl Presence {
    /// Whether an attribute was there.
    #[must_use]
    pub fn contains(&self, id: AttributeId) -> bool {
        let bits = self.0.get(id.index() / 64);
        bits.is_some_and(|bits| bits & (1 << (id.index() % 64)) != 0)
    }
}
