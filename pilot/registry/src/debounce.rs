//! When to publish: not at each change, but when changes pause, or have not paused for too long (P9.2).

use std::time::Duration;

/// Gathers changes until none came for a while, but never for longer than a maximum.
///
/// Time is given in as the duration since any fixed moment, so that the rule can be tested without waiting.
#[derive(Clone, Copy, Debug)]
pub struct Debounce {
    quiet: Duration,
    max: Duration,
    /// First and last change of the running cycle.
    cycle: Option<(Duration, Duration)>,
}

impl Debounce {
    /// `quiet` is `PILOT_DEBOUNCE_AFTER` (100 ms in 1.1), `max` is `PILOT_DEBOUNCE_MAX` (10 s).
    pub fn new(quiet: Duration, max: Duration) -> Self {
        Self {
            quiet,
            max,
            cycle: None,
        }
    }

    /// Notes a change.
    pub fn on_change(&mut self, now: Duration) {
        let first = self.cycle.map_or(now, |(first, _)| first);
        self.cycle = Some((first, now));
    }

    /// When to publish; `None` when nothing changed.
    pub fn deadline(&self) -> Option<Duration> {
        self.cycle
            .map(|(first, last)| (last + self.quiet).min(first + self.max))
    }

    /// Ends the cycle if it is time to publish; returns whether it is.
    pub fn take(&mut self, now: Duration) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.cycle = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn t8_a_single_change_is_published_after_the_quiet_time() {
        let mut debounce = Debounce::new(100 * MS, 10_000 * MS);
        assert_eq!(debounce.deadline(), None);
        debounce.on_change(5 * MS);
        assert!(!debounce.take(104 * MS));
        assert!(debounce.take(105 * MS));
        assert!(!debounce.take(500 * MS));
    }

    #[test]
    fn t8_a_storm_of_changes_is_published_every_maximum() {
        let mut debounce = Debounce::new(100 * MS, 10_000 * MS);
        let mut published = 0;
        for now in (0..60_000).step_by(10).map(|ms| ms * MS) {
            published += u32::from(debounce.take(now));
            debounce.on_change(now);
        }
        assert!((5..=7).contains(&published), "{published}");
    }
}
