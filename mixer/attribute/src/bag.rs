//! The attributes of one request.

use crate::value::Value;
use crate::vocabulary::{AttributeId, Vocabulary};

/// Values by attribute of one vocabulary. What comes with the request is borrowed from it.
#[derive(Clone, Debug)]
pub struct Bag<'r> {
    values: Vec<Option<Value<'r>>>,
}

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

    /// Takes all attributes out.
    pub fn clear(&mut self) {
        self.values.fill(None);
    }
}
