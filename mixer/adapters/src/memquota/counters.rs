//! What was granted to whom. Time is an argument.

use std::collections::HashMap;
use std::mem;
use std::time::Duration;

use mixer_adapter::QuotaArgs;

use super::window::{RollingWindow, part};

/// How much there is of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Most that is granted at a time.
    pub max_amount: i64,
    /// In which time; zero: until it is given back.
    pub valid_duration: Duration,
}

/// What is granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// How much; of a negative amount, how much was given back.
    pub amount: i64,
    /// For how long.
    pub valid_duration: Duration,
}

/// Counters by key: names of quotas with the dimensions of instances. Times are those since any moment.
#[derive(Debug)]
pub struct Counters {
    min_deduplication: Duration,
    windows: HashMap<String, RollingWindow>,
    /// In use.
    cells: HashMap<String, i64>,
    /// Answers of this generation and the one before.
    recent: HashMap<String, Remembered>,
    old: HashMap<String, Remembered>,
    /// When this generation ends.
    next_generation: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    amount: i64,
    expires: Duration,
}

// === impl Counters ===

impl Counters {
    /// Counters that remember an answer for at least so long, for a call that is made again.
    #[must_use]
    pub fn new(min_deduplication: Duration) -> Self {
        Self {
            min_deduplication,
            windows: HashMap::new(),
            cells: HashMap::new(),
            recent: HashMap::new(),
            old: HashMap::new(),
            next_generation: Duration::ZERO,
        }
    }

    /// Grants, or takes back.
    pub fn count(&mut self, now: Duration, key: &str, limit: Limit, args: &QuotaArgs) -> Grant {
        if args.amount == 0 {
            return Grant::default();
        }
        self.turn(now);
        if args.deduplication_id.is_empty() {
            return self.count_anew(now, key, limit, args);
        }
        let call = format!("{}\0{key}", args.deduplication_id);
        if let Some(known) = self.recent.get(&call).or_else(|| self.old.get(&call)) {
            return Grant {
                amount: known.amount,
                valid_duration: known.expires.saturating_sub(now),
            };
        }
        let grant = self.count_anew(now, key, limit, args);
        let remembered = Remembered {
            amount: grant.amount,
            expires: now.saturating_add(grant.valid_duration),
        };
        self.recent.insert(call, remembered);
        grant
    }

    fn count_anew(&mut self, now: Duration, key: &str, limit: Limit, args: &QuotaArgs) -> Grant {
        if args.amount < 0 {
            return Grant {
                amount: self.release(now, key, limit, args.amount.saturating_neg()),
                valid_duration: Duration::ZERO,
            };
        }
        let amount = if limit.valid_duration.is_zero() {
            let used = self.cells.get(key).copied().unwrap_or_default();
            let granted = part(
                limit.max_amount.saturating_sub(used),
                args.amount,
                args.best_effort,
            );
            if granted > 0 {
                self.cells.insert(key.to_owned(), used + granted);
            }
            granted
        } else {
            if !self.windows.contains_key(key) {
                let window = RollingWindow::new(limit.valid_duration);
                self.windows.insert(key.to_owned(), window);
            }
            self.windows.get_mut(key).map_or(0, |window| {
                window.allocate(now, limit.max_amount, args.amount, args.best_effort)
            })
        };
        let refused = amount == 0 && !args.best_effort;
        Grant {
            amount,
            valid_duration: if refused {
                Duration::ZERO
            } else {
                limit.valid_duration
            },
        }
    }

    fn release(&mut self, now: Duration, key: &str, limit: Limit, amount: i64) -> i64 {
        if !limit.valid_duration.is_zero() {
            let window = self.windows.get_mut(key);
            return window.map_or(0, |window| window.release(now, amount));
        }
        let Some(used) = self.cells.get_mut(key) else {
            return 0;
        };
        let released = amount.min(*used);
        *used -= released;
        released
    }

    /// Begins a new generation when it is time: answers of the one before the last are forgotten, and counters that are
    /// as good as new.
    fn turn(&mut self, now: Duration) {
        if now < self.next_generation {
            return;
        }
        let missed = now >= self.next_generation.saturating_add(self.min_deduplication);
        self.next_generation = now.saturating_add(self.min_deduplication);
        self.old = mem::take(&mut self.recent);
        if missed {
            self.old.clear();
        }
        self.cells.retain(|_, used| *used > 0);
        self.windows.retain(|_, window| !window.is_idle(now));
    }
}
