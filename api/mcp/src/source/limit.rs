//! Admission of new streams at a bounded rate (G3.1).

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A bucket of `burst` streams that refills with one per `interval`.
#[derive(Debug)]
pub(crate) struct RateLimit {
    burst: u32,
    interval: Duration,
    /// When the bucket will be full again; in the past, it is full.
    full_at: Mutex<Option<Instant>>,
}

// === impl RateLimit ===

impl RateLimit {
    pub(crate) fn new(burst: u32, interval: Duration) -> Self {
        Self {
            burst: burst.max(1),
            interval,
            full_at: Mutex::new(None),
        }
    }

    /// Takes the next place: how long to wait for it. `None`, and no place is taken, when that is longer than `limit`.
    pub(crate) fn admit(&self, now: Instant, limit: Duration) -> Option<Duration> {
        let mut full_at = self
            .full_at
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let next = full_at.map_or(now, |full_at| full_at.max(now)) + self.interval;
        let wait = (next - now).saturating_sub(self.interval.saturating_mul(self.burst));
        if wait > limit {
            return None;
        }
        *full_at = Some(next);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn g3_1_a_burst_of_ten_then_one_per_ten_milliseconds() {
        let limit = RateLimit::new(10, 10 * MS);
        let now = Instant::now();
        let waits: Vec<_> = (0..13)
            .map(|_| limit.admit(now, 1000 * MS).unwrap().as_millis())
            .collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 20, 30]);
        // 30 ms later those waiting have gone, and the next has to wait its 10 ms.
        assert_eq!(limit.admit(now + 30 * MS, 1000 * MS), Some(10 * MS));
        // After a pause the bucket is full, and no fuller than that.
        let later = now + 10_000 * MS;
        let free = (0..20)
            .filter(|_| limit.admit(later, 1000 * MS) == Some(Duration::ZERO))
            .count();
        assert_eq!(free, 10);
    }

    #[test]
    fn who_would_wait_too_long_is_turned_away_and_takes_no_place() {
        let limit = RateLimit::new(1, 10 * MS);
        let now = Instant::now();
        let waits: Vec<_> = (0..4).map(|_| limit.admit(now, 10 * MS)).collect();
        assert_eq!(waits, [Some(Duration::ZERO), Some(10 * MS), None, None]);
        assert_eq!(limit.admit(now + 10 * MS, 10 * MS), Some(10 * MS));
    }
}
