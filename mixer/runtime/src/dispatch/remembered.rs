//! Verdicts that are given again without asking anybody (`spec 02` §2.8, D4).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mixer_attribute::{Bag, CheckCache, References, Validity};
use tokio::time::Instant;

use super::combine::Verdict;
use crate::metrics::EngineMetrics;
use crate::routing::Table;

/// The verdicts of the table in force; those of tables before it are never given.
#[derive(Debug)]
pub(super) struct Remembered {
    cache: Mutex<CheckCache<Arc<Answer>>>,
    /// Since when time is counted.
    epoch: Instant,
    metrics: EngineMetrics,
}

/// A verdict, and what was read for it.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) references: References,
}

// === impl Remembered ===

impl Remembered {
    /// At most so many verdicts.
    pub(super) fn new(capacity: usize, metrics: EngineMetrics) -> Self {
        Self {
            cache: Mutex::new(CheckCache::new(capacity)),
            epoch: Instant::now(),
            metrics,
        }
    }

    /// The verdict for a request as it came, and for how long it is good yet.
    pub(super) fn get(&self, table: &Table, bag: &Bag<'_>) -> Option<(Arc<Answer>, Duration)> {
        let now = self.epoch.elapsed();
        let mut cache = self.lock();
        let found = cache.get(bag, table.revision, now);
        let found = found.map(|cached| (Arc::clone(cached.answer), cached.valid_duration));
        self.metrics.remembered(cache.counts());
        found
    }

    /// Remembers a verdict about a request as it came.
    pub(super) fn put(&self, table: &Table, bag: &Bag<'_>, verdict: &Verdict, references: &References) {
        let validity = Validity {
            duration: verdict.valid_duration,
            use_count: verdict.valid_use_count,
        };
        let answer = Arc::new(Answer {
            verdict: verdict.clone(),
            references: references.clone(),
        });
        let now = self.epoch.elapsed();
        let mut cache = self.lock();
        cache.put(bag, references, answer, validity, table.revision, now);
        self.metrics.remembered(cache.counts());
    }

    fn lock(&self) -> MutexGuard<'_, CheckCache<Arc<Answer>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
