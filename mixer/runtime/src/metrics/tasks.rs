//! How many tasks the handlers at work have when somebody asks (`spec 02` §9.8, §9.10).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mesh_runtime::Metrics;
use mesh_runtime::metrics::MetricsError;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

use crate::handler::{HandlerTable, LiveHandler};

const WORKERS: (&str, &str) = ("mixer_handler_workers_total", "Running workers of handlers");
const DAEMONS: (&str, &str) = ("mixer_handler_daemons_total", "Running daemons of handlers");

const LABELS: [&str; 2] = ["initConfigID", "handler"];

/// The handlers of the configuration in force, which whoever counts does not keep from being closed.
#[derive(Clone, Debug, Default)]
pub(super) struct Handlers(Arc<Mutex<Vec<Weak<LiveHandler>>>>);

/// Counts the tasks of handlers when they are asked for.
#[derive(Debug)]
pub(super) struct TaskCollector {
    descs: Vec<Desc>,
    handlers: Handlers,
}

// === impl Handlers ===

impl Handlers {
    pub(super) fn replace(&self, table: &HandlerTable) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = table.iter().map(Arc::downgrade).collect();
    }

    fn at_work(&self) -> Vec<Arc<LiveHandler>> {
        let handlers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.iter().filter_map(Weak::upgrade).collect()
    }
}

// === impl TaskCollector ===

impl TaskCollector {
    pub(super) fn register(metrics: &Metrics, handlers: &Handlers) -> Result<(), MetricsError> {
        let desc = |(name, help): (&str, &str)| {
            let labels = LABELS.map(str::to_owned).to_vec();
            Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new()).ok()
        };
        let collector = Self {
            descs: [WORKERS, DAEMONS].into_iter().filter_map(desc).collect(),
            handlers: handlers.clone(),
        };
        metrics.register("mixer/handler/tasks", collector)
    }
}

impl Collector for TaskCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let gauge = |(name, help): (&str, &str)| IntGaugeVec::new(Opts::new(name, help), &LABELS);
        let (Ok(workers), Ok(daemons)) = (gauge(WORKERS), gauge(DAEMONS)) else {
            return Vec::new();
        };
        for handler in self.handlers.at_work() {
            let (id, tasks) = (handler.config_id().to_string(), handler.workers());
            for (gauge, count) in [(&workers, tasks.workers), (&daemons, tasks.daemons)] {
                let gauge = gauge.with_label_values(&[id.as_str(), handler.label()]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        [workers.collect(), daemons.collect()].concat()
    }
}
