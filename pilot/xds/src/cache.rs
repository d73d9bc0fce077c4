//! The cache of encoded resources: one build per key, whoever asks.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_config::Str;

use crate::memo::Memo;
use crate::resource::Encoded;

/// Encoded resources by key.
///
/// Keys are compared whole and hold the revisions of everything that a resource depends on, so entries are never
/// invalidated: what is out of date is no longer asked for, and [`Self::sweep`] drops it.
#[derive(Debug)]
pub(crate) struct Cache<K> {
    memo: Memo<K, Option<Arc<Encoded>>>,
    /// The last good resource of each name: what a proxy keeps when a build panics.
    last_good: Mutex<HashMap<Str, Arc<Encoded>>>,
}

impl<K: Clone + Eq + Hash> Cache<K> {
    pub(crate) fn new() -> Self {
        Self {
            memo: Memo::new(),
            last_good: Mutex::default(),
        }
    }

    /// The resource of `key`, built if nobody has asked for it yet.
    ///
    /// A build that panics yields the last good resource of the same name, or `None`.
    pub(crate) fn get(
        &self,
        key: &K,
        name: &str,
        generation: u64,
        build: impl FnOnce(&K) -> Encoded,
        on_panic: impl FnOnce(&str),
    ) -> Option<Arc<Encoded>> {
        self.memo.get_or_compute(key, generation, || {
            match catch_unwind(AssertUnwindSafe(|| Arc::new(build(key)))) {
                Ok(encoded) => {
                    self.last_good()
                        .insert(encoded.name.clone(), Arc::clone(&encoded));
                    Some(encoded)
                }
                Err(_) => {
                    on_panic(name);
                    self.last_good().get(name).cloned()
                }
            }
        })
    }

    /// Drops what was not asked for during the last two generations and is in no set that a stream still holds.
    pub(crate) fn sweep(&self, generation: u64) {
        // Ourselves and `last_good` are two; anybody else is a live set.
        let is_live =
            |encoded: &Option<Arc<Encoded>>| encoded.as_ref().is_some_and(|e| Arc::strong_count(e) > 2);
        self.memo.sweep(generation, is_live);
        self.last_good()
            .retain(|_, encoded| Arc::strong_count(encoded) > 1);
    }

    /// How many resources are held.
    pub(crate) fn len(&self) -> usize {
        self.memo.len()
    }

    fn last_good(&self) -> MutexGuard<'_, HashMap<Str, Arc<Encoded>>> {
        self.last_good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;

    fn encoded(name: &str) -> Encoded {
        Encoded::new(name.into(), Bytes::new(), false, Vec::new())
    }

    fn get(
        cache: &Cache<&'static str>,
        key: &'static str,
        generation: u64,
        builds: &AtomicUsize,
    ) -> Arc<Encoded> {
        let build = |key: &&str| {
            builds.fetch_add(1, Ordering::Relaxed);
            encoded(key)
        };
        cache
            .get(&key, key, generation, build, |_| ())
            .expect("builds do not panic")
    }

    #[test]
    fn a_key_is_built_once_however_many_ask() {
        let (cache, builds) = (Cache::new(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for key in ["a", "b", "c"] {
                        get(&cache, key, 1, &builds);
                    }
                });
            }
        });
        assert_eq!(builds.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_sweep_keeps_what_is_used_or_held() {
        let (cache, builds) = (Cache::new(), AtomicUsize::new(0));
        let held = get(&cache, "held", 1, &builds);
        drop(get(&cache, "old", 1, &builds));
        drop(get(&cache, "recent", 2, &builds));
        cache.sweep(3);
        assert_eq!(cache.len(), 2);
        assert!(Arc::ptr_eq(&held, &get(&cache, "held", 3, &builds)));
        drop(held);
        cache.sweep(5);
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn a_build_that_panics_keeps_the_last_good_resource_of_its_name() {
        let cache = Cache::new();
        let good = cache
            .get(&1, "listener", 1, |_| encoded("listener"), |_| ())
            .expect("built");
        let panics = AtomicUsize::new(0);
        let count = |_: &str| {
            panics.fetch_add(1, Ordering::Relaxed);
        };
        let kept = cache
            .get(&2, "listener", 2, |_| panic!("a bug"), count)
            .expect("kept");
        assert!(Arc::ptr_eq(&good, &kept));
        assert_eq!(panics.load(Ordering::Relaxed), 1);
        assert!(cache.get(&3, "other", 2, |_| panic!("a bug"), count).is_none());
    }
}
