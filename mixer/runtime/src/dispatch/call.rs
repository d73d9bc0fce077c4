//! One call of a handler: contained, bounded in time, measured (`spec 02` §9.6.6).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use mixer_adapter::{Answer, HandlerError};
use tokio::time::Instant;

use crate::routing::Destination;

/// Until when a call has to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest time that any call may take.
    pub call_limit: Duration,
    /// When whoever asks does not wait any more.
    pub deadline: Option<Instant>,
}

/// A call did not give a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{handler}: {reason}")]
pub(super) struct CallError {
    /// Full name of the handler.
    handler: String,
    reason: String,
}

/// A call of a handler.
pub(super) struct Call<'t, T> {
    pub(super) destination: &'t Destination,
    started: Instant,
    state: State<T>,
}

enum State<T> {
    Done(Result<T, CallError>),
    Waiting(BoxFuture<'static, Result<T, HandlerError>>),
}

// === impl Patience ===

impl Patience {
    /// When a call that begins now has to be answered.
    pub(super) fn ends_by(self) -> Instant {
        self.until(Instant::now())
    }

    fn until(self, started: Instant) -> Instant {
        let limit = started + self.call_limit;
        self.deadline.map_or(limit, |deadline| deadline.min(limit))
    }
}

// === impl CallError ===

impl CallError {
    fn new(destination: &Destination, reason: impl Into<String>) -> Self {
        Self {
            handler: destination.handler.name().to_string(),
            reason: reason.into(),
        }
    }
}

// === impl Call ===

impl<'t, T> Call<'t, T> {
    /// Calls a handler. What it does at once is done when this returns.
    pub(super) fn start(destination: &'t Destination, call: impl FnOnce() -> Answer<T>) -> Self {
        let started = Instant::now();
        let state = match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Answer::Now(result)) => State::Done(destination.finished(started, result)),
            Ok(Answer::Later(future)) => State::Waiting(future),
            Err(_) => {
                let panicked = Err(HandlerError::new("panicked"));
                State::Done(destination.finished(started, panicked))
            }
        };
        Self {
            destination,
            started,
            state,
        }
    }

    /// Waits for the answer, if it is not there yet.
    async fn finish(self, patience: Patience) -> Result<T, CallError> {
        match self.state {
            State::Done(result) => result,
            State::Waiting(future) => {
                let until = patience.until(self.started);
                let answer = AssertUnwindSafe(future).catch_unwind();
                let result = match tokio::time::timeout_at(until, answer).await {
                    Ok(Ok(result)) => result,
                    Ok(Err(_)) => Err(HandlerError::new("panicked")),
                    Err(_) => Err(HandlerError::new(format!(
                        "no answer within {:?}",
                        self.started.elapsed()
                    ))),
                };
                self.destination.finished(self.started, result)
            }
        }
    }

    /// Waits for the answers of all calls, in their order.
    pub(super) async fn finish_all(
        calls: Vec<Self>,
        patience: Patience,
    ) -> Vec<(&'t Destination, Result<T, CallError>)> {
        let waiting = calls.iter().any(|call| matches!(call.state, State::Waiting(_)));
        if !waiting {
            return calls
                .into_iter()
                .filter_map(|call| match call.state {
                    State::Done(result) => Some((call.destination, result)),
                    State::Waiting(_) => None,
                })
                .collect();
        }
        join_all(calls.into_iter().map(|call| async move {
            let destination = call.destination;
            (destination, call.finish(patience).await)
        }))
        .await
    }
}

// === impl Destination ===

impl Destination {
    fn finished<T>(&self, started: Instant, result: Result<T, HandlerError>) -> Result<T, CallError> {
        self.metrics.observe(result.is_ok(), started.elapsed());
        result.map_err(|error| CallError::new(self, error.to_string()))
    }
}
