//! The cache of encoded resources: one build per key, whoever asks.

use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::memo::Memo;
use crate::resource::Encoded;

/// Encoded resources by key; `None` for those that could not be built.
///
/// Keys are compared whole and hold the revisions of everything that a resource depends on, so entries are never
/// invalidated: what is out of date is no longer asked for, and [`Self::sweep`] drops it.
#[derive(Debug)]
pub(crate) struct Cache<K> {
    memo: Memo<K, Option<Arc<Encoded>>>,
}

impl<K: Clone + Eq + Hash> Cache<K> {
    pub(crate) fn new() -> Self {
        Self { memo: Memo::new() }
    }

    /// The resource of `key`, built if nobody has asked for it yet.
    ///
    /// `None` when the build says so or panics: each stream then keeps what it has. Nothing is put in its place, as
    /// resources of the same name are different for different proxies.
    pub(crate) fn get(
        &self,
        key: &K,
        generation: u64,
        build: impl FnOnce(&K) -> Option<Encoded>,
        on_panic: impl FnOnce(),
    ) -> Option<Arc<Encoded>> {
        self.memo.get_or_compute(key, generation, || {
            match catch_unwind(AssertUnwindSafe(|| build(key))) {
                Ok(encoded) => encoded.map(Arc::new),
                Err(_) => {
                    on_panic();
                    None
                }
            }
        })
    }

    /// Drops what was not asked for during the last two generations and is in no set that a stream still holds.
    pub(crate) fn sweep(&self, generation: u64) {
        let is_live =
            |encoded: &Option<Arc<Encoded>>| encoded.as_ref().is_some_and(|e| Arc::strong_count(e) > 1);
        self.memo.sweep(generation, is_live);
    }

    /// How many resources are held.
    pub(crate) fn len(&self) -> usize {
        self.memo.len()
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
            Some(encoded(key))
        };
        cache
            .get(&key, generation, build, || ())
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
    fn a_build_that_panics_is_counted_once_and_gives_nothing() {
        let cache = Cache::new();
        let panics = AtomicUsize::new(0);
        for _ in 0..3 {
            let built = cache.get(
                &1,
                1,
                |_| panic!("a bug"),
                || {
                    panics.fetch_add(1, Ordering::Relaxed);
                },
            );
            assert!(built.is_none());
        }
        assert_eq!(panics.load(Ordering::Relaxed), 1);
        assert!(cache.get(&2, 1, |_| Some(encoded("b")), || ()).is_some());
    }
}
