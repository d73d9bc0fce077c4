//! Handlers for tests.

use std::ops::Deref;

use mesh_runtime::Spawner;
use mixer_adapter::{
    Answer, BuildError, CheckResult, Env, Handle, Handler, Inferred, QuotaArgs, QuotaResult, SomeAdapter,
};
use mixer_attribute::Value;
use mixer_template::{CheckNothing, ListEntry, Quota, Template};
use serde_json::Value as Json;

/// A handler called `handler.weather` with its tasks, which end with it.
pub(crate) struct Running {
    pub(crate) handler: Handler,
    env: Env,
}

pub(crate) async fn try_build(
    adapter: &dyn SomeAdapter,
    params: Json,
    inferred: &Inferred,
) -> Result<Running, BuildError> {
    let configured = adapter.configure(&params, inferred).expect("valid parameters");
    let env = Env::new("handler.weather", Spawner::default());
    let handler = adapter.build(configured, inferred, env.clone()).await?;
    Ok(Running { handler, env })
}

pub(crate) async fn build(adapter: &dyn SomeAdapter, params: Json) -> Running {
    try_build(adapter, params, &Inferred::new())
        .await
        .expect("a handler")
}

/// Names of instances of a template without types.
pub(crate) fn instances(template: Template, names: &[&str]) -> Inferred {
    names
        .iter()
        .map(|name| ((*name).to_owned(), (template, mesh_api::Any::default())))
        .collect()
}

pub(crate) fn once(amount: i64) -> QuotaArgs {
    QuotaArgs {
        amount,
        ..QuotaArgs::default()
    }
}

impl Running {
    pub(crate) async fn close(mut self) {
        std::mem::take(&mut self.handler).close().await;
        self.env.stop();
    }

    pub(crate) async fn list_entry(&self, value: Option<Value<'_>>) -> CheckResult {
        let Some(Handle::ListEntry(handle)) = self.handler.handle(Template::ListEntry) else {
            panic!("no list entries");
        };
        let instance = ListEntry {
            name: "entry.instance.weather",
            value,
        };
        answer(handle.handle_list_entry(&instance)).await
    }

    pub(crate) async fn check_nothing(&self) -> CheckResult {
        let Some(Handle::CheckNothing(handle)) = self.handler.handle(Template::CheckNothing) else {
            panic!("no checks");
        };
        let instance = CheckNothing {
            name: "nothing.instance.weather",
        };
        answer(handle.handle_check_nothing(&instance)).await
    }

    pub(crate) async fn quota(
        &self,
        name: &str,
        dimensions: &[(&str, &str)],
        args: &QuotaArgs,
    ) -> QuotaResult {
        let Some(Handle::Quota(handle)) = self.handler.handle(Template::Quota) else {
            panic!("no quotas");
        };
        let dimensions = dimensions.iter().map(|(key, value)| (*key, Value::from(*value)));
        let instance = Quota {
            name,
            dimensions: dimensions.collect(),
        };
        answer(handle.handle_quota(&instance, args)).await
    }
}

impl Deref for Running {
    type Target = Handler;

    fn deref(&self) -> &Handler {
        &self.handler
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.env.stop();
    }
}

pub(crate) async fn answer<T>(answer: Answer<T>) -> T {
    answer.wait().await.expect("an answer")
}
