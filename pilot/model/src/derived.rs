//! Results that publications and namespaces share.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Results of pure functions that are worth keeping as long as what they were made from stays the same, one value of
/// each type.
///
/// It belongs to those who generate; nothing in here depends on what they keep.
#[derive(Default)]
pub struct Derived {
    values: Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

// === impl Derived ===

impl Derived {
    /// The value of a type; empty when nobody has asked for it before.
    pub fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let value = values
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::new(T::default()));
        // The entry of a type holds a value of that type.
        Arc::downcast(Arc::clone(value)).unwrap_or_default()
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derived").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_one_value() {
        let derived = Derived::default();
        *derived.get::<Mutex<u32>>().lock().unwrap() = 7;
        assert_eq!(*derived.get::<Mutex<u32>>().lock().unwrap(), 7);
        assert_eq!(*derived.get::<Mutex<u64>>().lock().unwrap(), 0);
    }
}
