//! The adapters that handlers can be made of.

use std::collections::BTreeMap;
use std::fmt;

use mixer_adapter::SomeAdapter;

/// Adapters by name.
#[derive(Default)]
pub struct Adapters(BTreeMap<&'static str, Box<dyn SomeAdapter>>);

/// Two adapters have one name, which keeps Mixer from starting (`spec 02` §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are two adapters called {0}")]
pub struct DuplicateAdapter(&'static str);

// === impl Adapters ===

impl Adapters {
    /// These adapters.
    ///
    /// # Errors
    ///
    /// When two of them have the same name.
    pub fn new(adapters: Vec<Box<dyn SomeAdapter>>) -> Result<Self, DuplicateAdapter> {
        let mut by_name = BTreeMap::new();
        for adapter in adapters {
            let name = adapter.info().name;
            if by_name.insert(name, adapter).is_some() {
                return Err(DuplicateAdapter(name));
            }
        }
        Ok(Self(by_name))
    }

    /// The adapter called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&dyn SomeAdapter> {
        self.0.get(name).map(|adapter| &**adapter)
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Adapters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
