//! Values computed once per key and forgotten when nobody needs them any more.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Values by key. Callers that ask for the same key at once wait for one computation; no lock is held meanwhile.
#[derive(Debug)]
pub(crate) struct Memo<K, V> {
    entries: Mutex<HashMap<K, Entry<V>>>,
}

#[derive(Debug)]
struct Entry<V> {
    slot: Arc<OnceLock<V>>,
    last_used: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Memo<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Mutex::default(),
        }
    }

    /// The value of `key`, computed if nobody has asked for it yet.
    pub(crate) fn get_or_compute(&self, key: &K, generation: u64, compute: impl FnOnce() -> V) -> V {
        let slot = {
            let mut entries = self.lock();
            match entries.get_mut(key) {
                Some(entry) => {
                    entry.last_used = entry.last_used.max(generation);
                    Arc::clone(&entry.slot)
                }
                None => {
                    let slot = Arc::default();
                    entries.insert(
                        key.clone(),
                        Entry {
                            slot: Arc::clone(&slot),
                            last_used: generation,
                        },
                    );
                    slot
                }
            }
        };
        slot.get_or_init(compute).clone()
    }

    /// Drops what was not asked for during the last two generations, unless `is_live` says that somebody holds it.
    pub(crate) fn sweep(&self, generation: u64, is_live: impl Fn(&V) -> bool) {
        self.lock()
            .retain(|_, entry| entry.last_used + 2 > generation || entry.slot.get().is_some_and(&is_live));
    }

    /// How many keys are held.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Entry<V>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
