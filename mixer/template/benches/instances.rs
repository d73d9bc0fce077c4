//! How long the default metrics of HTTP take (`spec 02` §12): their expressions alone, and their instances.

use std::collections::BTreeMap;

use divan::{Bencher, black_box};
use mixer_attribute::{Bag, References, StringMap, Untracked, Value, ValueType, Vocabulary};
use mixer_expr::{Program, compile};
use mixer_template::{Common, InstanceBuilder, InstanceCompiler, Template};
use serde_json::json;

const LABELS: [(&str, &str); 20] = [
    (
        "reporter",
        r#"conditional((context.reporter.kind | "inbound") == "outbound", "source", "destination")"#,
    ),
    ("source_workload", r#"source.workload.name | "unknown""#),
    (
        "source_workload_namespace",
        r#"source.workload.namespace | "unknown""#,
    ),
    ("source_principal", r#"source.principal | "unknown""#),
    ("source_app", r#"source.labels["app"] | "unknown""#),
    ("source_version", r#"source.labels["version"] | "unknown""#),
    ("destination_workload", r#"destination.workload.name | "unknown""#),
    (
        "destination_workload_namespace",
        r#"destination.workload.namespace | "unknown""#,
    ),
    ("destination_principal", r#"destination.principal | "unknown""#),
    ("destination_app", r#"destination.labels["app"] | "unknown""#),
    (
        "destination_version",
        r#"destination.labels["version"] | "unknown""#,
    ),
    ("destination_service", r#"destination.service.host | "unknown""#),
    (
        "destination_service_name",
        r#"destination.service.name | "unknown""#,
    ),
    (
        "destination_service_namespace",
        r#"destination.service.namespace | "unknown""#,
    ),
    (
        "request_protocol",
        r#"api.protocol | context.protocol | "unknown""#,
    ),
    ("response_code", "response.code | 200"),
    ("response_flags", r#"context.proxy_error_code | "-""#),
    (
        "permissive_response_code",
        r#"rbac.permissive.response_code | "none""#,
    ),
    (
        "permissive_response_policyid",
        r#"rbac.permissive.effective_policy_id | "none""#,
    ),
    (
        "connection_security_policy",
        r#"conditional((context.reporter.kind | "inbound") == "outbound", "unknown", conditional(connection.mtls | false, "mutual_tls", "none"))"#,
    ),
];

/// The values of requestcount, requestduration, requestsize and responsesize.
const VALUES: [&str; 4] = [
    "1",
    r#"response.duration | "0ms""#,
    "request.size | 0",
    "response.size | 0",
];

fn main() {
    divan::main();
}

fn vocabulary() -> Vocabulary {
    let mut vocabulary = Vocabulary::default();
    let mut add = |names: &[&str], value_type| {
        for name in names {
            if let Err(error) = vocabulary.add(name, value_type) {
                panic!("{error}");
            }
        }
    };
    add(
        &[
            "context.reporter.kind",
            "source.workload.name",
            "source.workload.namespace",
            "source.principal",
            "destination.workload.name",
            "destination.workload.namespace",
            "destination.principal",
            "destination.service.host",
            "destination.service.name",
            "destination.service.namespace",
            "api.protocol",
            "context.protocol",
            "context.proxy_error_code",
            "rbac.permissive.response_code",
            "rbac.permissive.effective_policy_id",
        ],
        ValueType::String,
    );
    add(&["source.labels", "destination.labels"], ValueType::StringMap);
    add(
        &["response.code", "request.size", "response.size"],
        ValueType::Int64,
    );
    add(&["connection.mtls"], ValueType::Bool);
    add(&["response.duration"], ValueType::Duration);
    vocabulary
}

/// What a sidecar and kubernetesenv know of a call.
fn bag(vocabulary: &Vocabulary) -> Bag<'static> {
    let mut bag = Bag::new(vocabulary);
    let labels = |app| StringMap::borrowed([("app", app), ("pod-template-hash", "7b5c"), ("version", "v1")]);
    let mut set = |name: &str, value: Value<'static>| {
        if let Some(id) = vocabulary.id(name) {
            bag.set(id, value);
        }
    };
    for (name, value) in [
        ("context.reporter.kind", "inbound"),
        ("source.workload.name", "productpage-v1"),
        ("source.workload.namespace", "default"),
        ("source.principal", "cluster.local/ns/default/sa/productpage"),
        ("destination.workload.name", "reviews-v1"),
        ("destination.workload.namespace", "default"),
        ("destination.principal", "cluster.local/ns/default/sa/reviews"),
        ("destination.service.host", "reviews.default.svc.cluster.local"),
        ("destination.service.name", "reviews"),
        ("destination.service.namespace", "default"),
        ("context.protocol", "http"),
        ("context.proxy_error_code", "-"),
    ] {
        set(name, Value::from(value));
    }
    set("source.labels", Value::StringMap(labels("productpage")));
    set("destination.labels", Value::StringMap(labels("reviews")));
    set("response.code", Value::Int64(200));
    set("request.size", Value::Int64(0));
    set("response.size", Value::Int64(4183));
    set("connection.mtls", Value::Bool(true));
    let duration = prost_types::Duration {
        seconds: 0,
        nanos: 7_000_000,
    };
    set("response.duration", Value::Duration(duration));
    bag
}

fn programs(vocabulary: &Vocabulary) -> Vec<Program> {
    let texts = LABELS.iter().map(|(_, text)| *text).chain(VALUES);
    texts.filter_map(|text| compile(text, vocabulary).ok()).collect()
}

fn builders(vocabulary: &Vocabulary) -> Vec<InstanceBuilder> {
    let dimensions: BTreeMap<_, _> = LABELS.into_iter().collect();
    let mut compiler = InstanceCompiler::new(vocabulary);
    let metric = |value: &&str| {
        let params =
            json!({"value": value, "dimensions": dimensions, "monitored_resource_type": "\"UNSPECIFIED\""});
        let compiled = compiler.compile(Template::Metric, "metric", &params, &BTreeMap::new());
        compiled.ok()
    };
    VALUES.iter().filter_map(metric).collect()
}

/// All 24 expressions once.
#[divan::bench]
fn expressions(bencher: Bencher<'_, '_>) {
    let vocabulary = vocabulary();
    let (bag, programs) = (bag(&vocabulary), programs(&vocabulary));
    assert_eq!(programs.len(), LABELS.len() + VALUES.len());
    bencher.bench_local(|| {
        for program in &programs {
            drop(black_box(program.evaluate(&bag, &mut Untracked)));
        }
    });
}

/// As in Check, where what is read is remembered.
#[divan::bench]
fn expressions_tracked(bencher: Bencher<'_, '_>) {
    let vocabulary = vocabulary();
    let (bag, programs) = (bag(&vocabulary), programs(&vocabulary));
    bencher.bench_local(|| {
        let mut references = References::default();
        for program in &programs {
            drop(black_box(program.evaluate(&bag, &mut references)));
        }
        references
    });
}

/// Four metrics with 20 dimensions each.
#[divan::bench]
fn metrics(bencher: Bencher<'_, '_>) {
    let vocabulary = vocabulary();
    let (bag, builders) = (bag(&vocabulary), builders(&vocabulary));
    assert_eq!(builders.len(), VALUES.len());
    bencher.bench_local(|| {
        for builder in &builders {
            drop(black_box(builder.build(&bag, &mut Untracked)));
        }
    });
}

/// The same for a record of a report, whose metrics have their dimensions in common.
#[divan::bench]
fn metrics_reported(bencher: Bencher<'_, '_>) {
    let vocabulary = vocabulary();
    let (bag, builders) = (bag(&vocabulary), builders(&vocabulary));
    let mut common = Common::default();
    bencher.bench_local(|| {
        common.clear();
        for builder in &builders {
            drop(black_box(builder.build_reported(&bag, &mut common)));
        }
    });
}

/// From text to programs.
#[divan::bench]
fn compilation(bencher: Bencher<'_, '_>) {
    let vocabulary = vocabulary();
    bencher.bench_local(|| builders(&vocabulary));
}
