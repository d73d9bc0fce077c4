//! Graceful shutdown as values: a [`Drain`] tells every part that the process is leaving, and a
//! [`DrainGuard`] makes the process wait for whoever holds it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Creates a connected pair: the side that starts the drain and the side that is handed out.
#[must_use]
pub fn channel() -> (DrainSignal, Drain) {
    let drain = Drain {
        state: Arc::default(),
    };
    (DrainSignal { drain: drain.clone() }, drain)
}

/// The side that starts the drain and waits for its end.
#[derive(Debug)]
pub struct DrainSignal {
    drain: Drain,
}

/// Handed to everything that must react when the process leaves. Cheap to clone.
///
/// A `Drain` by itself does not delay the shutdown. Take a [`Drain::guard`] before starting work
/// that must be finished, and drop it when the work is done.
#[derive(Clone)]
pub struct Drain {
    state: Arc<watch::Sender<State>>,
}

/// Delays the end of the process until dropped or until the drain deadline has passed.
#[must_use = "the process does not wait for a guard that was dropped"]
pub struct DrainGuard {
    name: Cow<'static, str>,
    drain: Drain,
}

/// The deadline passed while guards were still held.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not drained after {}: still held by {}", crate::args::GoDuration::from(*deadline), list(holders))]
pub struct DrainTimeout {
    /// How long was waited.
    pub deadline: Duration,
    /// Name of the guards and how many of them were left, sorted by name.
    pub holders: BTreeMap<String, usize>,
}

#[derive(Default)]
struct State {
    draining: bool,
    holders: BTreeMap<Cow<'static, str>, usize>,
}

fn list(holders: &BTreeMap<String, usize>) -> String {
    holders
        .iter()
        .map(|(name, count)| format!("{name} ({count})"))
        .collect::<Vec<_>>()
        .join(", ")
}

// === impl DrainSignal ===

impl DrainSignal {
    /// Tells every [`Drain`] that the process is leaving.
    pub fn start(&self) {
        self.drain.state.send_modify(|state| state.draining = true);
    }

    /// Waits until no guard is held.
    ///
    /// # Errors
    /// [`DrainTimeout`] with the names of the holders when that takes longer than `deadline`.
    pub async fn drained(&self, deadline: Duration) -> Result<(), DrainTimeout> {
        let mut state = self.drain.state.subscribe();
        let released = state.wait_for(|state| state.holders.is_empty());
        if tokio::time::timeout(deadline, released).await.is_ok() {
            return Ok(());
        }
        let holders = self.drain.state.borrow().holders.clone();
        Err(DrainTimeout {
            deadline,
            holders: holders
                .into_iter()
                .map(|(name, count)| (name.into_owned(), count))
                .collect(),
        })
    }
}

// === impl Drain ===

impl Drain {
    /// A drain that never starts, for parts that live exactly as long as the process.
    #[must_use]
    pub fn never() -> Self {
        Self {
            state: Arc::default(),
        }
    }

    /// Whether the process is leaving.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.state.borrow().draining
    }

    /// Waits until the process is leaving.
    pub async fn signaled(&self) {
        // The sender lives in `self`, so the channel cannot close while waiting.
        let mut state = self.state.subscribe();
        let _closed = state.wait_for(|state| state.draining).await;
    }

    /// Makes the shutdown wait for the returned guard. `name` is shown when it waits in vain.
    pub fn guard(&self, name: impl Into<Cow<'static, str>>) -> DrainGuard {
        let name = name.into();
        self.state.send_if_modified(|state| {
            *state.holders.entry(name.clone()).or_default() += 1;
            // Nobody waits for a new holder.
            false
        });
        DrainGuard {
            name,
            drain: self.clone(),
        }
    }

    /// Runs `future` until it ends or the process is leaving; `None` in the second case.
    pub async fn cancel<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.signaled() => None,
            output = future => Some(output),
        }
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.borrow();
        f.debug_struct("Drain")
            .field("draining", &state.draining)
            .field("holders", &state.holders)
            .finish()
    }
}

// === impl DrainGuard ===

impl DrainGuard {
    /// Waits until the process is leaving.
    pub async fn signaled(&self) {
        self.drain.signaled().await;
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.drain.state.send_if_modified(|state| {
            if let Some(count) = state.holders.get_mut(&self.name) {
                *count -= 1;
                if *count == 0 {
                    state.holders.remove(&self.name);
                }
            }
            // Only the end of the drain is waited for, and it needs the last holder gone.
            state.draining && state.holders.is_empty()
        });
    }
}

impl fmt::Debug for DrainGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DrainGuard").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_signal_reaches_every_clone_early_and_late() {
        let (signal, drain) = channel();
        let early = drain.clone();
        let waiting = early.signaled();
        tokio::pin!(waiting);
        assert_eq!(waiting.as_mut().now_or_never(), None);
        signal.start();
        waiting.await;
        drain.clone().signaled().await;
        assert!(drain.is_draining());
    }

    #[tokio::test]
    async fn clones_without_guard_are_not_waited_for() {
        let (signal, _drain) = channel();
        signal.start();
        assert_eq!(signal.drained(LONG).now_or_never(), Some(Ok(())));
    }

    #[tokio::test]
    async fn the_drain_ends_when_the_last_guard_is_dropped() {
        let (signal, drain) = channel();
        let first = drain.guard("stream");
        let second = drain.guard("stream");
        signal.start();
        let drained = signal.drained(LONG);
        tokio::pin!(drained);
        drop(first);
        assert_eq!(drained.as_mut().now_or_never(), None);
        drop(second);
        assert_eq!(drained.await, Ok(()));
    }

    #[tokio::test]
    async fn the_deadline_names_the_holders() {
        let (signal, drain) = channel();
        let _streams = [drain.guard("ads stream"), drain.guard("ads stream")];
        let _other = drain.guard("writer".to_owned());
        signal.start();
        let error = signal.drained(Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "not drained after 1ms: still held by ads stream (2), writer (1)"
        );
    }

    #[tokio::test]
    async fn cancel_gives_the_output_or_nothing_once_draining() {
        let (signal, drain) = channel();
        assert_eq!(drain.cancel(async { 1 }).await, Some(1));
        signal.start();
        assert_eq!(drain.cancel(std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn never_does_not_signal() {
        assert_eq!(Drain::never().signaled().now_or_never(), None);
    }
}
