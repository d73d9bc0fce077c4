//! What is told of calls, by template, handler and adapter, for as long as somebody may look at it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec};
use tokio::time::Instant;

use super::CallMetrics;

/// How long numbers are told after the last configuration that needed them: longer than rates look back, so that none sees a
/// number begin anew of a handler that comes back.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// Template, handler, adapter.
type Labels = [String; 3];

/// The numbers of all calls.
#[derive(Debug)]
pub(super) struct Series {
    dispatches: IntCounterVec,
    seconds: HistogramVec,
    known: Mutex<BTreeMap<Labels, Known>>,
}

/// Says that numbers are in use while a clone of it exists.
pub(super) type InUse = Arc<()>;

#[derive(Debug, Default)]
struct Known {
    in_use: InUse,
    /// Since when they are not.
    idle: Option<Instant>,
}

// === impl Series ===

impl Series {
    pub(super) fn new(dispatches: IntCounterVec, seconds: HistogramVec) -> Self {
        Self {
            dispatches,
            seconds,
            known: Mutex::default(),
        }
    }

    /// The numbers of a template, handler and adapter.
    pub(super) fn of(&self, labels: [&str; 3]) -> CallMetrics {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(labels.map(str::to_owned)).or_default();
        known.idle = None;
        let of = |error| {
            let values = with_error(labels, error);
            (
                self.dispatches.with_label_values(&values),
                self.seconds.with_label_values(&values),
            )
        };
        CallMetrics {
            done: of("false"),
            failed: of("true"),
            _in_use: Arc::clone(&known.in_use),
        }
    }

    /// Forgets what nobody has used for long. Only new configurations bring more, so that once for each of them is enough.
    pub(super) fn prune(&self) {
        let now = Instant::now();
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|labels, known| {
            if Arc::strong_count(&known.in_use) > 1 {
                known.idle = None;
                return true;
            }
            if now.duration_since(*known.idle.get_or_insert(now)) < KEPT {
                return true;
            }
            for error in ["false", "true"] {
                let values = with_error(labels.each_ref().map(String::as_str), error);
                let _never_called = self.dispatches.remove_label_values(&values);
                let _never_called = self.seconds.remove_label_values(&values);
            }
            false
        });
    }
}

fn with_error<'a>([template, handler, adapter]: [&'a str; 3], error: &'a str) -> [&'a str; 4] {
    [template, handler, adapter, error]
}

#[cfg(test)]
mod tests {
    use mesh_runtime::Metrics;

    use super::super::EngineMetrics;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn numbers_of_handlers_that_are_gone_are_told_for_an_hour() {
        let registry = Metrics::new();
        let metrics = EngineMetrics::register(&registry).unwrap();
        let series = &metrics.0.calls;
        let told = |handler: &str| {
            let label = format!("handler=\"{handler}\"");
            let text = registry.encode().unwrap();
            text.lines().filter(|line| line.contains(&label)).count()
        };
        let stays = metrics.calls("metric", "stays", "noop");
        let gone = metrics.calls("metric", "gone", "noop");
        for calls in [&stays, &gone] {
            calls.observe(true, Duration::ZERO);
        }
        let all = told("stays");
        drop(gone);
        series.prune();
        tokio::time::advance(KEPT / 2).await;
        series.prune();
        assert_eq!((told("stays"), told("gone")), (all, all));
        // What comes back goes on from where it was.
        let back = metrics.calls("metric", "gone", "noop");
        back.observe(true, Duration::ZERO);
        assert_eq!(back.done.0.get(), 2);
        tokio::time::advance(KEPT).await;
        series.prune();
        assert_eq!(told("gone"), all);
        drop(back);
        series.prune();
        tokio::time::advance(KEPT).await;
        series.prune();
        assert_eq!((told("stays"), told("gone")), (all, 0));
    }
}
