//! Sending what calls leave behind in batches, and trying again while the back end is away.
//!
//! What waits is bounded: the things of the queue, and one batch. Order is kept. Whatever is given up is counted as the
//! fault `dropped` of the handler, every attempt that fails as `send`.

use std::time::Duration;

use mesh_runtime::Backoff;
use mixer_adapter::Env;
use tokio::time::{Instant, sleep_until};

use crate::outbox::Inbox;

/// Pause after the first attempt that failed; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Encoded things that are sent together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    things: usize,
}

/// When a batch is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most bytes.
    pub(crate) bytes: usize,
    /// Most things.
    pub(crate) things: usize,
    /// How long a thing may wait for others.
    pub(crate) interval: Duration,
    /// What is between two things.
    pub(crate) separator: &'static [u8],
}

/// A batch was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The back end does not take it now.
    Away(String),
    /// The back end will never take it.
    Refused(String),
}

/// Where batches go.
pub(crate) trait BackEnd: Send + 'static {
    /// Sends a batch. Must come to an end by itself.
    fn send(&mut self, batch: &[u8]) -> impl Future<Output = Result<(), SendError>> + Send;
}

/// Takes things from a queue and sends them, until the queue is closed and everything was sent.
pub(crate) struct Sender<B> {
    inbox: Inbox<Vec<u8>>,
    batch: Batch,
    /// Did not fit into the batch.
    next: Option<Vec<u8>>,
    limits: Limits,
    back_end: B,
    env: Env,
}

// === impl Batch ===

impl Batch {
    fn add(&mut self, thing: &[u8], separator: &[u8]) {
        if self.things > 0 {
            self.bytes.extend_from_slice(separator);
        }
        self.bytes.extend_from_slice(thing);
        self.things += 1;
    }

    fn has_room(&self, thing: &[u8], limits: &Limits) -> bool {
        self.things == 0
            || (self.things < limits.things
                && self.bytes.len() + limits.separator.len() + thing.len() <= limits.bytes)
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.things = 0;
    }
}

// === impl Sender ===

impl<B: BackEnd> Sender<B> {
    pub(crate) fn new(inbox: Inbox<Vec<u8>>, limits: Limits, back_end: B, env: Env) -> Self {
        Self {
            inbox,
            batch: Batch::default(),
            next: None,
            limits,
            back_end,
            env,
        }
    }

    pub(crate) async fn run(mut self) {
        while self.fill().await {
            self.deliver().await;
        }
    }

    /// Collects a batch; `false` when nothing will come any more.
    async fn fill(&mut self) -> bool {
        let first = match self.next.take() {
            Some(thing) => thing,
            None => match self.inbox.next().await {
                Some(thing) => thing,
                None => return false,
            },
        };
        self.batch.add(&first, self.limits.separator);
        let due = Instant::now() + self.limits.interval;
        while self.batch.things < self.limits.things {
            tokio::select! {
                thing = self.inbox.next() => match thing {
                    Some(thing) if self.batch.has_room(&thing, &self.limits) => {
                        self.batch.add(&thing, self.limits.separator);
                    }
                    Some(thing) => {
                        self.next = Some(thing);
                        break;
                    }
                    None => break,
                },
                () = sleep_until(due) => break,
            }
        }
        true
    }

    /// Sends the batch, however often it must be tried. Meanwhile things wait in the queue, as many as it holds.
    async fn deliver(&mut self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut failing = false;
        loop {
            match self.back_end.send(&self.batch.bytes).await {
                Ok(()) => {
                    if failing {
                        tracing::info!(
                            handler = self.env.handler(),
                            "the back end takes what is sent again"
                        );
                    }
                    break;
                }
                Err(SendError::Refused(reason)) => {
                    let (handler, dropped) = (self.env.handler(), self.batch.things);
                    tracing::warn!(handler, reason, dropped, "the back end refuses what is sent");
                    self.fault("send", 1);
                    self.fault("dropped", dropped);
                    break;
                }
                Err(SendError::Away(reason)) => {
                    if !std::mem::replace(&mut failing, true) {
                        let handler = self.env.handler();
                        tracing::warn!(handler, reason, "the back end takes nothing, trying again");
                    }
                    self.fault("send", 1);
                    backoff.wait().await;
                }
            }
        }
        self.batch.clear();
    }
}

impl<B> Sender<B> {
    fn fault(&self, kind: &'static str, count: usize) {
        self.env.fault(kind, u64::try_from(count).unwrap_or(u64::MAX));
    }
}

impl<B> Drop for Sender<B> {
    /// What is left when the handler was closed and could not wait any longer.
    fn drop(&mut self) {
        let left = self.batch.things + usize::from(self.next.is_some()) + self.inbox.len();
        if left > 0 {
            tracing::warn!(
                handler = self.env.handler(),
                dropped = left,
                "not everything was sent"
            );
            self.fault("dropped", left);
        }
    }
}
