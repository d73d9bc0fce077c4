//! The adapter with its endpoint, and a real Prometheus that scrapes it.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use mesh_api::Any;
use mesh_api::adapter::prometheus::config::Params;
use mesh_api::adapter::prometheus::config::params::MetricInfo;
use mesh_api::adapter::prometheus::config::params::metric_info::Kind;
use mesh_testing::{eventually, loopback};
use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_attribute::Value as Attribute;
use mixer_template::{Metric, Template};
use prost_types::Duration as Span;
use serde_json::json;

use super::Prometheus;
use super::config::Config;
use super::key::Key;
use super::series::{Budget, Family, Value};
use crate::testing::{Built, build, now};

/// Longer than a scrape takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn adapter() -> Prometheus {
    Prometheus::new("127.0.0.1:0".parse().unwrap())
}

fn counter(instance: &str, name: &str, labels: &[&str]) -> serde_json::Value {
    json!({"instance_name": instance, "name": name, "kind": "COUNTER", "label_names": labels})
}

fn sample<'a>(name: &'a str, value: Attribute<'a>, dimensions: &[(&'a str, &'a str)]) -> Metric<'a> {
    Metric {
        name,
        value: Some(value),
        dimensions: dimensions
            .iter()
            .map(|(key, text)| (*key, (*text).into()))
            .collect(),
        ..Metric::default()
    }
}

