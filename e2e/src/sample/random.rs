//! Numbers that nobody can foresee, and numbers that somebody wants to repeat. Not for secrets.

use std::hash::{BuildHasher, RandomState};

/// A sequence of 64-bit numbers (SplitMix64).
#[derive(Debug)]
pub(super) struct Numbers(u64);

// === impl Numbers ===

impl Numbers {
    /// A sequence that differs from every other.
    pub(super) fn fresh() -> Self {
        // The standard library seeds each hasher state from the operating system.
        Self(RandomState::new().hash_one(0_u8))
    }

    /// The sequence of this seed.
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`; zero for a limit of zero.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next()
            .and_then(|number| number.checked_rem(limit))
            .unwrap_or(0)
    }
}

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(mixed ^ (mixed >> 31))
    }
}
