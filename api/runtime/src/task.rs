//! Tasks with names: the one place where futures are handed to tokio.
//!
//! A panic is caught and logged with the name of its task; a vital task that ends brings the process
//! down with a reason instead of leaving it half alive.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::task::{AbortHandle, JoinHandle};
use tracing::{debug, error, warn};

use crate::error_chain;
use crate::shutdown::Shutdown;

/// Starts tasks. Cheap to clone, so that libraries can take it by value.
#[derive(Clone, Debug, Default)]
pub struct Spawner {
    shutdown: Shutdown,
}

/// A started task. Dropping the handle leaves the task running.
#[derive(Debug)]
pub struct TaskHandle {
    name: Cow<'static, str>,
    join: JoinHandle<Ended>,
}

/// Ends its task when dropped.
#[derive(Debug)]
pub struct AbortOnDrop(AbortHandle);

/// How a task ended when it did not return normally.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TaskError {
    /// The future returned an error.
    #[error("task {name:?} failed: {reason}")]
    Failed {
        /// Name of the task.
        name: String,
        /// The error with its sources.
        reason: String,
    },
    /// The future panicked.
    #[error("task {name:?} panicked: {message}")]
    Panicked {
        /// Name of the task.
        name: String,
        /// What the panic said.
        message: String,
    },
    /// The task was aborted.
    #[error("task {name:?} was aborted")]
    Aborted {
        /// Name of the task.
        name: String,
    },
}

/// What a task may return: nothing, or a result whose error is logged with the name of the task.
pub trait TaskOutput: Send + 'static {
    /// The error text, if the task failed.
    fn into_failure(self) -> Option<String>;
}

/// The type of an endless loop, which stable Rust cannot name directly.
type Never = <fn() -> ! as Returns>::Output;

/// Gives the type that a function pointer returns a name.
#[doc(hidden)]
pub trait Returns {
    /// The returned type.
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

/// What is known about a task when its future is gone.
type Ended = Result<(), TaskError>;

// === impl TaskOutput ===

impl TaskOutput for () {
    fn into_failure(self) -> Option<String> {
        None
    }
}

impl TaskOutput for Never {
    fn into_failure(self) -> Option<String> {
        self
    }
}

impl<E> TaskOutput for Result<(), E>
where
    E: Into<Box<dyn StdError + Send + Sync>> + Send + 'static,
{
    fn into_failure(self) -> Option<String> {
        self.err().map(|error| error_chain(&*error.into()))
    }
}

// === impl Spawner ===

impl Spawner {
    /// A spawner whose vital tasks bring down whoever watches `shutdown`.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown }
    }

    /// Starts a task. An error or a panic is logged with `name`, and nothing else happens.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> TaskHandle
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        let name = name.into();
        let watched = {
            let name = name.clone();
            async move { watch(&name, future).await.inspect_err(log_failure) }
        };
        TaskHandle {
            name,
            join: start(watched),
        }
    }

    /// Starts a task without which the process cannot live: if it ends, fails or panics before the
    /// process leaves, the process stops with that reason and exit code 1.
    pub fn spawn_vital<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> TaskHandle
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        let name = name.into();
        let shutdown = self.shutdown.clone();
        let watched = {
            let name = name.clone();
            async move {
                let ended = watch(&name, future).await;
                // Once the process leaves, vital tasks are expected to end.
                match &ended {
                    _ if shutdown.is_requested() => debug!(task = %name, ?ended, "vital task ended"),
                    Ok(()) => shutdown.fail(format!("vital task {name:?} ended")),
                    Err(error) => {
                        log_failure(error);
                        shutdown.fail(format!("vital {error}"));
                    }
                }
                ended
            }
        };
        TaskHandle {
            name,
            join: start(watched),
        }
    }

    /// The handle with which any part of the process asks for its end.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }
}

/// Hyper runs every HTTP/2 request as a task of its own.
impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.spawn("http/2 request", future));
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where tasks are started")]
fn start(future: impl Future<Output = Ended> + Send + 'static) -> JoinHandle<Ended> {
    tokio::spawn(future)
}

