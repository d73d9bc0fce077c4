//! Values with an exact, cheap identity.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Identifies one version of one value.
///
/// All revisions of published values come from one counter of the [`crate::Builder`], so two values with the same
/// revision are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rev(u64);

/// A shared value that is compared and hashed by its revision alone.
///
/// That makes whole-key comparison as cheap as comparing a number, and leaves no room for hash collisions. A value
/// that is re-delivered unchanged keeps its revision, so a resync invalidates nothing.
#[derive(Debug)]
pub struct Versioned<T> {
    rev: Rev,
    value: Arc<T>,
}

// === impl Rev ===

impl Rev {
    /// A revision that no builder has given and that is given once.
    pub(crate) fn unique() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self((1 << 63) | LAST.fetch_add(1, Ordering::Relaxed))
    }

    /// The next revision.
    #[must_use]
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Versioned ===

impl<T> Versioned<T> {
    pub(crate) fn new(rev: Rev, value: T) -> Self {
        Self {
            rev,
            value: Arc::new(value),
        }
    }

    /// Which version this is.
    pub fn rev(&self) -> Rev {
        self.rev
    }

    /// The shared value.
    pub fn value(&self) -> &Arc<T> {
        &self.value
    }
}

impl<T> Clone for Versioned<T> {
    fn clone(&self) -> Self {
        Self {
            rev: self.rev,
            value: Arc::clone(&self.value),
        }
    }
}

impl<T> Deref for Versioned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> PartialEq for Versioned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rev == other.rev
    }
}

impl<T> Eq for Versioned<T> {}

impl<T> Hash for Versioned<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rev.hash(state);
    }
}
