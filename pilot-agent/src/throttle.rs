//! How often the agent acts: once a second, with a reserve for bursts (`AGT-48`).

use std::time::Duration;

use tokio::time::Instant;

/// One action in each such time is refilled.
const INTERVAL: Duration = Duration::from_secs(1);

/// So many actions may come at once.
const BURST: u32 = 10;

/// A bucket of actions.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// When the bucket will be full again.
    full_at: Instant,
}

// === impl Throttle ===

impl Throttle {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Instant) -> Throttle {
        Throttle { full_at: now }
    }

    /// From when on the next action is allowed.
    #[must_use]
    pub fn ready_at(&self) -> Instant {
        let room = INTERVAL * (BURST - 1);
        self.full_at.checked_sub(room).unwrap_or(self.full_at)
    }

    /// Takes one action out.
    pub fn spend(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Throttle;

    #[test]
    fn agt_48_ten_actions_at_once_and_then_one_each_second() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        for _ in 0..10 {
            assert!(throttle.ready_at() <= start);
            throttle.spend(start);
        }
        assert_eq!(throttle.ready_at(), start + Duration::from_secs(1));
        throttle.spend(start + Duration::from_secs(1));
        assert_eq!(throttle.ready_at(), start + Duration::from_secs(2));
        let later = start + Duration::from_secs(100);
        throttle.spend(later);
        assert!(throttle.ready_at() <= later);
    }
}
