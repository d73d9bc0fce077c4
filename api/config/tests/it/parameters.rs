//! Parameters of Mixer's adapters and templates (spec 02 §5.1, §7.15, §9.11).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mesh_config::{Kind, decode, validation};
use serde_json::{Value, json};

/// Field and reason of all that is wrong with an object.
fn problems(kind: Kind, spec: &Value) -> Vec<(String, String)> {
    let object = json!({ "metadata": { "name": "a", "namespace": "weather" }, "spec": spec });
    let config = decode::from_json(Some(kind), &object).unwrap();
    assert_eq!(validation::validate(&config), []);
    let problems = validation::parameters(&config).into_iter();
    problems.map(|problem| (problem.field, problem.reason)).collect()
}

fn fields(kind: Kind, spec: &Value) -> Vec<String> {
    problems(kind, spec).into_iter().map(|(field, _)| field).collect()
}

#[test]
fn g8_5_no_kind_of_mixer_takes_a_field_that_it_does_not_have() {
    let mixers = Kind::ALL
        .iter()
        .copied()
        .filter(|kind| kind.schema().message == "google.protobuf.Struct");
    for kind in mixers {
        assert_eq!(problems(kind, &json!({})), [], "{kind}");
        let said = problems(kind, &json!({ "nonsense": 1, "more": [] }));
        let reason = |name: &str| (name.to_owned(), format!("unknown field `{name}`"));
        let mut expected = vec![reason("more"), reason("nonsense")];
        expected.sort();
        let mut said: Vec<_> = said
            .into_iter()
            .map(|(field, reason)| (field, reason.split(',').next().unwrap_or_default().to_owned()))
            .collect();
        said.sort();
        assert_eq!(said, expected, "{kind}");
    }
}

