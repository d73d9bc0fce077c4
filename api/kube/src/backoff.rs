//! Pauses between attempts, spread so that many clients of one server do not come back together.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// How often something that was well until then is tried again without a pause.
const AT_ONCE_EVERY: Duration = Duration::from_secs(1);

/// Pauses while something fails. They grow with the time that it has failed for, so that what comes back is noticed after
/// a further half of that time at most.
///
/// The first failure after something went well has no pause, unless the one before was less than a second ago: what cuts a
/// connection now and then, such as a server that restarts behind others, must not make anything stale.
#[derive(Debug)]
pub(crate) struct Pauses {
    shortest: Duration,
    longest: Duration,
    failing_since: Option<Instant>,
    tried_at_once: Option<Instant>,
}

// === impl Pauses ===

impl Pauses {
    pub(crate) fn new(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest: longest.max(shortest),
            failing_since: None,
            tried_at_once: None,
        }
    }

    /// The pause after a failure.
    pub(crate) fn failed(&mut self, now: Instant) -> Duration {
        let Some(since) = self.failing_since else {
            self.failing_since = Some(now);
            let is_rare = |last| now.duration_since(last) >= AT_ONCE_EVERY;
            if self.tried_at_once.is_none_or(is_rare) {
                self.tried_at_once = Some(now);
                return Duration::ZERO;
            }
            return spread(self.shortest);
        };
        let pause = now.duration_since(since) / 2;
        spread(pause.clamp(self.shortest, self.longest))
    }

    /// Something went well.
    pub(crate) fn succeeded(&mut self) {
        self.failing_since = None;
    }
}

/// Between a half and the whole of a pause, by chance.
pub(crate) fn spread(pause: Duration) -> Duration {
    // Keys of hash maps are the randomness that the standard library has.
    let random = RandomState::new().hash_one(());
    let share = f64::from((random >> 32) as u32) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pauses() -> Pauses {
        Pauses::new(100 * MS, 15_000 * MS)
    }

    #[test]
    fn g4_what_was_well_is_tried_at_once_but_not_all_the_time() {
        let (mut pauses, now) = (pauses(), Instant::now());
        assert_eq!(pauses.failed(now), Duration::ZERO);
        pauses.succeeded();
        let again = pauses.failed(now + 500 * MS);
        assert!((50 * MS..=100 * MS).contains(&again), "{again:?}");
        pauses.succeeded();
        assert_eq!(pauses.failed(now + 1000 * MS), Duration::ZERO);
    }

    #[test]
    fn g4_a_server_that_is_back_is_noticed_after_half_of_the_time_that_it_was_away() {
        let (mut pauses, start) = (pauses(), Instant::now());
        let (mut now, mut attempts) = (start, 0);
        while now < start + 600_000 * MS {
            let pause = pauses.failed(now);
            let away = now - start;
            assert!(
                pause <= (away / 2).clamp(100 * MS, 15_000 * MS),
                "{pause:?} after {away:?}"
            );
            now += pause;
            attempts += 1;
        }
        // Those of the first half minute, and then one in 15 s at most and 7.5 s at least.
        assert!((40..=110).contains(&attempts), "{attempts}");
    }

    #[test]
    fn pauses_differ() {
        let some: std::collections::BTreeSet<Duration> =
            (0..50).map(|_| spread(Duration::from_secs(1))).collect();
        assert!(some.len() > 40);
    }
}
