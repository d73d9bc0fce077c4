//! The rules of blocking queries, as the API's documentation gives them. Pure.

use std::time::Duration;

/// Where one query stands: the index that the next question waits to be passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// 0 asks for the state as it is.
    index: u64,
}

/// How fast one question may be asked again: at once when answers are rare, else once per interval.
///
/// A token bucket that holds two. Time is given in as the duration since any fixed moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// When the bucket is full again.
    full: Duration,
}

// === impl Cursor ===

impl Cursor {
    /// The index to wait for; `None` to be answered at once.
    pub(super) fn index(self) -> Option<u64> {
        (self.index > 0).then_some(self.index)
    }

    /// Notes an answer and its `X-Consul-Index`; returns whether its content may be different from the one before.
    pub(super) fn on_answer(&mut self, answered: Option<u64>) -> bool {
        // An index below 1 is a bug of the agent, and would turn the loop into a busy one.
        let answered = answered.unwrap_or_default().max(1);
        let changed = answered != self.index;
        // One that goes backwards comes from servers that were restored or replaced: start again.
        self.index = if answered < self.index { 0 } else { answered };
        changed
    }

    /// Notes that there was no answer: whoever answers next may count differently.
    pub(super) fn on_failure(&mut self) {
        self.index = 0;
    }
}

// === impl Pace ===

impl Pace {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            full: Duration::ZERO,
        }
    }

    /// How long to wait before the next question, which is taken as asked then.
    pub(super) fn delay(&mut self, now: Duration) -> Duration {
        let delay = self.full.saturating_sub(self.interval).saturating_sub(now);
        self.full = self.full.max(now + delay) + self.interval;
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p4_4_an_index_is_waited_for_once_it_is_known() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.index(), None);
        assert!(cursor.on_answer(Some(7)));
        assert_eq!(cursor.index(), Some(7));
        assert!(!cursor.on_answer(Some(7)), "the wait was over, nothing changed");
        assert!(cursor.on_answer(Some(9)));
        assert_eq!(cursor.index(), Some(9));
    }

    #[test]
    fn p4_4_an_index_that_goes_backwards_starts_again() {
        let mut cursor = Cursor { index: 100 };
        assert!(cursor.on_answer(Some(3)), "the content is taken");
        assert_eq!(cursor.index(), None);
        assert!(cursor.on_answer(Some(3)));
        assert_eq!(cursor.index(), Some(3));
    }

    #[test]
    fn p4_4_an_index_below_one_still_blocks() {
        for answered in [None, Some(0)] {
            let mut cursor = Cursor::default();
            assert!(cursor.on_answer(answered));
            assert_eq!(cursor.index(), Some(1), "{answered:?}");
        }
    }

    #[test]
    fn p4_4_after_a_failure_the_state_is_asked_for_as_it_is() {
        let mut cursor = Cursor { index: 100 };
        cursor.on_failure();
        assert_eq!(cursor.index(), None);
    }

    #[test]
    fn p4_4_two_questions_go_out_at_once_and_then_one_per_interval() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(2 * second);
        assert_eq!(pace.delay(10 * second), Duration::ZERO);
        assert_eq!(pace.delay(10 * second), Duration::ZERO);
        assert_eq!(pace.delay(10 * second), 2 * second);
        assert_eq!(pace.delay(12 * second), 2 * second);
        assert_eq!(pace.delay(100 * second), Duration::ZERO);
    }
}