async fn watch<F: Future<Output: TaskOutput>>(name: &str, future: F) -> Ended {
    // The future is gone after a panic and nothing else sees its state, so it is unwind safe.
    match AssertUnwindSafe(future)
        .catch_unwind()
        .await
        .map(TaskOutput::into_failure)
    {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(TaskError::Failed {
            name: name.to_owned(),
            reason,
        }),
        Err(payload) => Err(TaskError::Panicked {
            name: name.to_owned(),
            message: panic_message(&*payload).to_owned(),
        }),
    }
}

fn log_failure(error: &TaskError) {
    match error {
        TaskError::Failed { name, reason } => warn!(task = name, error = reason, "task failed"),
        TaskError::Panicked { name, message } => error!(task = name, panic = message, "task panicked"),
        TaskError::Aborted { .. } => {}
    }
}

/// The text of a panic, which is a string unless somebody used `panic_any`.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown panic")
}

// === impl TaskHandle ===

impl TaskHandle {
    /// Waits for the end of the task.
    ///
    /// # Errors
    /// When the task failed, panicked or was aborted. The first two have been logged already.
    pub async fn join(self) -> Result<(), TaskError> {
        let name = self.name;
        match self.join.await {
            Ok(ended) => ended,
            // Panics are caught inside, so this is an abort or the end of the tokio runtime.
            Err(_) => Err(TaskError::Aborted {
                name: name.into_owned(),
            }),
        }
    }

    /// Ends the task at its next suspension point.
    pub fn abort(&self) {
        self.join.abort();
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }

    /// Ties the task to a guard.
    #[must_use = "dropping the guard aborts the task"]
    pub fn abort_on_drop(self) -> AbortOnDrop {
        AbortOnDrop(self.join.abort_handle())
    }
}

// === impl AbortOnDrop ===

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::shutdown::StopReason;

    #[tokio::test]
    async fn a_panic_carries_the_name_and_the_message() {
        let number = 7;
        let task = Spawner::default().spawn("cache refresh", async move { panic!("bad number {number}") });
        let error = task.join().await.unwrap_err();
        assert_eq!(error.to_string(), "task \"cache refresh\" panicked: bad number 7");
    }

    #[tokio::test]
    async fn an_error_carries_the_name_and_its_sources() {
        let task = Spawner::default().spawn("reader", async { Err(io::Error::other("no such disk")) });
        assert_eq!(
            task.join().await.unwrap_err().to_string(),
            "task \"reader\" failed: no such disk"
        );
    }

    #[tokio::test]
    async fn a_plain_task_that_ends_stops_nothing() {
        let spawner = Spawner::default();
        spawner.spawn("once", async {}).join().await.unwrap();
        assert!(!spawner.shutdown().is_requested());
    }

    #[tokio::test]
    async fn a_vital_task_that_ends_fails_or_panics_stops_the_process() {
        async fn reason_of<F: Future<Output: TaskOutput> + Send + 'static>(future: F) -> StopReason {
            let spawner = Spawner::default();
            drop(spawner.spawn_vital("server", future));
            spawner.shutdown().requested().await
        }
        let failed = |reason: &str| StopReason::Failed(reason.to_owned());
        assert_eq!(reason_of(async {}).await, failed("vital task \"server\" ended"));
        assert_eq!(
            reason_of(async { Err(io::Error::other("no port")) }).await,
            failed("vital task \"server\" failed: no port")
        );
        assert_eq!(
            reason_of(async { panic!("boom") }).await,
            failed("vital task \"server\" panicked: boom")
        );
    }

    #[tokio::test]
    async fn a_vital_task_may_end_once_the_process_leaves() {
        let spawner = Spawner::default();
        spawner.shutdown().request("done");
        spawner.spawn_vital("server", async {}).join().await.unwrap();
        assert_eq!(
            spawner.shutdown().requested().await,
            StopReason::Requested("done".to_owned())
        );
    }

    #[tokio::test]
    async fn a_dropped_guard_aborts_its_task() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let guard = Spawner::default()
            .spawn("waiting", async move {
                std::future::pending::<()>().await;
                drop(sender);
            })
            .abort_on_drop();
        drop(guard);
        assert!(receiver.await.is_err(), "the future and all it owned are gone");
    }
}
