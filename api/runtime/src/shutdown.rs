//! Why the process stops: a signal, a request of its own or a failure. The first reason counts.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;

use futures::Stream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Lets any part of the process ask for its end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    reason: Arc<watch::Sender<Option<StopReason>>>,
}

/// What ended the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The operating system or a user asked for it.
    Signal(StopSignal),
    /// A part of the process has done its work and asked for the end.
    Requested(String),
    /// A part that the process cannot live without ended or failed.
    Failed(String),
}

/// A signal that ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// `SIGINT`, Ctrl-C.
    Interrupt,
    /// `SIGTERM`.
    Terminate,
}

// === impl Shutdown ===

impl Shutdown {
    /// Asks for a graceful end with exit code 0.
    pub fn request(&self, reason: impl Into<String>) {
        self.stop(StopReason::Requested(reason.into()));
    }

    /// Asks for a graceful end with exit code 1.
    pub fn fail(&self, reason: impl Into<String>) {
        self.stop(StopReason::Failed(reason.into()));
    }

    /// Whether somebody has asked for the end, or it has begun.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.reason.borrow().is_some()
    }

    /// Waits for the first reason.
    pub async fn requested(&self) -> StopReason {
        let mut receiver = self.reason.subscribe();
        // The sender lives in `self`, so the channel cannot close while waiting.
        match receiver.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(reason)) => reason.clone(),
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    pub(crate) fn stop(&self, reason: StopReason) {
        self.reason.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(reason);
            }
            first
        });
    }
}

// === impl StopReason ===

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "received {signal}"),
            Self::Requested(reason) | Self::Failed(reason) => f.write_str(reason),
        }
    }
}

// === impl StopSignal ===

impl StopSignal {
    /// The number that a shell adds to 128 for a process that was ended by the signal.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Interrupt => 2,
            Self::Terminate => 15,
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// The stream of `SIGINT` and `SIGTERM` of this process; from now on they no longer end it.
pub(crate) fn signals() -> std::io::Result<impl Stream<Item = StopSignal> + Unpin> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(futures::stream::poll_fn(move |cx| {
        if terminate.poll_recv(cx).is_ready() {
            return Poll::Ready(Some(StopSignal::Terminate));
        }
        interrupt.poll_recv(cx).map(|_| Some(StopSignal::Interrupt))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_counts() {
        let shutdown = Shutdown::default();
        assert!(!shutdown.is_requested());
        shutdown.fail("task \"a\" ended");
        shutdown.request("done");
        assert_eq!(
            shutdown.requested().await,
            StopReason::Failed("task \"a\" ended".to_owned())
        );
    }
}
