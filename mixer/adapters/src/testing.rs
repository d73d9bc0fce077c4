//! What tests of adapters share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use mesh_runtime::Spawner;
use mixer_adapter::{
    Answer, BuildError, Env, Handle, HandleLogEntry, HandleMetric, HandleTraceSpan, Handler, HandlerError,
    Inferred, SomeAdapter,
};
use mixer_template::Template;
use serde_json::Value;

/// A handler with its surroundings.
pub(crate) struct Built {
    handler: Handler,
    env: Env,
    faults: Faults,
}

/// What went wrong in a handler outside of calls. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<BTreeMap<&'static str, u64>>>);

/// Builds a handler. Parameters that are wrong end the test.
pub(crate) async fn build(adapter: &dyn SomeAdapter, params: Value) -> Result<Built, BuildError> {
    build_for(adapter, params, &Inferred::default()).await
}

/// Builds a handler for instances of known types.
pub(crate) async fn build_for(
    adapter: &dyn SomeAdapter,
    params: Value,
    inferred: &Inferred,
) -> Result<Built, BuildError> {
    let configured = adapter
        .configure(&params, inferred)
        .unwrap_or_else(|errors| panic!("{params}: {errors}"));
    let faults = Faults::default();
    let counted = faults.clone();
    let env = Env::counting("handler.test", Spawner::default(), move |kind, count| {
        *counted.0.lock().unwrap().entry(kind).or_default() += count;
    });
    let handler = adapter.build(configured, inferred, env.clone()).await?;
    Ok(Built { handler, env, faults })
}

/// What is wrong with parameters.
pub(crate) fn refusal(adapter: &dyn SomeAdapter, params: &Value) -> String {
    match adapter.configure(params, &Inferred::default()) {
        Ok(_) => panic!("{params} is taken"),
        Err(errors) => errors.to_string(),
    }
}

/// What a handler answers at once.
pub(crate) fn now(answer: Answer<()>) -> Result<(), String> {
    match answer {
        Answer::Now(result) => result.map_err(|error: HandlerError| error.to_string()),
        Answer::Later(_) => panic!("it is answered later"),
    }
}

// === impl Faults ===

impl Faults {
    /// How often something of this kind went wrong.
    pub(crate) fn of(&self, kind: &str) -> u64 {
        self.0.lock().unwrap().get(kind).copied().unwrap_or_default()
    }
}

// === impl Built ===

impl Built {
    pub(crate) fn metric(&self) -> Arc<dyn HandleMetric> {
        match self.handler.handle(Template::Metric) {
            Some(Handle::Metric(handle)) => Arc::clone(handle),
            _ => panic!("it takes no metrics"),
        }
    }

    pub(crate) fn log_entry(&self) -> Arc<dyn HandleLogEntry> {
        match self.handler.handle(Template::LogEntry) {
            Some(Handle::LogEntry(handle)) => Arc::clone(handle),
            _ => panic!("it takes no entries of logs"),
        }
    }

    pub(crate) fn trace_span(&self) -> Arc<dyn HandleTraceSpan> {
        match self.handler.handle(Template::TraceSpan) {
            Some(Handle::TraceSpan(handle)) => Arc::clone(handle),
            _ => panic!("it takes no spans"),
        }
    }

    /// What went wrong in it, also after it was closed.
    pub(crate) fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Closes the handler as the runtime does.
    pub(crate) async fn close(self) {
        self.handler.close().await;
        self.env.stop();
    }
}
