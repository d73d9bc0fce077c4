//! What happened (`spec 02` §2.7).

use std::task::Poll;

use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt as _};
use mixer_attribute::{Bag, ReportRequest, Semantics, Untracked};

use super::batch::Batch;
use super::call::{Call, Patience};
use super::conditions::Conditions;
use super::failure::Failure;
use super::generate::generate;
use super::tell_absent;
use crate::instance::Made;
use crate::metrics::EngineMetrics;
use crate::routing::{Routes, Table};
use mixer_template::Common;

/// So many instances wait at most; a report of more is handed over in parts.
const MAX_WAITING: usize = 16_384;

/// Of so many sets the generators are waited for at the same time.
const MAX_ASKED: usize = 64;

/// Of so many sets the errors are told.
const MAX_ERRORS: usize = 10;

/// Gathers what the sets of a report give, and hands it over: one call for each destination.
struct Reporter<'r> {
    table: &'r Table,
    /// By number of the destination.
    batches: Vec<Option<Batch<'r>>>,
    waiting: usize,
    /// Sets in their order, from the first one on whose generators have not answered yet.
    asked: FuturesOrdered<BoxFuture<'r, Generated<'r>>>,
    conditions: Conditions<'r>,
    common: Common<'r>,
    errors: Vec<String>,
    /// How many errors there were besides.
    more: usize,
}

/// A set with what generators know about it.
type Generated<'r> = Result<Bag<'r>, Failure>;

/// Handles a report. A set that cannot be handled does not keep the others from it.
pub(super) async fn report<'r>(
    table: &'r Table,
    request: &'r ReportRequest<'r>,
    metrics: &EngineMetrics,
    patience: Patience,
) -> Result<(), Failure> {
    let mut reporter = Reporter::new(table);
    let mut reader = table.decoder.reader(&request.default_words);
    // What the sets said; the attributes of generators are those of one set alone.
    let mut said = Bag::new(&table.vocabulary);
    for (number, set) in request.attributes.iter().enumerate() {
        let read = match request.semantics {
            // There is nothing yet that the first one could change.
            Semantics::Delta if number > 0 => reader.apply(&mut said, *set),
            Semantics::Delta | Semantics::Independent => reader.read(&mut said, *set),
        };
        match read {
            Ok(()) => {
                tell_absent(reader.absent());
                reporter.add(&said, metrics, patience).await;
            }
            Err(error) => reporter.error(error.to_string()),
        }
    }
    reporter.done(metrics, patience).await
}

/// Handles a report of attributes that were read already.
pub(super) async fn report_bags<'r>(
    table: &'r Table,
    bags: Vec<Bag<'r>>,
    metrics: &EngineMetrics,
    patience: Patience,
) -> Result<(), Failure> {
    let mut reporter = Reporter::new(table);
    for bag in bags {
        reporter.add(&bag, metrics, patience).await;
    }
    reporter.done(metrics, patience).await
}

// === impl Reporter ===

impl<'r> Reporter<'r> {
    fn new(table: &'r Table) -> Self {
        Self {
            table,
            batches: table.destinations.iter().map(|_| None).collect(),
            waiting: 0,
            asked: FuturesOrdered::new(),
            conditions: Conditions::new(table),
            common: Common::default(),
            errors: Vec::new(),
            more: 0,
        }
    }

    fn error(&mut self, error: String) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        } else {
            self.more += 1;
        }
    }

    /// Adds a set, and what generators know about it.
    async fn add(&mut self, said: &Bag<'r>, metrics: &EngineMetrics, patience: Patience) {
        let routes = self.table.routes(said, &mut Untracked);
        if routes.generators.is_empty() && self.asked.is_empty() {
            self.buffer(routes, said, metrics);
            return self.make_room(patience).await;
        }
        let (table, mut bag) = (self.table, said.clone());
        let mut asked: BoxFuture<'r, Generated<'r>> = Box::pin(async move {
            generate(table, routes, &mut bag, &mut Untracked, patience).await?;
            Ok(bag)
        });
        // Most know at once.
        if self.asked.is_empty()
            && let Poll::Ready(generated) = futures::poll!(&mut asked)
        {
            return self.take(generated, metrics, patience).await;
        }
        self.asked.push_back(asked);
        if self.asked.len() >= MAX_ASKED
            && let Some(generated) = self.asked.next().await
        {
            self.take(generated, metrics, patience).await;
        }
    }

    /// Takes the set that is next.
    async fn take(&mut self, generated: Generated<'r>, metrics: &EngineMetrics, patience: Patience) {
        match generated {
            Ok(bag) => {
                // The generators may have found the namespace.
                let routes = self.table.routes(&bag, &mut Untracked);
                self.buffer(routes, &bag, metrics);
            }
            Err(failure) => self.error(failure.message),
        }
        self.make_room(patience).await;
    }

    async fn make_room(&mut self, patience: Patience) {
        if self.waiting >= MAX_WAITING {
            self.flush(patience).await;
        }
    }

    /// Makes the instances of a set.
    fn buffer(&mut self, routes: &'r Routes, bag: &Bag<'r>, metrics: &EngineMetrics) {
        self.conditions.clear();
        self.common.clear();
        let (mut destinations, mut instances) = (0, 0);
        for route in &routes.reports {
            let before = instances;
            for group in &route.groups {
                if !self.conditions.hold(group.condition, bag, &mut Untracked) {
                    continue;
                }
                for instance in &group.instances {
                    instances += 1;
                    match instance.maker.make_reported(bag, &mut self.common) {
                        Ok(made) => self.push(route.destination, made),
                        Err(error) => self.error(format!("{}: {error}", instance.name)),
                    }
                }
            }
            destinations += usize::from(instances > before);
        }
        metrics.dispatched(destinations, instances);
    }

    fn push(&mut self, destination: usize, made: Made<'r>) {
        let template = self.table.destinations.get(destination).map(|one| &one.template);
        let (Some(batch), Some(template)) = (self.batches.get_mut(destination), template) else {
            return;
        };
        if batch.is_none() {
            *batch = Batch::new(template);
        }
        if let Some(batch) = batch {
            batch.push(made);
            self.waiting += 1;
        }
    }

    /// Hands everything over that waits.
    async fn flush(&mut self, patience: Patience) {
        let mut calls = Vec::new();
        for (destination, batch) in self.table.destinations.iter().zip(&mut self.batches) {
            if let Some(batch) = batch.take() {
                let until = patience.ends_by();
                calls.push(Call::start(destination, || batch.call(destination, until)));
            }
        }
        self.waiting = 0;
        for (_, answer) in Call::finish_all(calls, patience).await {
            if let Err(error) = answer {
                self.error(error.to_string());
            }
        }
    }

    /// Hands over what is left.
    async fn done(mut self, metrics: &EngineMetrics, patience: Patience) -> Result<(), Failure> {
        while let Some(generated) = self.asked.next().await {
            self.take(generated, metrics, patience).await;
        }
        self.flush(patience).await;
        if self.errors.is_empty() {
            return Ok(());
        }
        let mut message = self.errors.join("; ");
        if self.more > 0 {
            message = format!("{message}; and {} more", self.more);
        }
        Err(Failure::unknown(message))
    }
}
