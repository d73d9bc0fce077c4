//! Readiness as values: every part that has to do something before the process may serve holds a
//! guard, and the process is ready when the last guard is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::info;

/// Whether the process may receive traffic, and what it waits for if not.
///
/// Cheap to clone; all clones see the same state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    state: Arc<watch::Sender<State>>,
}

/// Keeps the process unready until dropped.
#[must_use = "dropping the guard declares its task ready"]
pub struct ReadyGuard {
    name: String,
    state: Arc<watch::Sender<State>>,
}

/// A snapshot of [`Readiness`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Every task is ready.
    Ready,
    /// These tasks are not ready yet, sorted by name.
    Pending(Vec<String>),
    /// The process is shutting down and will not be ready again.
    Draining,
}

#[derive(Debug, Default)]
struct State {
    /// Name of a task and how many guards of that name exist.
    pending: BTreeMap<String, usize>,
    draining: bool,
}

// === impl Readiness ===

impl Readiness {
    /// A readiness without tasks, which is ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers something that must happen before the process is ready; dropping the guard says
    /// that it has happened.
    ///
    /// A task may be registered again later: the process is then unready until that guard is dropped.
    pub fn task(&self, name: impl Into<String>) -> ReadyGuard {
        let name = name.into();
        self.state
            .send_modify(|state| *state.pending.entry(name.clone()).or_default() += 1);
        ReadyGuard {
            name,
            state: Arc::clone(&self.state),
        }
    }

    /// Whether nothing is pending and the process is not draining.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.borrow().is_ready()
    }

    /// Names of the tasks that are not ready yet, sorted.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        self.state.borrow().pending.keys().cloned().collect()
    }

    /// The current state with its reason.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.state.borrow();
        if state.draining {
            Status::Draining
        } else if state.pending.is_empty() {
            Status::Ready
        } else {
            Status::Pending(state.pending.keys().cloned().collect())
        }
    }

    /// Waits until the process is ready; never returns once it drains.
    pub async fn ready(&self) {
        // The sender lives in `self`, so the channel cannot close while waiting.
        let mut state = self.state.subscribe();
        let _closed = state.wait_for(State::is_ready).await;
    }

    /// Makes the process unready for good.
    pub(crate) fn drain(&self) {
        self.state.send_modify(|state| state.draining = true);
    }
}

// === impl State ===

impl State {
    fn is_ready(&self) -> bool {
        !self.draining && self.pending.is_empty()
    }
}

// === impl ReadyGuard ===

impl ReadyGuard {
    /// Declares the task ready; the same as dropping the guard, for places where the word helps.
    pub fn ready(self) {}
}

impl Drop for ReadyGuard {
    fn drop(&mut self) {
        let mut waiting_for = Vec::new();
        self.state.send_modify(|state| {
            if let Some(count) = state.pending.get_mut(&self.name) {
                *count -= 1;
                if *count == 0 {
                    state.pending.remove(&self.name);
                }
            }
            waiting_for.extend(state.pending.keys().cloned());
        });
        if waiting_for.is_empty() {
            info!(task = self.name, "task is ready, nothing else is pending");
        } else {
            info!(task = self.name, ?waiting_for, "task is ready");
        }
    }
}

impl fmt::Debug for ReadyGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadyGuard").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn without_tasks_the_process_is_ready() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        assert_eq!(readiness.status(), Status::Ready);
    }

    #[test]
    fn ready_when_the_last_guard_is_dropped() {
        let readiness = Readiness::new();
        let sync = readiness.task("config sync");
        let first = readiness.task("cache");
        let second = readiness.task("cache");
        assert_eq!(readiness.pending(), ["cache", "config sync"]);
        drop(first);
        assert_eq!(
            readiness.pending(),
            ["cache", "config sync"],
            "both guards of a name count"
        );
        second.ready();
        assert_eq!(
            readiness.status(),
            Status::Pending(vec!["config sync".to_owned()])
        );
        drop(sync);
        assert!(readiness.is_ready());
    }

    #[tokio::test]
    async fn waiting_ends_when_ready() {
        let readiness = Readiness::new();
        let guard = readiness.task("sync");
        let waiting = readiness.ready();
        tokio::pin!(waiting);
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(guard);
        waiting.await;
    }

    #[tokio::test]
    async fn draining_is_never_ready_again() {
        let readiness = Readiness::new();
        let guard = readiness.task("sync");
        readiness.drain();
        drop(guard);
        assert_eq!(readiness.status(), Status::Draining);
        assert!(!readiness.is_ready());
        assert_eq!(readiness.ready().now_or_never(), None);
    }
}
