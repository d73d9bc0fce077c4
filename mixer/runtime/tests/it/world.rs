//! An engine with a configuration of text, and requests of pairs.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::istio::mixer::v1::check_request::QuotaParams;
use mesh_api::istio::mixer::v1::{CheckRequest, CompressedAttributes, ReportRequest};
use mesh_config::{decode, yaml};
use mesh_runtime::{Metrics, Spawner};
use mixer_runtime::config::{Problems, Snapshot, State, StoreEvent};
use mixer_runtime::dispatch::{Checked, Failure, Patience};
use mixer_runtime::handler::{Factory, HandlerCounts, HandlerTable};
use mixer_runtime::routing::Table;
use mixer_runtime::{Adapters, Engine, EngineMetrics};
use prost::Message as _;

use crate::adapter::{Journal, Obedient};

/// Attributes that the tests use.
pub(crate) const MANIFEST: &str = "
apiVersion: config.istio.io/v1alpha2
kind: attributemanifest
metadata: {name: all, namespace: istio-system}
spec:
  attributes:
    source.name: {valueType: STRING}
    source.uid: {valueType: STRING}
    source.namespace: {valueType: STRING}
    destination.namespace: {valueType: STRING}
    context.reporter.kind: {valueType: STRING}
    request.path: {valueType: STRING}
    response.code: {valueType: INT64}
";

/// An engine and what it was made of.
pub(crate) struct World {
    pub(crate) journal: Journal,
    pub(crate) adapters: Arc<Adapters>,
    pub(crate) metrics: Metrics,
    pub(crate) engine_metrics: EngineMetrics,
    pub(crate) engine: Arc<Engine>,
    pub(crate) factory: Factory,
    pub(crate) handlers: HandlerTable,
    pub(crate) problems: Vec<String>,
    pub(crate) counts: HandlerCounts,
    pub(crate) patience: Patience,
    next: u64,
}

/// Objects of text.
pub(crate) fn events(text: &str) -> Vec<StoreEvent> {
    let documents = yaml::documents("test.yaml", text).into_iter();
    documents
        .map(|document| StoreEvent::Upsert(decode::object(&document.unwrap()).unwrap()))
        .collect()
}

pub(crate) fn state(text: &str) -> State {
    let mut state = State::default();
    for event in events(&format!("{MANIFEST}\n---\n{text}")) {
        state.apply(event);
    }
    state
}

/// A handler that does something.
pub(crate) fn handler(name: &str, code: i32, does: &str) -> String {
    format!(
        "
---
apiVersion: config.istio.io/v1alpha2
kind: handler
metadata: {{name: {name}, namespace: istio-system}}
spec: {{compiledAdapter: denier, params: {{status: {{code: {code}, message: '{does}'}}, validUseCount: 3}}}}
"
    )
}

pub(crate) fn object(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "
---
apiVersion: config.istio.io/v1alpha2
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"
    )
}

impl World {
    /// An engine without configuration, and what closes its handlers.
    pub(crate) fn new() -> Self {
        Self::with_check_cache(0)
    }

    /// One that gives so many verdicts again.
    pub(crate) fn with_check_cache(entries: usize) -> Self {
        let journal = Journal::default();
        let metrics = Metrics::new();
        let engine_metrics = EngineMetrics::register(&metrics).unwrap();
        let adapters = Arc::new(Adapters::new(vec![Box::new(Obedient(journal.clone()))]).unwrap());
        let (factory, closer) =
            Factory::new(Arc::clone(&adapters), Spawner::default(), engine_metrics.clone());
        let factory = factory.with_build_limit(Duration::from_millis(200));
        Spawner::default().spawn("closer", closer.run());
        Self {
            journal,
            adapters,
            metrics,
            engine: Arc::new(Engine::new(engine_metrics.clone()).with_check_cache(entries)),
            engine_metrics,
            factory,
            handlers: HandlerTable::default(),
            problems: Vec::new(),
            counts: HandlerCounts::default(),
            patience: Patience {
                call_limit: Duration::from_millis(100),
                deadline: None,
            },
            next: 0,
        }
    }

    /// Puts a configuration in force.
    pub(crate) async fn configure(&mut self, text: &str) -> Arc<Table> {
        let state = state(text);
        let snapshot = Snapshot::new(self.next, state.objects(), &self.adapters);
        self.next += 1;
        let built = self.factory.build(&snapshot, &self.handlers).await;
        let mut problems = Problems::default();
        problems.extend(snapshot.problems.iter().cloned());
        problems.extend(built.problems);
        let (table, _) = Table::new(
            &snapshot,
            &built.table,
            "istio-system",
            &self.engine_metrics,
            &mut problems,
        );
        self.problems = problems.iter().map(ToString::to_string).collect();
        self.counts = built.counts;
        self.handlers = built.table;
        self.engine.replace(table.with_generation(state.objects()));
        self.engine.table()
    }

    pub(crate) async fn check(
        &self,
        attributes: &[(&str, &str)],
        quotas: &[(&str, i64)],
    ) -> Result<Checked, Failure> {
        check(&self.engine, attributes, quotas, self.patience).await
    }

    pub(crate) async fn report(&self, sets: &[&[(&str, &str)]]) -> Result<(), Failure> {
        let message = ReportRequest {
            attributes: sets.iter().map(|set| compressed(set)).collect(),
            repeated_attributes_semantics: 1,
            ..ReportRequest::default()
        }
        .encode_to_vec();
        let request = mixer_attribute::ReportRequest::read(&message).unwrap();
        let table = self.engine.table();
        self.engine.report(&table, &request, self.patience).await
    }
}

pub(crate) async fn check(
    engine: &Engine,
    attributes: &[(&str, &str)],
    quotas: &[(&str, i64)],
    patience: Patience,
) -> Result<Checked, Failure> {
    let message = CheckRequest {
        attributes: Some(compressed(attributes)),
        deduplication_id: "id".to_owned(),
        quotas: quotas
            .iter()
            .map(|(name, amount)| {
                let params = QuotaParams {
                    amount: *amount,
                    best_effort: true,
                };
                ((*name).to_owned(), params)
            })
            .collect(),
        ..CheckRequest::default()
    }
    .encode_to_vec();
    let request = mixer_attribute::CheckRequest::read(&message).unwrap();
    let table = engine.table();
    engine.check(&table, &request, patience).await
}

fn compressed(attributes: &[(&str, &str)]) -> CompressedAttributes {
    let mut set = CompressedAttributes::default();
    for (name, value) in attributes {
        let mut word = |word: &str| {
            set.words.push(word.to_owned());
            -i32::try_from(set.words.len()).unwrap()
        };
        let (name, value) = (word(name), word(value));
        set.strings.insert(name, value);
    }
    set
}
