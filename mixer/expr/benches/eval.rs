//! How long expressions take, beside those of Istio 1.1.17 (`spec 07` §5.1): 129, 360 and 383 ns for the first three.

use divan::{Bencher, black_box};
use mixer_attribute::{Bag, StringMap, Untracked, Value, ValueType, Vocabulary};
use mixer_expr::compile;

const EITHER: &str = r#"ai == 20 || ar["foo"] == "bar""#;

fn main() {
    divan::main();
}

#[divan::bench]
fn ok_1st(bencher: Bencher<'_, '_>) {
    evaluate(bencher, EITHER, 20, &[("foo", "baz")]);
}

#[divan::bench]
fn ok_2nd(bencher: Bencher<'_, '_>) {
    evaluate(bencher, EITHER, 2, &[("foo", "bar")]);
}

#[divan::bench]
fn not_found(bencher: Bencher<'_, '_>) {
    evaluate(bencher, EITHER, 2, &[("foo", "baz")]);
}

#[divan::bench]
fn header_in_lower_case(bencher: Bencher<'_, '_>) {
    let expression = r#"ar[toLower("USER-AGENT")] == "curlish""#;
    evaluate(bencher, expression, 2, &[("user-agent", "curlish")]);
}

/// The condition of the default metrics of HTTP.
#[divan::bench]
fn default_condition(bencher: Bencher<'_, '_>) {
    let expression =
        r#"(as == "http" || as == "grpc") && (match((ar["user-agent"] | "-"), "kube-probe*") == false)"#;
    evaluate(bencher, expression, 2, &[("user-agent", "Mozilla/5.0")]);
}

fn evaluate(bencher: Bencher<'_, '_>, expression: &str, ai: i64, ar: &'static [(&str, &str)]) {
    let mut vocabulary = Vocabulary::default();
    for (name, value_type) in [
        ("ai", ValueType::Int64),
        ("ar", ValueType::StringMap),
        ("as", ValueType::String),
    ] {
        vocabulary.add(name, value_type).expect("each is there once");
    }
    let mut bag = Bag::new(&vocabulary);
    for (name, value) in [
        ("ai", Value::Int64(ai)),
        ("ar", Value::StringMap(StringMap::borrowed(ar.iter().copied()))),
        ("as", Value::from("http")),
    ] {
        bag.set(vocabulary.id(name).expect("it is there"), value);
    }
    let program = compile(expression, &vocabulary).expect("it compiles");
    bencher.bench_local(|| {
        black_box(&program)
            .evaluate(black_box(&bag), &mut Untracked)
            .map(drop)
    });
}
