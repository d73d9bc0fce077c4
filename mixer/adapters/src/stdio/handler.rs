//! A handler: makes lines, and a task that writes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use mixer_adapter::{Answer, HandleLogEntry, HandleMetric};
use mixer_attribute::Value;
use mixer_template::{Fields, LogEntry, Metric};
use prost_types::Timestamp;

use super::config::{Config, Level};
use super::line::{self, Head};
use super::writer::Writer;
use crate::outbox::{Inbox, Outbox};

/// Most bytes of lines that wait to be written.
const WAITING: usize = 16 * 1024 * 1024;

/// Makes lines.
pub(super) struct StdioHandler {
    config: Config,
    lines: Outbox<String>,
    waiting: Arc<AtomicUsize>,
}

/// Writes lines until the handler is closed.
pub(super) async fn run(mut lines: Inbox<String>, mut writer: Writer, waiting: Arc<AtomicUsize>) {
    let mut failing = false;
    while let Some(text) = lines.next().await {
        match writer.write(&text).await {
            Ok(()) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot write, lines are lost");
                }
            }
        }
        waiting.fetch_sub(text.len(), Ordering::Relaxed);
    }
}

// === impl StdioHandler ===

impl StdioHandler {
    pub(super) fn new(config: Config, lines: Outbox<String>, waiting: Arc<AtomicUsize>) -> Self {
        Self {
            config,
            lines,
            waiting,
        }
    }

    fn add(&self, out: &mut String, head: Head<'_>, value: Option<&Value<'_>>, fields: &Fields<'_>) {
        if head.level < self.config.lowest {
            return;
        }
        // A string takes whatever is written.
        let _ = if self.config.json {
            line::json(out, head, value, fields)
        } else {
            line::console(out, head, value, fields)
        };
    }

    fn send(&self, lines: String, instances: usize) -> Answer<()> {
        let length = lines.len();
        if length == 0 {
            return Answer::done();
        }
        let waiting = self.waiting.fetch_add(length, Ordering::Relaxed);
        if waiting + length <= WAITING && self.lines.put(lines) {
            return Answer::done();
        }
        self.waiting.fetch_sub(length, Ordering::Relaxed);
        Answer::failed(format!(
            "the output is slower than what comes, lines of {instances} instances are dropped"
        ))
    }
}

impl HandleLogEntry for StdioHandler {
    fn handle_log_entry(&self, instances: &[LogEntry<'_>]) -> Answer<()> {
        let mut lines = String::new();
        for entry in instances {
            let level = self.config.severities.get(&*entry.severity);
            let head = Head {
                level: level.copied().unwrap_or(Level::Info),
                time: entry
                    .timestamp
                    .as_ref()
                    .unwrap_or(&Timestamp { seconds: 0, nanos: 0 }),
                instance: entry.name,
            };
            self.add(&mut lines, head, None, &entry.variables);
        }
        self.send(lines, instances.len())
    }
}

impl HandleMetric for StdioHandler {
    fn handle_metric(&self, instances: &[Metric<'_>]) -> Answer<()> {
        let mut lines = String::new();
        let now = Timestamp::from(SystemTime::now());
        for metric in instances {
            let head = Head {
                level: self.config.metrics,
                time: &now,
                instance: metric.name,
            };
            self.add(&mut lines, head, metric.value.as_ref(), &metric.dimensions);
        }
        self.send(lines, instances.len())
    }
}
