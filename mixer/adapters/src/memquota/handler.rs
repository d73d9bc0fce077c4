//! Counts for one Mixer.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use mixer_adapter::text::{stringify, write};
use mixer_adapter::{Answer, HandleQuota, QuotaArgs, QuotaResult};
use mixer_template::Quota;

use super::config::Settings;
use super::counters::{Counters, Limit};
use crate::quota::Quotas;

#[derive(Debug)]
pub(super) struct Memory {
    quotas: Quotas<Limit>,
    counters: Mutex<Counters>,
    start: Instant,
}

// === impl Memory ===

impl Memory {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            quotas: settings.quotas,
            counters: Mutex::new(Counters::new(settings.min_deduplication)),
            start: Instant::now(),
        }
    }
}

impl HandleQuota for Memory {
    fn handle_quota(&self, instance: &Quota<'_>, args: &QuotaArgs) -> Answer<QuotaResult> {
        let Some(found) = self.quotas.find(instance) else {
            return Answer::failed(format!("there is no quota for {}", instance.name));
        };
        let key = key(instance);
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that time does not run backwards for the counters.
        let grant = counters.count(self.start.elapsed(), &key, *found.limit, args);
        Answer::Now(Ok(QuotaResult {
            valid_duration: grant.valid_duration,
            amount: grant.amount,
            ..QuotaResult::default()
        }))
    }
}

/// The instance with all its dimensions. Lengths keep dimensions apart whose values hold the separators.
fn key(instance: &Quota<'_>) -> String {
    let mut dimensions: Vec<_> = instance.dimensions.iter().collect();
    dimensions.sort_by_key(|(name, _)| *name);
    let mut key = instance.name.to_owned();
    for (name, value) in dimensions {
        let text = stringify(Some(value));
        // Writing to a string does not fail.
        let _ = std::fmt::Write::write_fmt(&mut key, format_args!(";{name}={}:", text.len()));
        let _ = write(&mut key, value);
    }
    key
}
