//! The metrics of all handlers, which outlive each of them.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::config::Definition;
use super::exposition::Exposition;
use super::key::Key;
use super::series::Family;

/// How long the values of a metric are kept that no handler has, in milliseconds: a handler that is taken away and put
/// back within this time counts on.
const KEPT: u64 = 10 * 60 * 1000;

/// All metrics.
pub(super) struct Registry {
    started: Instant,
    /// The labels of all metrics are hashed alike, so that a hash serves several of them.
    hasher: RandomState,
    entries: Mutex<BTreeMap<Arc<str>, Entry>>,
}

/// A metric that a handler has.
pub(super) struct Lease {
    registry: Arc<Registry>,
    pub(super) family: Arc<Family>,
}

struct Entry {
    family: Arc<Family>,
    help: String,
    /// Full name of the handler that asked for it last.
    handler: String,
    handlers: usize,
    /// When the last handler went.
    left: u64,
}

// === impl Registry ===

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            hasher: RandomState::new(),
            entries: Mutex::default(),
        }
    }

    /// Milliseconds since it was made.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A key for series of these metrics.
    pub(super) fn key<'k>(&self) -> Key<'k> {
        Key::new(&self.hasher)
    }

    /// The metric of a definition of a handler: the one that there is if its values can be kept, else a new one in its
    /// place.
    pub(super) fn lease(self: &Arc<Self>, handler: &str, definition: &Definition) -> Lease {
        let mut entries = self.entries();
        self.forget(&mut entries);
        let known = entries
            .get_mut(definition.name.as_str())
            .filter(|entry| entry.family.shape == definition.shape);
        let family = if let Some(entry) = known {
            entry.handlers += 1;
            handler.clone_into(&mut entry.handler);
            entry.help.clone_from(&definition.help);
            Arc::clone(&entry.family)
        } else {
            let name: Arc<str> = definition.name.as_str().into();
            let family = Arc::new(Family::new(Arc::clone(&name), definition.shape.clone()));
            let entry = Entry {
                family: Arc::clone(&family),
                help: definition.help.clone(),
                handler: handler.to_owned(),
                handlers: 1,
                left: 0,
            };
            let metric = &definition.name;
            match entries.insert(name, entry).filter(|old| old.handlers > 0) {
                // The former handler lives until its last call is over.
                Some(old) if old.handler == handler => {
                    tracing::info!(metric, handler, "the metric changes and begins anew");
                }
                Some(old) => tracing::warn!(
                    metric,
                    handler,
                    other = old.handler,
                    "two handlers define the metric differently, only the values of this one are shown"
                ),
                None => {}
            }
            family
        };
        Lease {
            registry: Arc::clone(self),
            family,
        }
    }

    /// What Prometheus reads.
    pub(super) fn encode(&self) -> String {
        let now = self.now();
        let families: Vec<(Arc<Family>, String)> = {
            let mut entries = self.entries();
            self.forget(&mut entries);
            let shown = entries.values().filter(|entry| entry.handlers > 0);
            shown
                .map(|entry| (Arc::clone(&entry.family), entry.help.clone()))
                .collect()
        };
        let mut exposition = Exposition::default();
        for (family, help) in &families {
            family.expire(now);
            exposition.family(family, help);
        }
        exposition.series(families.iter().map(|(family, _)| &**family));
        exposition.text()
    }

    fn forget(&self, entries: &mut BTreeMap<Arc<str>, Entry>) {
        let now = self.now();
        entries.retain(|_, entry| entry.handlers > 0 || now.saturating_sub(entry.left) < KEPT);
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries().keys()).finish()
    }
}

// === impl Lease ===

impl Drop for Lease {
    fn drop(&mut self) {
        let now = self.registry.now();
        let mut entries = self.registry.entries();
        // Else another one stands in its place.
        if let Some(entry) = entries
            .get_mut(&self.family.name)
            .filter(|entry| Arc::ptr_eq(&entry.family, &self.family))
        {
            entry.handlers -= 1;
            entry.left = now;
        }
    }
}
