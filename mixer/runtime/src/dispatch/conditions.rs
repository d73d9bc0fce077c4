//! The conditions of one request: each is looked at once.

use mixer_attribute::{Bag, Track};

use crate::routing::Table;

/// What is known of the conditions of a table for one bag.
pub(super) struct Conditions<'r> {
    table: &'r Table,
    known: Vec<Option<bool>>,
}

// === impl Conditions ===

impl<'r> Conditions<'r> {
    pub(super) fn new(table: &'r Table) -> Self {
        Self {
            table,
            known: vec![None; table.conditions.len()],
        }
    }

    /// Forgets what was known, for another bag.
    pub(super) fn clear(&mut self) {
        self.known.fill(None);
    }

    /// Whether a condition holds; one that cannot be evaluated does not (`spec 02` §4.3).
    pub(super) fn hold(&mut self, number: Option<usize>, bag: &Bag<'r>, track: &mut impl Track) -> bool {
        let Some(number) = number else { return true };
        let (Some(condition), Some(known)) = (self.table.conditions.get(number), self.known.get_mut(number))
        else {
            return false;
        };
        *known.get_or_insert_with(|| match condition.program.holds(bag, track) {
            Ok(holds) => holds,
            Err(error) => {
                condition.tell(&error);
                false
            }
        })
    }
}