fn report(handler: &Built, metrics: &[Metric<'_>]) -> Result<(), String> {
    now(handler.metric().handle_metric(metrics))
}

async fn scrape(adapter: &Prometheus) -> String {
    let port = adapter.address().unwrap().port();
    loopback::exchange(port, "GET", "/metrics", "").await.unwrap()
}

/// The lines of one metric.
async fn lines(adapter: &Prometheus, metric: &str) -> Vec<String> {
    let text = scrape(adapter).await;
    let of_it = text.lines().filter(|line| line.starts_with(metric));
    of_it.map(str::to_owned).collect()
}

#[tokio::test]
async fn prometheus_complies() {
    let metric = counter("a.metric.ns", "a", &["strange"]);
    let expected = Compliance {
        accepts: vec![
            json!({}),
            json!({"metrics": [metric], "metricsExpirationPolicy": {"metricsExpiryDuration": "1s"}}),
        ],
        rejects: vec![
            (
                json!({"metrics": [{"kind": "COUNTER"}]}),
                "metrics[0].instanceName",
            ),
            (json!({"metrics": [{"instanceName": "a"}]}), "metrics[0].kind"),
            (
                json!({"metricsExpirationPolicy": {}}),
                "metricsExpirationPolicy.metricsExpiryDuration",
            ),
            (json!({"maxSeries": -1}), "maxSeries"),
        ],
        inferred: [("a.metric.ns".to_owned(), (Template::Metric, Any::default()))].into(),
        ..Compliance::default()
    };
    assert_compliance(&adapter(), &expected).await;
}

/// `spec 02` §7.1, M24.
#[tokio::test]
async fn m24_every_kind_and_every_value_is_shown() {
    let adapter = adapter();
    let handler = build(
        &adapter,
        json!({"metrics": [
            counter("c.metric.ns", "requests_total", &["a.b", "source"]),
            {"instance_name": "g.metric.ns", "name": "load", "kind": "GAUGE"},
            {"instance_name": "d.metric.ns", "name": "seconds", "kind": "DISTRIBUTION", "label_names": ["x"],
             "description": "How long\n\"it\" took", "buckets": {"explicit_buckets": {"bounds": [0.5, 1000000]}}},
        ]}),
    )
    .await
    .unwrap();
    let one = |source| {
        sample(
            "c.metric.ns",
            Attribute::Int64(1),
            &[("a.b", "1"), ("source", source)],
        )
    };
    let gauge = |value| sample("g.metric.ns", value, &[]);
    let time = |seconds, nanos| {
        let span = Attribute::Duration(Span { seconds, nanos });
        sample("d.metric.ns", span, &[("x", "")])
    };
    report(
        &handler,
        &[
            one("v1"),
            one("v1"),
            one("with \"quotes\\"),
            gauge(Attribute::Double(1.5)),
            gauge("-0.5".into()),
            time(0, 250_000_000),
            time(0, 500_000_000),
            time(2, 0),
        ],
    )
    .unwrap();
    let text = scrape(&adapter).await;
    let expected = r#"# HELP istio_load load
# TYPE istio_load gauge
istio_load -0.5
# HELP istio_requests_total requests_total
# TYPE istio_requests_total counter
istio_requests_total{a_b="1",source="v1"} 2
istio_requests_total{a_b="1",source="with \"quotes\\"} 1
# HELP istio_seconds How long\n"it" took
# TYPE istio_seconds histogram
istio_seconds_bucket{x="",le="0.5"} 2
istio_seconds_bucket{x="",le="1e+06"} 3
istio_seconds_bucket{x="",le="+Inf"} 3
istio_seconds_sum{x=""} 2.75
istio_seconds_count{x=""} 3
"#;
    assert!(text.starts_with(expected), "{text}");
    handler.close().await;
}

/// `spec 02` §7.1: an error for that sample; the others count.
#[tokio::test]
async fn a_sample_that_does_not_fit_harms_no_other() {
    let adapter = adapter();
    let params = json!({"metrics": [counter("c.metric.ns", "c", &["a", "b.c"])]});
    let handler = build(&adapter, params).await.unwrap();
    let one = |dimensions| sample("c.metric.ns", Attribute::Int64(1), dimensions);
    for (bad, reason) in [
        (
            one(&[("a", "")]),
            "c.metric.ns: there is no dimension for label b_c",
        ),
        (
            one(&[("a", ""), ("b.c", ""), ("d", "")]),
            "c.metric.ns: d is no label of it",
        ),
        (
            sample("c.metric.ns", "many".into(), &[("a", ""), ("b.c", "")]),
            "c.metric.ns: \"many\" is no number",
        ),
        (
            sample("c.metric.ns", Attribute::Bool(true), &[("a", ""), ("b.c", "")]),
            "c.metric.ns: \"true\" is no number",
        ),
        (
            sample("c.metric.ns", Attribute::Int64(-1), &[("a", ""), ("b.c", "")]),
            "c.metric.ns: -1 cannot be added to a counter",
        ),
        (
            sample(
                "c.metric.ns",
                Attribute::Double(f64::NAN),
                &[("a", ""), ("b.c", "")],
            ),
            "c.metric.ns: NaN cannot be added to a counter",
        ),
        (
            Metric {
                name: "c.metric.ns",
                ..Metric::default()
            },
            "c.metric.ns: there is no value",
        ),
        (
            sample("other.metric.ns", Attribute::Int64(1), &[]),
            "other.metric.ns: the handler has no metric for it",
        ),
    ] {
        let good = one(&[("a", "x"), ("b.c", "y")]);
        assert_eq!(report(&handler, &[bad, good]), Err(reason.to_owned()));
    }
    // By the name of the label instead of that of the dimension, which sorts elsewhere.
    report(&handler, &[one(&[("a", "x"), ("b_c", "y")])]).unwrap();
    let many: Vec<_> = (0..7).map(|_| one(&[])).collect();
    let error = report(&handler, &many).unwrap_err();
    assert!(error.ends_with(" (and 2 more)"), "{error}");
    assert_eq!(lines(&adapter, "istio_c{").await, [r#"istio_c{a="x",b_c="y"} 9"#]);
    handler.close().await;
}

/// Issue of counters that go back: `spec 02` §7.1, pain 24.
#[tokio::test]
async fn m22_counters_never_go_back_when_a_handler_is_replaced() {
    let adapter = adapter();
    let kept = counter("a.metric.ns", "a", &["x"]);
    let first = json!({"metrics": [kept, counter("b.metric.ns", "b", &["x"])]});
    let second = json!({"metrics": [counter("b.metric.ns", "b", &["x", "y"]), kept]});
    let a = sample("a.metric.ns", Attribute::Int64(1), &[("x", "1")]);
    let b = sample("b.metric.ns", Attribute::Int64(1), &[("x", "1")]);
    let old = build(&adapter, first).await.unwrap();
    report(&old, &[a.clone(), b.clone()]).unwrap();
    let address = adapter.address();
    let new = build(&adapter, second).await.unwrap();
    assert_eq!(adapter.address(), address, "the port stays open");
    // Calls that began before still go to the old one.
    report(&old, &[a.clone(), b]).unwrap();
    report(&new, std::slice::from_ref(&a)).unwrap();
    old.close().await;
    report(&new, std::slice::from_ref(&a)).unwrap();
    assert_eq!(lines(&adapter, "istio_a{").await, [r#"istio_a{x="1"} 4"#]);
    assert_eq!(
        lines(&adapter, "istio_b{").await,
        [""; 0],
        "it has other labels now"
    );
    // It is taken away and put back.
    new.close().await;
    let again = build(&adapter, json!({"metrics": [kept]})).await.unwrap();
    report(&again, &[a]).unwrap();
    assert_eq!(lines(&adapter, "istio_a{").await, [r#"istio_a{x="1"} 5"#]);
    again.close().await;
}

/// Pain 24: live series are at most as many as the handler's parameter says, and nothing is lost.
#[tokio::test]
async fn pain_24_what_finds_no_room_is_counted_as_other() {
    let adapter = adapter();
    let params = json!({
        "maxSeries": 10,
        "metrics": [counter("a.metric.ns", "a", &["host"]), counter("b.metric.ns", "b", &["host"])],
    });
    let handler = build(&adapter, params).await.unwrap();
    let hosts: Vec<String> = (0..1000).map(|number| format!("host-{number}")).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for host in &hosts {
                    let dimensions = [("host", host.as_str())];
                    let one = |name| sample(name, Attribute::Int64(1), &dimensions);
                    report(&handler, &[one("a.metric.ns"), one("b.metric.ns")]).unwrap();
                }
            });
        }
    });
    let (a, b) = (
        lines(&adapter, "istio_a{").await,
        lines(&adapter, "istio_b{").await,
    );
    assert_eq!(a.len() + b.len(), 10, "{a:?} {b:?}");
    let mut others = 0;
    for lines in [&a, &b] {
        let values = lines
            .iter()
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        assert_eq!(values.sum::<u64>(), 4000);
        let other = lines.iter().find_map(|line| line.split_once(r#"host="other"} "#));
        others += other.unwrap().1.parse::<u64>().unwrap();
    }
    let told = lines(&adapter, "mixer_prometheus_series_overflow_total{").await;
    let told = told
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    assert_eq!(told.sum::<u64>(), others);
    handler.close().await;
}

/// Pain 24: whoever calls himself `other` is in the series for what finds no room, of which there is one.
#[tokio::test]
async fn pain_24_labels_that_say_other_make_no_second_series() {
    let adapter = adapter();
    let params = json!({
        "maxSeries": 4,
        "metrics": [counter("a.metric.ns", "a", &["host"]), counter("b.metric.ns", "b", &[])],
    });
    let handler = build(&adapter, params).await.unwrap();
    for host in ["other", "one", "two", "three", "other"] {
        let dimensions = [("host", host)];
        let a = sample("a.metric.ns", Attribute::Int64(1), &dimensions);
        let b = sample("b.metric.ns", Attribute::Int64(1), &[]);
        report(&handler, &[a, b]).unwrap();
    }
    assert_eq!(
        lines(&adapter, "istio_a{").await,
        [
            r#"istio_a{host="one"} 1"#,
            r#"istio_a{host="other"} 3"#,
            r#"istio_a{host="two"} 1"#
        ]
    );
    assert_eq!(lines(&adapter, "istio_b ").await, ["istio_b 5"]);
    let told = lines(&adapter, "mixer_prometheus_series_overflow_total{").await;
    let expected = [("a", 1), ("b", 0)].map(|(metric, count)| {
        format!("mixer_prometheus_series_overflow_total{{metric=\"istio_{metric}\"}} {count}")
    });
    assert_eq!(told, expected);
    handler.close().await;
}

/// `spec 02` §7.1: of two metrics of one instance, one that its dimensions do not fit keeps nothing from the other.
#[tokio::test]
async fn a_metric_that_an_instance_does_not_fit_harms_no_other() {
    let adapter = adapter();
    let params =
        json!({"metrics": [counter("a.metric.ns", "x", &["none"]), counter("a.metric.ns", "y", &["a"])]});
    let handler = build(&adapter, params).await.unwrap();
    let one = sample("a.metric.ns", Attribute::Int64(1), &[("a", "1")]);
    assert_eq!(
        report(&handler, &[one]),
        Err("a.metric.ns: there is no dimension for label none".to_owned())
    );
    assert_eq!(lines(&adapter, "istio_y{").await, [r#"istio_y{a="1"} 1"#]);
    handler.close().await;
}

/// M21, M22, pain 24.
#[test]
fn m21_idle_series_go_and_live_ones_keep_their_values() {
    let metric = MetricInfo {
        instance_name: "a.metric.ns".to_owned(),
        kind: Kind::Counter.into(),
        label_names: vec!["x".to_owned()],
        ..MetricInfo::default()
    };
    let config = Config::new(&Params {
        metrics: vec![metric],
        ..Params::default()
    });
    let family = Arc::new(Family::new("a".into(), config.unwrap().metrics.remove(0).shape));
    family.set_expiry(15_000);
    let budget = Budget::new(0, vec![Arc::clone(&family)]);
    let hasher = RandomState::new();
    let record = |label: &str, at| {
        let dimensions = vec![("x", label.into())];
        let mut key = Key::new(&hasher);
        key.set(0, &family.shape.labels, &dimensions).unwrap();
        family.record(&key, 1.0, at, &budget).unwrap();
    };
    let shown = || {
        let samples = family.samples();
        let shown = samples
            .iter()
            .map(|sample| (sample.labels().collect::<String>(), sample.value.clone()));
        shown.collect::<Vec<_>>()
    };
    record("idle", 0);
    record("live", 0);
    for at in [6_000, 12_000, 14_999] {
        record("live", at);
        family.expire(at);
        assert_eq!(shown().len(), 2);
    }
    family.expire(15_000);
    assert_eq!(shown(), [("live".to_owned(), Value::Number(4.0))]);
    assert_eq!(family.live(), 1);
    family.expire(29_999);
    assert_eq!(shown(), []);
}

/// The port is given back with the last handler, and one that is taken is an error.
#[tokio::test]
async fn the_endpoint_is_shared_and_counted() {
    let adapter = adapter();
    let one = build(&adapter, json!({})).await.unwrap();
    let two = build(&adapter, json!({})).await.unwrap();
    let address = adapter.address().unwrap();
    one.close().await;
    scrape(&adapter).await;
    let other = Prometheus::new(address.to_string().parse().unwrap());
    let error = build(&other, json!({})).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    two.close().await;
    eventually(PATIENCE, async || build(&other, json!({})).await.map(|_| ()))
        .await
        .unwrap();
}

/// M20, M23, M24, M68: a real Prometheus scrapes the endpoint and answers queries.
#[tokio::test(flavor = "multi_thread")]
async fn m20_prometheus_scrapes_and_answers() {
    let adapter = adapter();
    let labels = ["method", "path", "user_agent"];
    let params = json!({"metrics": [
        counter("customer.metric.ns", "customer_request_count", &labels),
        {"instance_name": "d.metric.ns", "name": "request_duration_seconds", "kind": "DISTRIBUTION"},
    ]});
    let handler = build(&adapter, params).await.unwrap();
    let prometheus = mesh_testing::prometheus::Prometheus::start(adapter.address().unwrap())
        .await
        .unwrap();
    let dimensions = [("method", "GET"), ("path", "/a\n\"b\""), ("user_agent", "ä\\")];
    for _ in 0..7 {
        report(
            &handler,
            &[
                sample("customer.metric.ns", Attribute::Int64(1), &dimensions),
                sample("d.metric.ns", Attribute::Double(0.3), &[]),
            ],
        )
        .unwrap();
    }
    eventually(PATIENCE, async || {
        let found = prometheus.query("istio_customer_request_count").await?;
        ensure!(found.len() == 1, "{found:?}");
        let (labels, value) = &found[0];
        for (label, text) in dimensions {
            ensure!(labels[label] == text, "{labels}");
        }
        ensure!((*value - 7.0).abs() < f64::EPSILON, "{value}");
        let median = "histogram_quantile(0.5, istio_request_duration_seconds_bucket)";
        let found = prometheus.query(median).await?;
        ensure!(
            found.len() == 1 && (0.25..=0.5).contains(&found[0].1),
            "{found:?}"
        );
        let up = prometheus.query("up").await?;
        ensure!(up.len() == 1 && up[0].1 > 0.0, "{up:?}");
        Ok(())
    })
    .await
    .unwrap();
    handler.close().await;
}
