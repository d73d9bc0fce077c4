//! Telling of what may happen with every request, without a line for every request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Says once a second that it is time to tell.
#[derive(Debug)]
pub(crate) struct OnceASecond {
    start: Instant,
    /// The second after `start` that was told of, counted from 1.
    told: AtomicU64,
}

// === impl OnceASecond ===

impl OnceASecond {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            told: AtomicU64::new(0),
        }
    }

    /// Whether nobody has told in this second.
    pub(crate) fn is_due(&self) -> bool {
        let second = self.start.elapsed().as_secs() + 1;
        self.told.fetch_max(second, Ordering::Relaxed) < second
    }
}
