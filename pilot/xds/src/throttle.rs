//! How often proxies may be given new configuration (P9.5).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A limit of full pushes. Pushes of endpoints alone are never held back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PushLimit {
    /// Pushes per second in the long run (`PILOT_PUSH_THROTTLE`).
    pub per_second: u32,
    /// Pushes that may follow one another without a pause (`PILOT_PUSH_BURST`).
    pub burst: u32,
}

/// Hands out turns. Who comes first gets the first turn; nobody waits in here.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Between two turns.
    interval: Duration,
    /// How far turns may be ahead of their time: a full bucket.
    ahead: Duration,
    started: Instant,
    /// When the next turn is due without a burst, since `started`.
    due: Mutex<Duration>,
}

// === impl PushLimit ===

impl PushLimit {
    /// The limit of first configurations: twice as many, so that proxies that come back are served before the others.
    pub(crate) fn of_new_proxies(self) -> Self {
        Self {
            per_second: self.per_second.saturating_mul(2),
            burst: self.burst.saturating_mul(2),
        }
    }
}

// === impl Throttle ===

impl Throttle {
    /// A full bucket. A limit of zero is taken for one.
    pub(crate) fn new(limit: PushLimit) -> Self {
        let interval = Duration::from_secs(1) / limit.per_second.max(1);
        Self {
            interval,
            ahead: interval.saturating_mul(limit.burst.max(1) - 1),
            started: Instant::now(),
            due: Mutex::default(),
        }
    }

    /// Takes a turn and says when it is.
    pub(crate) fn turn(&self) -> Instant {
        self.started + self.turn_at(self.started.elapsed())
    }

    fn turn_at(&self, now: Duration) -> Duration {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let this = (*due).max(now);
        *due = this + self.interval;
        this.saturating_sub(self.ahead).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn turns(throttle: &Throttle, now: Duration, count: usize) -> Vec<u128> {
        (0..count).map(|_| throttle.turn_at(now).as_millis()).collect()
    }

    #[test]
    fn p9_5_turns_come_at_once_until_the_burst_is_spent_then_at_the_rate() {
        let throttle = Throttle::new(PushLimit {
            per_second: 10,
            burst: 3,
        });
        assert_eq!(turns(&throttle, Duration::ZERO, 6), [0, 0, 0, 100, 200, 300]);
        // Three turns are owed; the bucket fills only after those.
        assert_eq!(turns(&throttle, 300 * MS, 2), [400, 500]);
        assert_eq!(turns(&throttle, 10_000 * MS, 4), [10_000, 10_000, 10_000, 10_100]);
    }

    #[test]
    fn a_limit_of_nothing_is_a_limit_of_one() {
        let throttle = Throttle::new(PushLimit {
            per_second: 0,
            burst: 0,
        });
        assert_eq!(turns(&throttle, Duration::ZERO, 3), [0, 1000, 2000]);
    }
}
