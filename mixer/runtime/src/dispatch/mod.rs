//! From requests to answers (`spec 02` §2.4-§2.7, §9.6).
//!
//! Handlers are called in place; what they answer later is waited for together. There is no task for an instance.

mod batch;
mod call;
mod check;
mod combine;
mod conditions;
mod explain;
mod failure;
mod fields;
mod generate;
mod headers;
mod quota;
mod remembered;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use futures::future::join_all;
use mixer_attribute::{
    AttributeId, Bag, CheckRequest, Compressed, QuotaParams, References, ReportRequest, Undecodable, Words,
};
use tracing::debug;

use crate::metrics::EngineMetrics;
use crate::routing::Table;
use remembered::Remembered;

pub use call::Patience;
pub use combine::Verdict;
pub use explain::{Action, Explained, Explanation, Phase};
pub use failure::{Failure, FailureKind};
pub use quota::{Grant, Wanted};

/// Answers requests by the table that is in force when they come.
#[derive(Debug)]
pub struct Engine {
    table: ArcSwap<Table>,
    /// How many tables were put in force.
    revisions: AtomicU64,
    /// `None` where every request is decided about anew.
    remembered: Option<Remembered>,
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
    /// Whether the verdict is that of a request before, by the same table.
    pub remembered: bool,
}

// === impl Engine ===

impl Engine {
    /// An engine without routes, which allows everything.
    #[must_use]
    pub fn new(metrics: EngineMetrics) -> Self {
        Self {
            table: ArcSwap::default(),
            revisions: AtomicU64::new(0),
            remembered: None,
            metrics,
        }
    }

    /// The engine that gives verdicts again while they are valid, and remembers so many of them; 0 for none.
    #[must_use]
    pub fn with_check_cache(self, entries: usize) -> Self {
        let remembered = (entries > 0).then(|| Remembered::new(entries, self.metrics.clone()));
        Self { remembered, ..self }
    }

    /// The table in force. A request uses one from its beginning to its end.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Replaces the table for requests that come from now on; returns the one before.
    pub fn replace(&self, mut table: Table) -> Arc<Table> {
        table.revision = self.revisions.fetch_add(1, Ordering::Relaxed) + 1;
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
        let bag = read(table, request.attributes)?;
        let CheckRequest {
            quotas,
            deduplication_id,
            ..
        } = request;
        self.decide(table, bag, quotas, deduplication_id, patience).await
    }

    /// Decides about a request with these attributes.
    ///
    /// # Errors
    ///
    /// Everything that keeps a handler from deciding.
    pub async fn check_bag<'r>(
        &self,
        table: &'r Table,
        bag: Bag<'r>,
        patience: Patience,
    ) -> Result<Checked, Failure> {
        self.decide(table, bag, &BTreeMap::new(), "", patience).await
    }

    async fn decide<'r>(
        &self,
        table: &'r Table,
        mut bag: Bag<'r>,
        quotas: &BTreeMap<&'r str, QuotaParams>,
        deduplication_id: &'r str,
        patience: Patience,
    ) -> Result<Checked, Failure> {
        if let Some(remembered) = &self.remembered
            && let Some((answer, valid_duration)) = remembered.get(table, &bag)
            && (quotas.is_empty() || !answer.verdict.is_ok())
        {
            let mut verdict = answer.verdict.clone();
            verdict.valid_duration = valid_duration;
            return Ok(Checked {
                verdict,
                references: answer.references.clone(),
                grants: BTreeMap::new(),
                remembered: true,
            });
        }
        let mut references = References::default();
        let added = enrich(table, &mut bag, &mut references, patience).await?;
        let routes = table.routes(&bag, &mut references);
        let before = references.clone();
        let (verdict, counts) = check::check(table, routes, &bag, &mut references, patience).await?;
        self.metrics.dispatched(counts.destinations, counts.instances);
        let mut grants = BTreeMap::new();
        if verdict.is_ok() {
            let wanted = quotas.iter().map(|(name, params)| {
                let wanted = Wanted {
                    name,
                    params: *params,
                    deduplication_id,
                };
                let grant = quota::allocate(table, routes, &bag, wanted, before.clone(), patience);
                async move { ((*name).to_owned(), grant.await) }
            });
            grants.extend(join_all(wanted).await);
        }
        if let Some(remembered) = &self.remembered {
            // What the request brought: generators replace nothing of that.
            for id in added {
                bag.remove(id);
            }
            remembered.put(table, &bag, &verdict, &references);
        }
        Ok(Checked {
            verdict,
            references,
            grants,
            remembered: false,
        })
    }

    /// Allocates a quota for a request with these attributes, about which nobody decides.
    ///
    /// # Errors
    ///
    /// If the generators of attributes fail.
    pub async fn allocate<'r>(
        &self,
        table: &'r Table,
        mut bag: Bag<'r>,
        wanted: Wanted<'r>,
        patience: Patience,
    ) -> Result<Grant, Failure> {
        let mut references = References::default();
        enrich(table, &mut bag, &mut references, patience).await?;
        let routes = table.routes(&bag, &mut references);
        Ok(quota::allocate(table, routes, &bag, wanted, references, patience).await)
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

    /// Tells handlers what happened: requests with these attributes.
    ///
    /// # Errors
    ///
    /// Handlers that could not be told. The others were told nevertheless.
    pub async fn report_bags<'r>(
        &self,
        table: &'r Table,
        bags: Vec<Bag<'r>>,
        patience: Patience,
    ) -> Result<(), Failure> {
        report::report_bags(table, bags, &self.metrics, patience).await
    }
}

/// The attributes of a set that stands alone.
fn read<'r>(table: &'r Table, set: Compressed<'r>) -> Result<Bag<'r>, Failure> {
    let no_words = Words::default();
    let mut reader = table.decoder.reader(&no_words);
    let mut bag = Bag::new(&table.vocabulary);
    let read = reader.read(&mut bag, set);
    read.map_err(|error| Failure::invalid(error.to_string()))?;
    tell_absent(reader.absent());
    Ok(bag)
}

/// Says what cannot be read of a set (`spec 02` §2.2). Softly: peers may send as much of that as they like.
fn tell_absent(absent: &[Undecodable]) {
    for reason in absent {
        debug!(target: "attributes", %reason, "an attribute counts as absent");
    }
}

/// Adds what generators know to a bag; returns which attributes those are. They count as absent from now on.
async fn enrich<'r>(
    table: &'r Table,
    bag: &mut Bag<'r>,
    references: &mut References,
    patience: Patience,
) -> Result<Vec<AttributeId>, Failure> {
    let routes = table.routes(bag, references);
    if routes.generators.is_empty() {
        return Ok(Vec::new());
    }
    let sent = bag.presence();
    generate::generate(table, routes, bag, references, patience).await?;
    let is_new = |id: &AttributeId| bag.get(*id).is_some() && !sent.contains(*id);
    let added: Vec<_> = table.vocabulary.ids().filter(is_new).collect();
    for id in &added {
        references.added(*id);
    }
    Ok(added)
}
