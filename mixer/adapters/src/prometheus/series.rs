//! The series of a metric.
//!
//! A series is found by the texts of its labels in one piece: they are written one behind the other into a [`Key`] that
//! the caller keeps, and looked up at once. Only a new series allocates.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;

use super::config::{Kind, Shape};
use super::key::{END, Key};

/// Tables of a metric: so many threads may be in it at once.
const SHARDS: usize = 16;

/// A metric with its series.
pub(super) struct Family {
    pub(super) name: Arc<str>,
    pub(super) shape: Shape,
    shards: [Mutex<Shard>; SHARDS],
    /// The series for everything that finds no room, and for what comes with its labels: Prometheus refuses two of one kind.
    other: Mutex<Option<Series>>,
    /// The labels of that series.
    other_key: Arc<[u8]>,
    live: AtomicUsize,
    overflowed: AtomicU64,
    /// Milliseconds; 0: they stay.
    expiry: AtomicU64,
}

/// How many series the metrics of a handler may have together.
pub(super) struct Budget {
    limit: usize,
    families: Vec<Arc<Family>>,
    /// Makes room one after another, so that it is never exceeded.
    gate: Mutex<()>,
}

/// A series as it was at some moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    key: Arc<[u8]>,
    pub(super) value: Value,
}

/// What a series holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Distribution {
        /// By bucket, the last one is without bound.
        counts: Box<[u64]>,
        sum: f64,
    },
}

/// Series by the texts of their labels.
type Shard = HashTable<Series>;

struct Series {
    key: Arc<[u8]>,
    hash: u64,
    value: Value,
    /// In milliseconds.
    updated: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Family ===

impl Family {
    pub(super) fn new(name: Arc<str>, shape: Shape) -> Self {
        let other_key = Key::other(shape.labels.len());
        Self {
            name,
            shape,
            shards: Default::default(),
            other: Mutex::default(),
            other_key,
            live: AtomicUsize::new(0),
            overflowed: AtomicU64::new(0),
            expiry: AtomicU64::new(0),
        }
    }

    /// Series that are not used for so many milliseconds go; 0: they stay.
    pub(super) fn set_expiry(&self, millis: u64) {
        self.expiry.store(millis, Ordering::Relaxed);
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // Within a table the lowest and the highest bits decide.
        &self.shards[usize::try_from(hash >> 32).unwrap_or_default() % SHARDS]
    }

    /// Series without the one for what finds no room.
    pub(super) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Values that went to the series for what finds no room.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Takes a value. `now` in milliseconds.
    pub(super) fn record(&self, key: &Key<'_>, number: f64, now: u64, budget: &Budget) -> Result<(), String> {
        if matches!(self.shape.kind, Kind::Counter) && (number.is_nan() || number < 0.0) {
            return Err(format!("{number} cannot be added to a counter"));
        }
        let (text, hash) = (key.text(), key.hash());
        let mut shard = lock(self.shard(hash));
        if let Some(series) = shard.find_mut(hash, |series| *series.key == *text) {
            series.update(&self.shape.kind, number, now);
            return Ok(());
        }
        let is_other = *text == *self.other_key;
        if !is_other && let Some(_gate) = budget.admit() {
            let mut series = Series::new(&self.shape.kind, text.into(), hash);
            series.update(&self.shape.kind, number, now);
            shard.insert_unique(hash, series, |series| series.hash);
            self.live.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        drop(shard);
        if !is_other {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
        }
        lock(&self.other)
            .get_or_insert_with(|| Series::new(&self.shape.kind, Arc::clone(&self.other_key), 0))
            .update(&self.shape.kind, number, now);
        Ok(())
    }

    /// Removes series that were not used for too long. What is used at the same moment is either still counted or
    /// begins anew: nothing that was told to be counted gets lost.
    pub(super) fn expire(&self, now: u64) {
        let expiry = self.expiry.load(Ordering::Relaxed);
        if expiry == 0 {
            return;
        }
        let Some(oldest) = now.checked_sub(expiry) else {
            return;
        };
        for shard in &self.shards {
            let mut shard = lock(shard);
            let before = shard.len();
            shard.retain(|series| series.updated > oldest);
            self.live.fetch_sub(before - shard.len(), Ordering::Relaxed);
            if before > 2 * shard.len() {
                shard.shrink_to_fit(|series| series.hash);
            }
        }
        let mut other = lock(&self.other);
        if other.as_ref().is_some_and(|series| series.updated <= oldest) {
            *other = None;
        }
    }

    /// All series, sorted by their labels.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::with_capacity(self.live() + 1);
        for shard in &self.shards {
            samples.extend(lock(shard).iter().map(Series::sample));
        }
        samples.extend(lock(&self.other).as_ref().map(Series::sample));
        samples.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        samples
    }
}

// === impl Budget ===

impl Budget {
    /// `limit` 0: as many as come. Every metric keeps room for the one series that has what finds none.
    pub(super) fn new(limit: usize, families: Vec<Arc<Family>>) -> Self {
        Self {
            limit,
            families,
            gate: Mutex::default(),
        }
    }

    /// The metrics that share it.
    pub(super) fn families(&self) -> &[Arc<Family>] {
        &self.families
    }

    /// `None`: there is no room. Else there is, as long as the guard is held.
    fn admit(&self) -> Option<Option<MutexGuard<'_, ()>>> {
        if self.limit == 0 {
            return Some(None);
        }
        let gate = lock(&self.gate);
        let live: usize = self.families.iter().map(|family| family.live()).sum();
        (live + self.families.len() < self.limit).then_some(Some(gate))
    }
}

// === impl Sample ===

impl Sample {
    /// The texts of the labels, in the order of [`Shape::labels`].
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.key
            .split_inclusive(|&byte| byte == END)
            .map(|text| std::str::from_utf8(&text[..text.len() - 1]).unwrap_or_default())
    }
}

// === impl Series ===

impl Series {
    fn new(kind: &Kind, key: Arc<[u8]>, hash: u64) -> Self {
        let value = match kind {
            Kind::Gauge | Kind::Counter => Value::Number(0.0),
            Kind::Distribution(bounds) => Value::Distribution {
                counts: vec![0; bounds.len() + 1].into(),
                sum: 0.0,
            },
        };
        Self {
            key,
            hash,
            value,
            updated: 0,
        }
    }

    fn sample(&self) -> Sample {
        Sample {
            key: Arc::clone(&self.key),
            value: self.value.clone(),
        }
    }

    fn update(&mut self, kind: &Kind, number: f64, now: u64) {
        self.updated = now;
        match (&mut self.value, kind) {
            (Value::Number(value), Kind::Gauge) => *value = number,
            (Value::Number(value), _) => *value += number,
            (Value::Distribution { counts, sum }, Kind::Distribution(bounds)) => {
                let bucket = bounds.partition_point(|bound| *bound < number);
                // What is no number is below no bound.
                let bucket = if number.is_nan() { bounds.len() } else { bucket };
                counts[bucket] += 1;
                *sum += number;
            }
            // Series are made for the kind of their metric.
            (Value::Distribution { .. }, _) => {}
        }
    }
}
