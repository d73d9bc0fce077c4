//! Handlers at work: built when rules need them, kept while nothing about them changes, closed when the last request
//! that uses them is done (`spec 02` §9.5).

mod close;
mod factory;
mod live;
mod order;
mod signature;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::FullName;

pub use close::Closer;
pub use factory::{Attempts, Built, Factory, HandlerCounts};
pub use live::LiveHandler;
pub use order::validate;

/// The handlers of one configuration.
#[derive(Clone, Debug, Default)]
pub struct HandlerTable(BTreeMap<FullName, Arc<LiveHandler>>);

// === impl HandlerTable ===

impl HandlerTable {
    /// The handler called `name`, if it could be built.
    #[must_use]
    pub fn get(&self, name: &FullName) -> Option<&Arc<LiveHandler>> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<LiveHandler>> {
        self.0.values()
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

impl FromIterator<Arc<LiveHandler>> for HandlerTable {
    fn from_iter<I: IntoIterator<Item = Arc<LiveHandler>>>(handlers: I) -> Self {
        Self(
            handlers
                .into_iter()
                .map(|handler| (handler.name().clone(), handler))
                .collect(),
        )
    }
}
