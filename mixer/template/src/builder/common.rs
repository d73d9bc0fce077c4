//! What the instances of one request have in common: the metrics of a record mostly have the same dimensions.

use std::fmt;
use std::sync::Arc;

use super::field::FieldMap;
use crate::instance::Fields;

/// Values of fields that several instances have, for one bag.
#[derive(Default)]
pub struct Common<'r>(Option<(&'r FieldMap, Fields<'r>)>);

// === impl Common ===

impl<'r> Common<'r> {
    /// Forgets what was known, for another bag.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    pub(super) fn get(&self, map: &FieldMap) -> Option<&Fields<'r>> {
        let (known, fields) = self.0.as_ref()?;
        std::ptr::eq(*known, map).then_some(fields)
    }

    pub(super) fn put(&mut self, map: &'r Arc<FieldMap>, fields: &Fields<'r>) {
        // Of what only one object has nobody will ask again.
        if !fields.is_empty() && Arc::strong_count(map) > 1 {
            self.0 = Some((map, fields.clone()));
        }
    }
}

impl fmt::Debug for Common<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.0.as_ref().map(|(_, fields)| fields);
        f.debug_tuple("Common").field(&fields).finish()
    }
}
