//! What was granted in the last while.

use std::collections::VecDeque;
use std::time::Duration;

/// How much time is counted together.
const TICK: Duration = Duration::from_millis(100);

/// What was granted, by tick. The grants of a tick count until the newest of them is as old as the window, so that in no
/// window more is granted than the limit, and not only in those that begin with a tick.
#[derive(Debug)]
pub(super) struct RollingWindow {
    length: Duration,
    /// Oldest first; nothing is empty.
    ticks: VecDeque<Tick>,
    /// Sum of `ticks`.
    used: i64,
}

#[derive(Debug)]
struct Tick {
    number: u128,
    /// Of its newest grant.
    time: Duration,
    amount: i64,
}

// === impl RollingWindow ===

impl RollingWindow {
    /// A window of so long, rounded up to whole seconds.
    pub(super) fn new(valid_duration: Duration) -> Self {
        let round_up = u64::from(valid_duration.subsec_nanos() > 0);
        Self {
            length: Duration::from_secs(valid_duration.as_secs().saturating_add(round_up)),
            ticks: VecDeque::new(),
            used: 0,
        }
    }

    /// Grants up to `amount` of the `limit`, or all or nothing. Time does not run backwards here.
    pub(super) fn allocate(&mut self, now: Duration, limit: i64, amount: i64, best_effort: bool) -> i64 {
        let now = self.roll(now);
        let granted = part(limit.saturating_sub(self.used), amount, best_effort);
        if granted > 0 {
            let number = now.as_nanos() / TICK.as_nanos();
            self.used += granted;
            match self.ticks.back_mut().filter(|tick| tick.number == number) {
                Some(tick) => {
                    tick.amount += granted;
                    tick.time = now;
                }
                None => self.ticks.push_back(Tick {
                    number,
                    time: now,
                    amount: granted,
                }),
            }
        }
        granted
    }

    /// Gives back up to `amount` of what was granted last; how much that was.
    pub(super) fn release(&mut self, now: Duration, amount: i64) -> i64 {
        self.roll(now);
        let mut left = amount;
        while let Some(tick) = self.ticks.back_mut() {
            let part = tick.amount.min(left);
            tick.amount -= part;
            left -= part;
            if tick.amount > 0 {
                break;
            }
            self.ticks.pop_back();
        }
        self.used -= amount - left;
        amount - left
    }

    /// Whether it is as good as new.
    pub(super) fn is_idle(&mut self, now: Duration) -> bool {
        self.roll(now);
        self.ticks.is_empty()
    }

    /// Forgets what is old; the time that counts.
    fn roll(&mut self, now: Duration) -> Duration {
        let now = self.ticks.back().map_or(now, |newest| newest.time.max(now));
        while let Some(oldest) = self.ticks.front() {
            if now.saturating_sub(oldest.time) < self.length {
                break;
            }
            self.used -= oldest.amount;
            self.ticks.pop_front();
        }
        now
    }
}

/// What is given of `available` to whoever asks for `amount`.
pub(super) fn part(available: i64, amount: i64, best_effort: bool) -> i64 {
    let available = available.max(0);
    if amount <= available {
        amount
    } else if best_effort {
        available
    } else {
        0
    }
}
