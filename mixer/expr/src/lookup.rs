//! Where programs find attributes.

use mixer_attribute::{AttributeId, Bag, Track, Value};

/// Values by attribute.
pub trait Lookup<'r> {
    /// The value of an attribute, if it is there.
    fn get(&self, id: AttributeId) -> Option<&Value<'r>>;
}

/// The attributes of a request and, above them, those that an adapter put out: for attribute bindings and header
/// operations (`spec 02` §5.8, §6.5).
///
/// The names of outputs are added to a copy of the request's vocabulary; the numbers that they get there are the ones
/// that this finds in what was put out.
#[derive(Clone, Debug)]
pub struct Overlay<'b, 'r> {
    base: &'b Bag<'r>,
    first: usize,
    values: Vec<Option<Value<'r>>>,
}

/// Tells what is read of a request, and keeps quiet about outputs of adapters: those are not part of what a caller knows.
#[derive(Debug)]
pub struct BaseOnly<'t, T> {
    track: &'t mut T,
    first: usize,
}

/// Nothing is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nothing;

impl<'r> Lookup<'r> for Bag<'r> {
    fn get(&self, id: AttributeId) -> Option<&Value<'r>> {
        Bag::get(self, id)
    }
}

impl<'r> Lookup<'r> for Overlay<'_, 'r> {
    fn get(&self, id: AttributeId) -> Option<&Value<'r>> {
        match id.index().checked_sub(self.first) {
            Some(index) => self.values.get(index)?.as_ref(),
            None => self.base.get(id),
        }
    }
}

impl<'r> Lookup<'r> for Nothing {
    fn get(&self, _: AttributeId) -> Option<&Value<'r>> {
        None
    }
}

// === impl Overlay ===

impl<'b, 'r> Overlay<'b, 'r> {
    /// A layer for `outputs` attributes above a bag whose vocabulary has `first` of them.
    #[must_use]
    pub fn new(base: &'b Bag<'r>, first: usize, outputs: usize) -> Self {
        Self {
            base,
            first,
            values: vec![None; outputs],
        }
    }

    /// Gives an output a value. Attributes of the request keep theirs.
    pub fn set(&mut self, id: AttributeId, value: Value<'r>) {
        let slot = id.index().checked_sub(self.first);
        if let Some(slot) = slot.and_then(|index| self.values.get_mut(index)) {
            *slot = Some(value);
        }
    }

    /// What tells `track` of the attributes of the request only.
    pub fn track<'t, T: Track>(&self, track: &'t mut T) -> BaseOnly<'t, T> {
        BaseOnly {
            track,
            first: self.first,
        }
    }
}

// === impl BaseOnly ===

impl<T: Track> Track for BaseOnly<'_, T> {
    fn attribute(&mut self, id: AttributeId, present: bool) {
        if id.index() < self.first {
            self.track.attribute(id, present);
        }
    }

    fn key(&mut self, id: AttributeId, key: &str, present: bool) {
        if id.index() < self.first {
            self.track.key(id, key, present);
        }
    }
}
