//! What a report costs: records with the four metrics of the default configuration and their twenty labels.

use divan::Bencher;
use mesh_runtime::Spawner;
use mixer_adapter::{Answer, Env, Handle, SomeAdapter};
use mixer_adapters::prometheus::Prometheus;
use mixer_attribute::Value;
use mixer_template::{Metric, Template};
use serde_json::json;

/// Records of one report.
const RECORDS: usize = 100;

/// Labels of the default metrics for HTTP.
const LABELS: [&str; 20] = [
    "connection_security_policy",
    "destination_app",
    "destination_principal",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_version",
    "destination_workload",
    "destination_workload_namespace",
    "permissive_response_code",
    "permissive_response_policyid",
    "reporter",
    "request_protocol",
    "response_code",
    "response_flags",
    "source_app",
    "source_principal",
    "source_version",
    "source_workload",
    "source_workload_namespace",
];

/// Instances of the default configuration, with a sample value.
const INSTANCES: [(&str, &str, &str); 4] = [
    ("requestcount.metric.istio-system", "requests_total", "COUNTER"),
    (
        "requestduration.metric.istio-system",
        "request_duration_seconds",
        "DISTRIBUTION",
    ),
    ("requestsize.metric.istio-system", "request_bytes", "DISTRIBUTION"),
    (
        "responsesize.metric.istio-system",
        "response_bytes",
        "DISTRIBUTION",
    ),
];

fn main() {
    divan::main();
}

/// One call with 100 records, each of four metrics; of so many threads at once.
#[divan::bench(threads = [1, 2])]
fn report(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let adapter = Prometheus::new("127.0.0.1:0".parse().expect("an address"));
    let metrics: Vec<_> = INSTANCES
        .iter()
        .map(|(instance, name, kind)| {
            json!({"instance_name": instance, "name": name, "kind": kind, "label_names": LABELS})
        })
        .collect();
    let inferred = Default::default();
    let configured = adapter
        .configure(&json!({ "metrics": metrics }), &inferred)
        .expect("valid");
    let env = Env::new("prometheus", Spawner::default());
    let handler = runtime
        .block_on(SomeAdapter::build(&adapter, configured, &inferred, env))
        .expect("a handler");
    let Some(Handle::Metric(handle)) = handler.handle(Template::Metric) else {
        panic!("no metrics");
    };
    let texts: Vec<Vec<String>> = (0..RECORDS)
        .map(|record| {
            LABELS
                .iter()
                .map(|label| format!("{label}-value-{}", record % 10))
                .collect()
        })
        .collect();
    let records: Vec<Metric<'_>> = texts
        .iter()
        .flat_map(|texts| {
            INSTANCES.map(|(name, _, _)| Metric {
                name,
                value: Some(Value::Double(0.25)),
                dimensions: LABELS
                    .iter()
                    .zip(texts)
                    .map(|(label, text)| match *label {
                        "response_code" => (*label, Value::Int64(200)),
                        label => (label, Value::from(text.as_str())),
                    })
                    .collect(),
                ..Metric::default()
            })
        })
        .collect();
    bencher
        .counter(divan::counter::ItemsCount::new(RECORDS))
        .bench(|| match handle.handle_metric(&records) {
            Answer::Now(result) => result.expect("recorded"),
            Answer::Later(_) => panic!("it answers at once"),
        });
}
