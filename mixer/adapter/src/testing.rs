//! What every adapter must do, whatever it does.

use std::net::IpAddr;
use std::time::Duration;

use mesh_runtime::Spawner;
use mixer_attribute::{StringMap, Text, Value};
use mixer_template::{
    Action, ApiKey, Authorization, CheckNothing, Edge, Fields, Kubernetes, ListEntry, LogEntry, Metric,
    Quota, ReportNothing, Subject, Template, TraceSpan,
};
use prost_types::{Duration as Span, Timestamp};
use serde_json::{Value as Json, json};
use tokio::time;

use crate::adapter::{BuildError, ConfigErrors, Inferred, SomeAdapter};
use crate::env::{Env, Workers};
use crate::handler::{Answer, Handle, Handler, QuotaArgs};

/// Longer than a call takes, also on a machine that is busy and where a back end must be waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be expected of an adapter.
#[derive(Clone, Debug, Default)]
pub struct Compliance {
    /// Parameters that are valid.
    pub accepts: Vec<Json>,
    /// Parameters that are not, with the field that is named.
    pub rejects: Vec<(Json, &'static str)>,
    /// What instances its handlers get.
    pub inferred: Inferred,
    /// Part of the reason for which no handler can be built, of an adapter that exists for its parameters only.
    pub never_builds: Option<&'static str>,
}

/// Panics unless the adapter refuses wrong parameters by their fields, takes right ones, builds handlers that serve
/// its templates and no others, that survive what they do not expect, that do not need each other, and that leave
/// nothing behind.
pub async fn assert_compliance(adapter: &dyn SomeAdapter, expected: &Compliance) {
    let info = adapter.info();
    assert!(!info.name.is_empty() && !info.description.is_empty());
    for (given, field) in &expected.rejects {
        let errors = refusal(adapter, given, &expected.inferred);
        assert!(
            errors.0.iter().any(|error| error.field == *field),
            "{}: {given} is refused for {errors}, not for {field}",
            info.name
        );
    }
    for given in [json!([]), json!("text"), json!({"noSuchField": 1})] {
        refusal(adapter, &given, &expected.inferred);
    }
    assert!(
        !expected.accepts.is_empty(),
        "nothing is said to be valid of {}",
        info.name
    );
    for given in &expected.accepts {
        accepted(adapter, given, expected).await;
    }
}

fn refusal(adapter: &dyn SomeAdapter, given: &Json, inferred: &Inferred) -> ConfigErrors {
    let name = adapter.info().name;
    let errors = adapter
        .configure(given, inferred)
        .expect_err(&format!("{name}: {given} is taken"));
    assert!(!errors.is_empty(), "{name}: {given} is refused without a reason");
    for error in &errors.0 {
        assert!(
            !error.reason.is_empty(),
            "{name}: {} is refused without a reason",
            error.field
        );
    }
    errors
}

async fn accepted(adapter: &dyn SomeAdapter, given: &Json, expected: &Compliance) {
    let info = adapter.info();
    let configured = adapter
        .configure(given, &expected.inferred)
        .unwrap_or_else(|errors| panic!("{}: {given} is refused: {errors}", info.name));
    let again = adapter.configure(given, &expected.inferred);
    assert_eq!(
        again.expect("it was taken before").encoded(),
        configured.encoded(),
        "{}: equal parameters have equal bytes",
        info.name
    );
    let env = Env::new(format!("compliance.{}.testing", info.name), Spawner::default());
    let build = || adapter.build(configured.clone(), &expected.inferred, env.clone());
    if let Some(reason) = expected.never_builds {
        let BuildError(error) = build().await.expect_err("it never builds");
        assert!(error.contains(reason), "{}: {error}", info.name);
        return;
    }
    let mut handlers = Vec::new();
    for _ in 0..2 {
        let built = time::timeout(PATIENCE, build()).await;
        let built = built.unwrap_or_else(|_| panic!("{} is not built in time", info.name));
        handlers.push(built.unwrap_or_else(|error| panic!("{}: {given}: {error}", info.name)));
    }
    for handler in handlers {
        for template in Template::ALL {
            let served = handler.handle(*template).is_some();
            assert_eq!(
                served,
                info.templates.contains(template),
                "{}: {template}",
                info.name
            );
        }
        // The second one after the first was closed.
        survives(&handler, &expected.inferred).await;
        time::timeout(PATIENCE, handler.close())
            .await
            .unwrap_or_else(|_| panic!("{} is not closed in time", info.name));
    }
    env.stop();
    env.stop();
    let ended = time::timeout(PATIENCE, async {
        while env.workers() != Workers::default() {
            time::sleep(Duration::from_millis(5)).await;
        }
    });
    let left = ended.await.err().map(|_| env.workers());
    assert_eq!(left, None, "{} leaves tasks behind", info.name);
}

/// Sends what nobody would.
async fn survives(handler: &Handler, inferred: &Inferred) {
    let mut names = vec!["", "nobody.instance.nowhere"];
    names.extend(inferred.keys().map(String::as_str));
    for template in Template::ALL {
        let Some(handle) = handler.handle(*template) else {
            continue;
        };
        for name in &names {
            for value in strange_values() {
                strange_call(handle, name, value).await;
            }
        }
    }
}

async fn strange_call(handle: &Handle, name: &str, value: Option<Value<'static>>) {
    let text = match &value {
        Some(Value::String(text)) => text.clone(),
        _ => Text::default(),
    };
    let address = match value {
        Some(Value::IpAddress(address)) => Some(address),
        _ => None,
    };
    let timestamp = match value {
        Some(Value::Timestamp(timestamp)) => Some(timestamp),
        _ => None,
    };
    let fields: Fields<'_> = value.iter().map(|value| ("strange", value.clone())).collect();
    match handle {
        Handle::ApiKey(handle) => {
            let instance = ApiKey {
                name,
                api: text,
                timestamp,
                ..ApiKey::default()
            };
            answered(handle.handle_api_key(&instance)).await;
        }
        Handle::Authorization(handle) => {
            let instance = Authorization {
                name,
                subject: value.is_some().then(|| Subject {
                    user: text.clone(),
                    properties: fields.clone(),
                    ..Subject::default()
                }),
                action: value.is_some().then(|| Action {
                    path: text,
                    properties: fields,
                    ..Action::default()
                }),
            };
            answered(handle.handle_authorization(&instance)).await;
        }
        Handle::CheckNothing(handle) => {
            answered(handle.handle_check_nothing(&CheckNothing { name })).await;
        }
        Handle::Edge(handle) => {
            let instance = Edge {
                name,
                timestamp,
                source_uid: text,
                ..Edge::default()
            };
            answered(handle.handle_edge(&[])).await;
            answered(handle.handle_edge(&[instance])).await;
        }
        Handle::Kubernetes(handle) => {
            let instance = Kubernetes {
                name,
                source_uid: text,
                source_ip: address,
                destination_port: i64::MIN,
                ..Kubernetes::default()
            };
            answered(handle.handle_kubernetes(&instance)).await;
        }
        Handle::ListEntry(handle) => {
            answered(handle.handle_list_entry(&ListEntry { name, value })).await;
        }
        Handle::LogEntry(handle) => {
            let instance = LogEntry {
                name,
                variables: fields.clone(),
                timestamp,
                severity: text,
                monitored_resource_dimensions: fields,
                ..LogEntry::default()
            };
            answered(handle.handle_log_entry(&[])).await;
            answered(handle.handle_log_entry(&[instance])).await;
        }
        Handle::Metric(handle) => {
            let instance = Metric {
                name,
                value,
                dimensions: fields,
                ..Metric::default()
            };
            answered(handle.handle_metric(&[])).await;
            answered(handle.handle_metric(&[instance])).await;
        }
        Handle::Quota(handle) => {
            let instance = Quota {
                name,
                dimensions: fields,
            };
            for amount in [i64::MIN, -1, 0, 1, i64::MAX] {
                let args = QuotaArgs {
                    deduplication_id: text.to_string(),
                    amount,
                    best_effort: amount % 2 == 0,
                };
                answered(handle.handle_quota(&instance, &args)).await;
            }
        }
        Handle::ReportNothing(handle) => {
            answered(handle.handle_report_nothing(&[])).await;
            answered(handle.handle_report_nothing(&[ReportNothing { name }])).await;
        }
        Handle::TraceSpan(handle) => {
            let instance = TraceSpan {
                name,
                trace_id: text.clone(),
                span_id: text,
                start_time: timestamp,
                span_tags: fields,
                source_ip: address,
                http_status_code: i64::MIN,
                ..TraceSpan::default()
            };
            answered(handle.handle_trace_span(&[])).await;
            answered(handle.handle_trace_span(&[instance])).await;
        }
    }
}

/// Any answer will do, an error too, if it comes.
async fn answered<T>(answer: Answer<T>) {
    let answer = time::timeout(PATIENCE, answer.wait()).await;
    assert!(answer.is_ok(), "no answer in time");
}

fn strange_values() -> Vec<Option<Value<'static>>> {
    let map = StringMap::borrowed([("", ""), ("key", "\u{0}\n\"")]).into_owned();
    vec![
        None,
        Some(Value::from("")),
        Some(Value::from("\u{0}\n\"\\;=&\u{1f600}")),
        Some(Value::String("x".repeat(100_000).into())),
        Some(Value::Int64(i64::MIN)),
        Some(Value::Double(f64::NAN)),
        Some(Value::Bool(true)),
        Some(Value::Timestamp(Timestamp {
            seconds: i64::MAX,
            nanos: -1,
        })),
        Some(Value::Duration(Span {
            seconds: i64::MIN,
            nanos: i32::MIN,
        })),
        Some(Value::IpAddress(IpAddr::from([0; 16]))),
        Some(Value::StringMap(map)),
    ]
}
