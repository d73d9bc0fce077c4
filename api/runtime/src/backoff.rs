//! Exponential back-off for reconnect loops: a deterministic sequence of delays with a cap.
//!
//! There is no jitter on purpose: the loops that use it talk to one peer each, and a sequence that
//! can be predicted can be tested. Spreading many clients over time is the server's job
//! (see the connection age of [`crate::grpc::KeepaliveArgs`]).

use std::time::Duration;

/// Delays that double from `initial` up to `max`.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// The first delay is `initial` (at least one millisecond), no delay is longer than `max`
    /// (at least `initial`).
    #[must_use]
    pub fn new(initial: Duration, max: Duration) -> Self {
        // A zero delay would never grow and turn the loop into a busy one.
        let initial = initial.max(Duration::from_millis(1));
        let max = max.max(initial);
        Self {
            initial,
            max,
            next: initial,
        }
    }

    /// The delay to wait now; the following one is twice as long.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.max);
        delay
    }

    /// Waits for [`Self::next_delay`].
    ///
    /// A caller that is cancelled while waiting has used up the delay.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_delay()).await;
    }

    /// Starts again with the initial delay, to be called after a success.
    pub fn reset(&mut self) {
        self.next = self.initial;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(backoff: &mut Backoff, count: usize) -> Vec<u128> {
        (0..count).map(|_| backoff.next_delay().as_millis()).collect()
    }

    #[test]
    fn delays_double_up_to_the_cap_and_start_again_after_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(1000));
        assert_eq!(millis(&mut backoff, 6), [100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(millis(&mut backoff, 2), [100, 200]);
    }

    #[test]
    fn a_zero_delay_and_a_cap_below_the_start_are_raised() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(millis(&mut backoff, 3), [1, 1, 1]);
    }

    #[test]
    fn the_longest_duration_does_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!(backoff.next_delay(), Duration::MAX);
        assert_eq!(backoff.next_delay(), Duration::MAX);
    }
}
