//! Pauses between attempts, spread so that many clients of one server do not come back together.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use mesh_runtime::Backoff;

/// Pauses that double up to a limit, each shortened by chance by up to a half.
#[derive(Debug)]
pub(crate) struct Spread {
    backoff: Backoff,
}

// === impl Spread ===

impl Spread {
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Self {
            backoff: Backoff::new(initial, max),
        }
    }

    pub(crate) fn next_delay(&mut self) -> Duration {
        spread(self.backoff.next_delay())
    }

    pub(crate) fn reset(&mut self) {
        self.backoff.reset();
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

    #[test]
    fn pauses_grow_and_differ() {
        let mut pauses = Spread::new(Duration::from_secs(1), Duration::from_secs(4));
        for longest in [1, 2, 4, 4] {
            let pause = pauses.next_delay();
            assert!(pause <= Duration::from_secs(longest), "{pause:?}");
            assert!(pause >= Duration::from_secs(longest) / 2, "{pause:?}");
        }
        let some: std::collections::BTreeSet<Duration> =
            (0..50).map(|_| spread(Duration::from_secs(1))).collect();
        assert!(some.len() > 40);
    }
}
