//! A handler: makes lines, and leaves them to the task that writes them.

use std::time::SystemTime;

use mixer_adapter::{Answer, HandleLogEntry, HandleMetric};
use mixer_attribute::Value;
use mixer_template::{Fields, LogEntry, Metric};
use prost_types::Timestamp;

use super::config::{Config, Level};
use super::line::{self, Head};
use super::queue::Queue;

/// Makes lines.
pub(super) struct StdioHandler {
    config: Config,
    queue: Queue,
}

// === impl StdioHandler ===

impl StdioHandler {
    pub(super) fn new(config: Config, queue: Queue) -> Self {
        Self { config, queue }
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
        self.queue.put(lines, instances.len())
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
        self.queue.put(lines, instances.len())
    }
}
