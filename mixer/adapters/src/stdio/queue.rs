//! The lines that wait to be written, and the task that writes them.
//!
//! Access logs are to be complete, so that an output that is slow slows the calls that write to it: a call whose lines
//! find no room waits for some, one after another. An output that takes nothing at all must not hold all calls for
//! ever: once a call has waited in vain, further ones fail at once until something is written again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mixer_adapter::{Answer, Env, HandlerError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::writer::Writer;
use crate::outbox::{Closer, Inbox, Outbox, outbox};

/// So many bytes are written at once if they are there already.
const AT_ONCE: usize = 256 * 1024;

/// How much waits, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of lines that may wait to be written.
    pub(super) bytes: u32,
    /// The lines of a call count as so many bytes at least, which bounds the number of calls.
    pub(super) least: u32,
    /// How long a call waits for room. Less than the time that a call may take, so that the reason is told.
    pub(super) patience: Duration,
}

/// Takes lines from calls.
pub(super) struct Queue {
    limits: Limits,
    lines: Outbox<Lines>,
    output: Arc<Output>,
}

/// What calls know of the output.
struct Output {
    /// Bytes for which there is room.
    room: Arc<Semaphore>,
    /// A call has waited in vain, and nothing was written since.
    stuck: AtomicBool,
}

/// Lines of one call.
struct Lines {
    text: String,
    /// Their room, which is given back when they are written.
    room: OwnedSemaphorePermit,
}

/// Writes lines.
pub(super) struct Printer {
    lines: Inbox<Lines>,
    output: Arc<Output>,
    writer: Writer,
    env: Env,
}

/// Why lines are lost.
const SLOW: &str = "the output is slower than what comes";

/// A queue, what writes its lines, and what ends that when all of them are written.
pub(super) fn queue(limits: Limits, writer: Writer, env: Env) -> (Queue, Printer, Closer) {
    let calls = limits.bytes.checked_div(limits.least).unwrap_or(limits.bytes);
    let (outbox, inbox, closer) = outbox(usize::try_from(calls).unwrap_or(usize::MAX));
    let output = Arc::new(Output {
        room: Arc::new(Semaphore::new(
            usize::try_from(limits.bytes).unwrap_or(usize::MAX),
        )),
        stuck: AtomicBool::new(false),
    });
    let printer = Printer {
        lines: inbox,
        output: Arc::clone(&output),
        writer,
        env,
    };
    let queue = Queue {
        limits,
        lines: outbox,
        output,
    };
    (queue, printer, closer)
}

impl Limits {
    /// 16 MB, which are about 15,000 lines of an access log.
    pub(super) const USUAL: Self = Self {
        bytes: 16 << 20,
        least: 4 << 10,
        patience: Duration::from_secs(2),
    };
}

// === impl Queue ===

impl Queue {
    /// Leaves the lines of so many instances to the task that writes them, as soon as there is room.
    pub(super) fn put(&self, text: String, instances: usize) -> Answer<()> {
        if text.is_empty() {
            return Answer::done();
        }
        let Limits {
            bytes,
            least,
            patience,
        } = self.limits;
        // Lines that are larger than all the room need all of it.
        let size = u32::try_from(text.len()).unwrap_or(bytes).clamp(least, bytes);
        let lost = move |reason: &str| {
            HandlerError::new(format!("{reason}, lines of {instances} instances are dropped"))
        };
        if let Ok(room) = Arc::clone(&self.output.room).try_acquire_many_owned(size) {
            return Answer::Now(put(&self.lines, Lines { text, room }, lost));
        }
        if self.output.stuck.load(Ordering::Relaxed) {
            return Answer::Now(Err(lost(SLOW)));
        }
        let (lines, output) = (self.lines.clone(), Arc::clone(&self.output));
        Answer::Later(Box::pin(async move {
            match timeout(patience, Arc::clone(&output.room).acquire_many_owned(size)).await {
                Ok(Ok(room)) => put(&lines, Lines { text, room }, lost),
                _ => {
                    output.stuck.store(true, Ordering::Relaxed);
                    Err(lost(SLOW))
                }
            }
        }))
    }
}

