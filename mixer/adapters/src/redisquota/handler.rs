//! Asks the Redis.

use std::collections::BTreeMap;
use std::sync::Arc;

use mixer_adapter::{Answer, Code, HandleQuota, QuotaArgs, QuotaResult, status};
use mixer_template::Quota;
use redis::RedisError;
use tracing::warn;

use super::config::Limit;
use super::connections::Connections;
use super::script::{Call, Counted, Scripts};
use crate::quota::Quotas;
use crate::tell::OnceASecond;

/// What is said when there is nothing left.
const EXHAUSTED: &str = "redisquota: Resource exhausted";

#[derive(Debug)]
pub(super) struct Shared {
    quotas: Quotas<Limit>,
    backend: Arc<Backend>,
}

#[derive(Debug)]
struct Backend {
    connections: Connections,
    scripts: Scripts,
    handler: String,
    failures: OnceASecond,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(
        quotas: Quotas<Limit>,
        connections: Connections,
        scripts: Scripts,
        handler: &str,
    ) -> Self {
        Self {
            quotas,
            backend: Arc::new(Backend {
                connections,
                scripts,
                handler: handler.to_owned(),
                failures: OnceASecond::new(),
            }),
        }
    }
}

impl HandleQuota for Shared {
    fn handle_quota(&self, instance: &Quota<'_>, args: &QuotaArgs) -> Answer<QuotaResult> {
        let Some(found) = self.quotas.find(instance) else {
            return Answer::failed(format!("there is no quota for {}", instance.name));
        };
        if args.amount == 0 {
            return Answer::done();
        }
        let call = Call {
            key: key(found.quota, found.dimensions),
            algorithm: found.limit.algorithm,
            max_amount: found.limit.max_amount,
            valid_duration: found.limit.valid_duration,
            amount: args.amount,
            best_effort: args.best_effort,
            deduplication_id: args.deduplication_id.clone(),
            now: None,
        };
        let backend = Arc::clone(&self.backend);
        Answer::Later(Box::pin(async move { Ok(backend.count(&call).await) }))
    }
}

// === impl Backend ===

impl Backend {
    /// Without Redis nothing is granted, and the status says that this is not because of the limit.
    async fn count(&self, call: &Call) -> QuotaResult {
        match self.try_count(call).await {
            Ok(counted) if counted.amount > 0 => QuotaResult {
                valid_duration: counted.valid_duration,
                amount: counted.amount,
                ..QuotaResult::default()
            },
            // There was nothing to give back.
            Ok(_) if call.amount < 0 => QuotaResult::default(),
            Ok(_) => QuotaResult {
                status: status(Code::ResourceExhausted, EXHAUSTED),
                ..QuotaResult::default()
            },
            Err(reason) => {
                if self.failures.is_due() {
                    warn!(handler = %self.handler, %reason, "quota is not counted, nothing is granted");
                }
                QuotaResult {
                    status: status(Code::Unavailable, format!("redisquota: {reason}")),
                    ..QuotaResult::default()
                }
            }
        }
    }

    async fn try_count(&self, call: &Call) -> Result<Counted, String> {
        let mut borrowed = self.connections.borrow_one().ok_or("Redis cannot be reached")?;
        let counted = self.scripts.count(&mut borrowed.connection, call).await;
        match &counted {
            Err(error) if error.is_io_error() || error.is_unrecoverable_error() => borrowed.give_up(),
            Ok(_) | Err(_) => borrowed.answered(),
        }
        counted.map_err(|error: RedisError| error.to_string())
    }
}

/// The name of a counter: that of the quota, and for an override a number of its dimensions.
fn key(quota: &str, dimensions: Option<&BTreeMap<String, String>>) -> String {
    let Some(dimensions) = dimensions else {
        return quota.to_owned();
    };
    // FNV-1a of 32 bits.
    let mut hash: u32 = 0x811c_9dc5;
    for (name, value) in dimensions {
        for byte in format!("{name}\t{value}\n").bytes() {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
    format!("{quota}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// §7.9: a counter for the quota, and one for each override.
    #[test]
    fn overrides_have_counters_of_their_own() {
        assert_eq!(key("q", None), "q");
        let dimensions = |entries: &[(&str, &str)]| {
            entries
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        // FNV-1a of nothing is its offset basis.
        assert_eq!(key("q", Some(&dimensions(&[]))), "q-2166136261");
        let one = key("q", Some(&dimensions(&[("a", "1"), ("b", "2")])));
        assert_eq!(one, key("q", Some(&dimensions(&[("b", "2"), ("a", "1")]))));
        assert_ne!(one, key("q", Some(&dimensions(&[("a", "1")]))));
    }
}
