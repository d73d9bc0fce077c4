//! A bounded queue between the calls of a handler, which must not wait, and the task that sends.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// The end that calls put things into.
#[derive(Debug)]
pub(crate) struct Outbox<T>(mpsc::Sender<T>);

/// The end that the task takes things from.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    waiting: mpsc::Receiver<T>,
    closing: oneshot::Receiver<()>,
    closed: bool,
    /// Dropped with the task.
    _ended: oneshot::Sender<()>,
}

/// Ends the task once everything that waits was taken.
#[derive(Debug)]
pub(crate) struct Closer {
    closing: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

/// A queue in which so many things may wait.
pub(crate) fn outbox<T>(capacity: usize) -> (Outbox<T>, Inbox<T>, Closer) {
    let (sender, waiting) = mpsc::channel(capacity.clamp(1, tokio::sync::Semaphore::MAX_PERMITS));
    let (closing, closed) = oneshot::channel();
    let (on_end, ended) = oneshot::channel();
    let inbox = Inbox {
        waiting,
        closing: closed,
        closed: false,
        _ended: on_end,
    };
    (Outbox(sender), inbox, Closer { closing, ended })
}

// === impl Outbox ===

impl<T> Outbox<T> {
    /// Leaves something for the task; `false` where there is no room, or no task any more.
    pub(crate) fn put(&self, thing: T) -> bool {
        self.0.try_send(thing).is_ok()
    }
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

// === impl Inbox ===

impl<T> Inbox<T> {
    /// How many things wait.
    #[cfg(any(feature = "fluentd", feature = "zipkin"))]
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the next thing if there is one already.
    #[cfg(feature = "stdio")]
    pub(crate) fn next_now(&mut self) -> Option<T> {
        self.waiting.try_recv().ok()
    }

    /// Takes the next thing; `None` when nothing will come any more. Loses nothing when dropped while waiting.
    pub(crate) async fn next(&mut self) -> Option<T> {
        if !self.closed {
            tokio::select! {
                biased;
                thing = self.waiting.recv() => return thing,
                _ = &mut self.closing => {
                    self.closed = true;
                    self.waiting.close();
                }
            }
        }
        self.waiting.recv().await
    }
}

// === impl Closer ===

impl Closer {
    /// Waits until everything was taken and the task has ended, but not longer than `limit`.
    pub(crate) async fn close(self, limit: Duration) {
        let Self { closing, ended } = self;
        // Fails where the task has ended.
        let _ = closing.send(());
        // So does this, which is what is waited for.
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::warn!(?limit, "not everything was sent when the handler was closed");
        }
    }
}