/// Lines that have room find a place unless the handler is closed.
fn put(
    queue: &Outbox<Lines>,
    lines: Lines,
    lost: impl FnOnce(&str) -> HandlerError,
) -> Result<(), HandlerError> {
    if queue.put(lines) {
        Ok(())
    } else {
        Err(lost("the handler is closed"))
    }
}

// === impl Printer ===

impl Printer {
    /// Writes lines until the handler is closed.
    pub(super) async fn run(mut self) {
        let mut failing = false;
        while let Some(Lines { mut text, mut room }) = self.lines.next().await {
            // What came meanwhile goes along: each write is a task of the system.
            while text.len() < AT_ONCE
                && let Some(more) = self.lines.next_now()
            {
                text.push_str(&more.text);
                room.merge(more.room);
            }
            match self.writer.write(text).await {
                Ok(()) => failing = false,
                Err(error) => {
                    self.env.fault("write", 1);
                    if !std::mem::replace(&mut failing, true) {
                        let handler = self.env.handler();
                        tracing::warn!(handler, %error, "cannot write, lines are lost");
                    }
                }
            }
            self.output.stuck.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mesh_runtime::Spawner;

    use super::super::config::Target;
    use super::*;

    const SMALL: Limits = Limits {
        bytes: 10,
        least: 1,
        patience: Duration::from_secs(2),
    };

    /// A queue whose lines nobody writes until the printer runs.
    async fn small(path: &Path) -> (Queue, Printer, Closer) {
        let writer = Writer::open(&Target::File(path.to_owned(), None)).await.unwrap();
        queue(SMALL, writer, Env::new("handler.test", Spawner::default()))
    }

    /// `spec 02` §7.4: a slow output slows calls, and loses nothing.
    #[tokio::test]
    async fn calls_wait_for_a_slow_output() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (queue, printer, closer) = small(&path).await;
        let mut waiting = Vec::new();
        for (line, at_once) in [
            ("one\n", true),
            ("two\n", true),
            ("three\n", false),
            ("four\n", false),
        ] {
            match queue.put(line.to_owned(), 1) {
                Answer::Now(result) if at_once => result.unwrap(),
                Answer::Later(later) if !at_once => waiting.push(later),
                other => panic!("{line}: {other:?}"),
            }
        }
        // More than there ever is room for is written as well.
        waiting.push(match queue.put("a line that is too long\n".to_owned(), 1) {
            Answer::Later(later) => later,
            other => panic!("{other:?}"),
        });
        let answered = async {
            for answer in waiting {
                answer.await.unwrap();
            }
            closer.close(Duration::from_secs(10)).await;
        };
        tokio::join!(printer.run(), answered);
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "one\ntwo\nthree\nfour\na line that is too long\n");
    }

    #[tokio::test(start_paused = true)]
    async fn an_output_that_takes_nothing_holds_no_calls() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (queue, printer, closer) = small(&path).await;
        queue.put("12345678\n".to_owned(), 1).wait().await.unwrap();
        let slow = "the output is slower than what comes, lines of 3 instances are dropped";
        let begin = tokio::time::Instant::now();
        let error = queue.put("lost\n".to_owned(), 3).wait().await.unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), begin.elapsed()),
            (slow, SMALL.patience)
        );
        match queue.put("lost\n".to_owned(), 3) {
            Answer::Now(Err(error)) => assert_eq!(error.to_string(), slow),
            other => panic!("{other:?}"),
        }
        // Once it takes something, so do calls.
        let goes_on = async {
            while queue.output.stuck.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
            queue.put("more\n".to_owned(), 1).wait().await.unwrap();
            closer.close(Duration::from_secs(10)).await;
        };
        tokio::join!(printer.run(), goes_on);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "12345678\nmore\n");
        let error = queue.put("late\n".to_owned(), 1).wait().await.unwrap_err();
        assert!(error.to_string().starts_with("the handler is closed"), "{error}");
    }
}
