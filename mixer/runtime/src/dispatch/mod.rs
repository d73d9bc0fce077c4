//! From requests to answers (`spec 02` §2.4-§2.7, §9.6).
//!
//! Handlers are called in place; what they answer later is waited for together. There is no task for an instance.

mod batch;
mod call;
mod check;
mod combine;
mod conditions;
mod failure;
mod generate;
mod headers;
mod quota;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::join_all;
use mixer_attribute::{AttributeId, CheckRequest, References, ReportRequest};

use crate::metrics::EngineMetrics;
use crate::routing::Table;

pub use call::Patience;
pub use combine::Verdict;
pub use failure::{Failure, FailureKind};
pub use quota::Grant;

/// Answers requests by the table that is in force when they come.
#[derive(Debug)]
pub struct Engine {
    table: ArcSwap<Table>,
    metrics: EngineMetrics,
}

/// The answer to a Check.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// Whether the request may pass.
    pub verdict: Verdict,
    /// What was read to find out.
    pub references: References,
    /// What is granted of each quota; nothing of those of a request that may not pass.
    pub grants: BTreeMap<String, Grant>,
}

// === impl Engine ===

impl Engine {
    /// An engine without routes, which allows everything.
    #[must_use]
    pub fn new(metrics: EngineMetrics) -> Self {
        Self {
            table: ArcSwap::default(),
            metrics,
        }
    }

    /// The table in force. A request uses one from its beginning to its end.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Replaces the table for requests that come from now on; returns the one before.
    pub fn replace(&self, table: Table) -> Arc<Table> {
        self.table.swap(Arc::new(table))
    }

    /// Decides about a request, and allocates what it asks for if it may pass.
    ///
    /// # Errors
    ///
    /// Attributes that cannot be read, and everything that keeps a handler from deciding.
    pub async fn check<'r>(
        &self,
        table: &'r Table,
        request: &CheckRequest<'r>,
        patience: Patience,
    ) -> Result<Checked, Failure> {
        let bag = table.decoder.bag(request.attributes);
        let mut bag = bag.map_err(|error| Failure::invalid(error.to_string()))?;
        let mut references = References::default();
        let routes = table.routes(&bag, &mut references);
        if !routes.generators.is_empty() {
            let sent = bag.clone();
            generate::generate(table, routes, &mut bag, &mut references, patience).await?;
            let is_new = |id: &AttributeId| bag.get(*id).is_some() && sent.get(*id).is_none();
            for id in table.vocabulary.ids().filter(is_new) {
                references.added(id);
            }
        }
        let routes = table.routes(&bag, &mut references);
        let before = references.clone();
        let (verdict, counts) = check::check(table, routes, &bag, &mut references, patience).await?;
        self.metrics.dispatched(counts.destinations, counts.instances);
        let mut grants = BTreeMap::new();
        if verdict.is_ok() {
            let wanted = request.quotas.iter().map(|(name, params)| {
                let wanted = quota::Wanted {
                    name,
                    params: *params,
                    deduplication_id: request.deduplication_id,
                };
                let grant = quota::allocate(table, routes, &bag, wanted, before.clone(), patience);
                async move { ((*name).to_owned(), grant.await) }
            });
            grants.extend(join_all(wanted).await);
        }
        Ok(Checked {
            verdict,
            references,
            grants,
        })
    }

    /// Tells handlers what happened.
    ///
    /// # Errors
    ///
    /// Sets that cannot be read, and handlers that could not be told. The others were told nevertheless.
    pub async fn report<'r>(
        &self,
        table: &'r Table,
        request: &'r ReportRequest<'r>,
        patience: Patience,
    ) -> Result<(), Failure> {
        report::report(table, request, &self.metrics, patience).await
    }
}
