//! A handler: encodes entries and leaves them for the task that sends.

use mixer_adapter::{Answer, Env, HandleLogEntry};
use mixer_template::LogEntry;

use super::config::Config;
use super::entry;
use crate::outbox::Outbox;

/// Encodes entries.
pub(super) struct FluentdHandler {
    integer_duration: bool,
    largest: usize,
    entries: Outbox<Vec<u8>>,
    env: Env,
}

// === impl FluentdHandler ===

impl FluentdHandler {
    pub(super) fn new(config: &Config, entries: Outbox<Vec<u8>>, env: Env) -> Self {
        Self {
            integer_duration: config.integer_duration,
            largest: config.batch,
            entries,
            env,
        }
    }
}

impl HandleLogEntry for FluentdHandler {
    fn handle_log_entry(&self, instances: &[LogEntry<'_>]) -> Answer<()> {
        let (mut too_large, mut too_many) = (0_u64, 0_u64);
        for instance in instances {
            let encoded = entry::encode(instance, self.integer_duration);
            if encoded.len() > self.largest {
                too_large += 1;
            } else if !self.entries.put(encoded) {
                too_many += 1;
            }
        }
        if too_large + too_many == 0 {
            return Answer::done();
        }
        self.env.fault("dropped", too_large + too_many);
        let reasons = [
            (too_many, "Fluentd takes them slower than they come"),
            (too_large, "they are larger than a batch may be"),
        ];
        let reasons: Vec<String> = reasons
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, reason)| format!("{count} entries are dropped: {reason}"))
            .collect();
        Answer::failed(reasons.join("; "))
    }
}