/// What `02 §7.15` says of each, and a value of a wrong type in it.
#[test]
fn s7_15_vendors_adapters_are_known_and_their_parameters_checked() {
    let cases = [
        (
            Kind::Stackdriver,
            json!({
                "endpoint": "monitoring.googleapis.com:443", "project_id": "mesh", "pushInterval": "1m",
                "app_credentials": true,
                "metric_info": { "requestcount.metric.weather": {
                    "kind": "CUMULATIVE", "value": "INT64", "metric_type": "custom.googleapis.com/requests",
                    "buckets": { "linear_buckets": { "num_finite_buckets": 10, "width": 5, "offset": 0 } },
                } },
                "logInfo": { "accesslog.logentry.weather": {
                    "labelNames": ["source"], "payloadTemplate": "{{.source}}",
                    "httpMapping": { "status": "status", "url": "url" },
                    "sinkInfo": { "id": "sink", "destination": "storage", "UniqueWriterIdentity": true },
                } },
                "trace": { "sample_probability": 0.5 },
            }),
            json!({ "push_interval": "soon", "trace": { "sample_probability": "half" } }),
            vec!["push_interval", "trace.sample_probability"],
        ),
        (
            Kind::CloudWatch,
            json!({
                "namespace": "mesh", "metricInfo": { "requestduration.metric.weather": { "unit": "Milliseconds" } },
                "logGroupName": "group", "logStreamName": "stream",
                "logs": { "accesslog.logentry.weather": { "payloadTemplate": "{{.url}}" } },
            }),
            json!({ "namespace": ["mesh"], "logs": 1 }),
            vec!["logs", "namespace"],
        ),
        (
            Kind::DogStatsD,
            json!({
                "address": "localhost:8125", "prefix": "mesh.", "bufferLength": 50, "globalTags": { "cluster": "a" },
                "sampleRate": 1, "metrics": { "requestcount.metric.weather": {
                    "name": "requests", "type": "COUNTER", "tags": { "app": "web" },
                } },
            }),
            json!({ "bufferLength": 1.5, "metrics": { "a": { "type": "RATE" } } }),
            vec!["bufferLength", "metrics[a].type"],
        ),
        (
            Kind::Circonus,
            json!({
                "submission_url": "https://trap.example.com/a", "submission_interval": "10s",
                "metrics": [{ "name": "requestcount.metric.weather", "type": "COUNTER" }],
            }),
            json!({ "submission_interval": 10, "metrics": [{ "nam": "a" }] }),
            vec!["metrics[0].nam", "submission_interval"],
        ),
        (
            Kind::SolarWinds,
            json!({
                "appopticsAccessToken": "secret", "appopticsBatchSize": 500, "papertrailUrl": "logs1.papertrailapp.com:4321",
                "papertrailLocalRetentionDuration": "1h30m",
                "metrics": { "requestcount.metric.weather": { "labelNames": ["source"] } },
                "logs": { "accesslog.logentry.weather": { "payloadTemplate": "{{.url}}" } },
            }),
            json!({ "appopticsBatchSize": "many", "papertrailUrl": 1 }),
            vec!["appopticsBatchSize", "papertrailUrl"],
        ),
        (
            Kind::SignalFx,
            json!({
                "metrics": [{ "name": "requestcount.metric.weather", "type": "HISTOGRAM" }],
                "ingestUrl": "https://ingest.example.com", "accessToken": "secret", "datapointInterval": "10s",
                "enableMetrics": true, "enableTracing": false, "tracingBufferSize": 1000, "tracingSampleProbability": 1.0,
            }),
            json!({ "enableMetrics": "yes", "tracingBufferSize": -1 }),
            vec!["enableMetrics", "tracingBufferSize"],
        ),
    ];
    for (kind, good, bad, expected) in cases {
        assert_eq!(problems(kind, &good), [], "{kind}");
        let mut said = fields(kind, &bad);
        said.sort();
        assert_eq!(said, expected, "{kind}");
        // The uniform notation holds the same.
        let adapter = kind.schema().kind;
        let handler = |params: &Value| json!({ "compiledAdapter": adapter, "params": params });
        assert_eq!(problems(Kind::Handler, &handler(&good)), [], "{kind}");
        let mut said = fields(Kind::Handler, &handler(&bad));
        said.sort();
        let expected: Vec<_> = expected.iter().map(|field| format!("params.{field}")).collect();
        assert_eq!(said, expected, "{kind}");
    }
}

#[test]
fn g8_5_parameters_of_instances_are_those_of_their_template() {
    let good = json!({
        "value": "1", "dimensions": { "source": "source.workload.name | \"unknown\"" }, "monitored_resource_type": "\"UNSPECIFIED\"",
    });
    assert_eq!(problems(Kind::Metric, &good), []);
    let uniform = |params: &Value| json!({ "compiledTemplate": "metric", "params": params });
    assert_eq!(problems(Kind::Instance, &uniform(&good)), []);
    // Expressions are text.
    let bad = json!({ "value": 1 });
    assert_eq!(fields(Kind::Metric, &bad), ["value"]);
    assert_eq!(fields(Kind::Instance, &uniform(&bad)), ["params.value"]);
    let bindings = json!({ "attributeBindings": { "source.labels": "$out.source_labels" } });
    assert_eq!(problems(Kind::Kubernetes, &bindings), []);
}

/// Adapters and templates of others say themselves what they take; nothing is looked up.
#[test]
fn g8_5_what_is_not_built_in_is_not_judged() {
    for spec in [
        json!({ "adapter": "keyval", "params": { "any": ["thing"] } }),
        json!({ "compiledAdapter": "mine", "params": { "any": ["thing"] } }),
        json!({ "compiledAdapter": "stdio" }),
    ] {
        assert_eq!(problems(Kind::Handler, &spec), [], "{spec}");
    }
    let rule = json!({ "match": "no such attribute", "actions": [{ "handler": "nobody", "instances": ["nothing"] }] });
    assert_eq!(problems(Kind::Rule, &rule), []);
}
