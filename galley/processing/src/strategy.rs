//! When to publish: a pure function of time and changes.
//!
//! 1.1 waited for one second of quiet, at most one second, and looked every half second, so every change took one
//! second to be seen. Here a change waits for [`DebounceOptions::quiesce`] of quiet and no longer than
//! [`DebounceOptions::max_wait`]; the defaults are 20 ms and 1 s.

use std::time::{Duration, Instant};

/// How long changes are gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebounceOptions {
    /// Publish when there was no change for this long.
    pub quiesce: Duration,
    /// Publish this long after the first change in any case.
    pub max_wait: Duration,
}

/// Gathers changes until it is time to publish.
#[derive(Debug)]
pub struct Strategy {
    options: DebounceOptions,
    /// First and last change since the last publication.
    changed: Option<(Instant, Instant)>,
}

/// Why it is time to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There was no change for a while.
    Quiet,
    /// Changes have waited long enough.
    MaxWait,
}

// === impl DebounceOptions ===

impl Default for DebounceOptions {
    fn default() -> Self {
        Self {
            quiesce: Duration::from_millis(20),
            max_wait: Duration::from_secs(1),
        }
    }
}

// === impl Strategy ===

impl Strategy {
    /// Nothing has changed yet.
    pub fn new(options: DebounceOptions) -> Self {
        Self {
            options,
            changed: None,
        }
    }

    /// Notes a change. Returns whether others were waiting, so that the wait begins anew.
    pub fn on_change(&mut self, now: Instant) -> bool {
        let first = self.changed.map_or(now, |(first, _)| first);
        self.changed.replace((first, now)).is_some()
    }

    /// When to publish, unless there is another change before.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let (first, last) = self.changed?;
        let (quiet, latest) = (last + self.options.quiesce, first + self.options.max_wait);
        Some(if quiet <= latest {
            (quiet, Reason::Quiet)
        } else {
            (latest, Reason::MaxWait)
        })
    }

    /// Everything was published.
    pub fn reset(&mut self) {
        self.changed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Milliseconds of the changes, and when and why they are published.
    fn published(changes: &[u32]) -> Option<(u128, Reason)> {
        let start = Instant::now();
        let mut strategy = Strategy::new(DebounceOptions {
            quiesce: 20 * MS,
            max_wait: 100 * MS,
        });
        for &change in changes {
            strategy.on_change(start + change * MS);
        }
        strategy
            .deadline()
            .map(|(deadline, reason)| ((deadline - start).as_millis(), reason))
    }

    #[test]
    fn changes_wait_for_quiet_but_not_for_ever() {
        for (changes, expected) in [
            (&[][..], None),
            (&[0][..], Some((20, Reason::Quiet))),
            (&[0, 10, 19][..], Some((39, Reason::Quiet))),
            (&[5, 85][..], Some((105, Reason::Quiet))),
            (&[5, 86][..], Some((105, Reason::MaxWait))),
            (&[0, 15, 30, 45, 60, 75, 90][..], Some((100, Reason::MaxWait))),
        ] {
            assert_eq!(published(changes), expected, "{changes:?}");
        }
    }

    #[test]
    fn after_a_publication_nothing_waits() {
        let mut strategy = Strategy::new(DebounceOptions::default());
        let now = Instant::now();
        assert!(!strategy.on_change(now));
        assert!(strategy.on_change(now));
        strategy.reset();
        assert_eq!(strategy.deadline(), None);
        assert!(!strategy.on_change(now));
    }
}
