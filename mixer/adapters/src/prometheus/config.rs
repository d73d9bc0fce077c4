//! Parameters as definitions of metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::adapter::prometheus::config::Params;
use mesh_api::adapter::prometheus::config::params::metric_info::buckets_definition::Definition as Buckets;
use mesh_api::adapter::prometheus::config::params::metric_info::{BucketsDefinition, Kind as KindParam};
use mesh_api::adapter::prometheus::config::params::{MetricInfo, MetricsExpirationPolicy};
use mixer_adapter::ConfigErrors;

/// First part of every name.
const NAMESPACE: &str = "istio";

/// Buckets of a distribution without any: those of Prometheus' own clients.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Series that the metrics of a handler may have together, unless it is said.
const SERIES: i64 = 100_000;

/// Most buckets of a distribution: each costs memory in every series.
const MOST_BUCKETS: usize = 1000;

/// It is not looked more often for series that are to go.
const SHORTEST_CHECK: Duration = Duration::from_millis(100);

/// A handler's parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Config {
    pub(super) metrics: Vec<Definition>,
    pub(super) expiry: Option<Expiry>,
    /// How many series the metrics may have together; 0: as many as come.
    pub(super) series: usize,
}

/// When series go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry {
    pub(super) after: Duration,
    pub(super) check: Duration,
}

/// A metric.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Definition {
    /// Full name of the instance with its values.
    pub(super) instance: String,
    pub(super) name: String,
    pub(super) help: String,
    pub(super) shape: Shape,
}

/// What of a metric must be the same for its values to be kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    /// Sorted by the name of the dimension.
    pub(super) labels: Vec<Label>,
}

/// What is done with values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Gauge,
    Counter,
    /// Upper bounds, ascending, without infinity.
    Distribution(Vec<f64>),
}

/// A label and where its values come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label {
    pub(super) dimension: String,
    pub(super) name: String,
}

/// Parameters that nobody gave.
pub(super) fn defaults() -> Params {
    Params {
        max_series: SERIES,
        ..Params::default()
    }
}

/// A name as Prometheus takes it: as far as that is possible, it may still be none.
pub(super) fn sanitized(name: &str) -> String {
    name.strip_prefix('/')
        .unwrap_or(name)
        .chars()
        .filter(|&letter| letter != '-')
        .map(|letter| {
            if matches!(letter, '/' | '.' | ' ') {
                '_'
            } else {
                letter
            }
        })
        .collect()
}

// === impl Config ===

impl Config {
    /// Reads parameters; all that is wrong with them is told.
    pub(super) fn new(params: &Params) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let mut metrics: Vec<Definition> = Vec::new();
        for (number, info) in params.metrics.iter().enumerate() {
            let at = format!("metrics[{number}]");
            let Some(definition) = Definition::new(info, &at, &mut errors) else {
                continue;
            };
            let same = |other: &&Definition| other.name == definition.name && other.shape != definition.shape;
            if let Some(other) = metrics.iter().find(same) {
                let reason = format!("{} is defined differently for {}", other.name, other.instance);
                errors.push(format!("{at}.name"), reason);
            }
            metrics.push(definition);
        }
        let expiry = params
            .metrics_expiration_policy
            .as_ref()
            .map(|policy| Expiry::new(policy, &mut errors));
        let series = usize::try_from(params.max_series).unwrap_or_else(|_| {
            errors.push("maxSeries", "it is negative");
            0
        });
        // Each metric has room for what finds none.
        if series != 0 && series < metrics.len() {
            let reason = format!(
                "it must be 0 or at least {}, a series for each metric",
                metrics.len()
            );
            errors.push("maxSeries", reason);
        }
        if errors.is_empty() {
            Ok(Self {
                metrics,
                expiry,
                series,
            })
        } else {
            Err(errors)
        }
    }
}

// === impl Expiry ===

impl Expiry {
    fn new(policy: &MetricsExpirationPolicy, errors: &mut ConfigErrors) -> Self {
        let field = |name: &str| format!("metricsExpirationPolicy.{name}");
        let name = field("metricsExpiryDuration");
        let before = errors.0.len();
        let after = errors.duration(&name, policy.metrics_expiry_duration.as_ref());
        if after.is_zero() && errors.0.len() == before {
            errors.push(name, "must be greater than 0");
        }
        let name = field("expiryCheckIntervalDuration");
        let check = match errors.duration(&name, policy.expiry_check_interval_duration.as_ref()) {
            Duration::ZERO => after / 2,
            check => check,
        };
        Self {
            after,
            check: check.max(SHORTEST_CHECK),
        }
    }
}

// === impl Definition ===

impl Definition {
    fn new(info: &MetricInfo, at: &str, errors: &mut ConfigErrors) -> Option<Self> {
        let before = errors.0.len();
        if info.instance_name.is_empty() {
            errors.push(format!("{at}.instanceName"), "it is required");
        }
        let namespace = match info.namespace.as_str() {
            "" => NAMESPACE.to_owned(),
            given => sanitized(given),
        };
        let name = if info.name.is_empty() {
            &info.instance_name
        } else {
            &info.name
        };
        let short = sanitized(name);
        let name = format!("{namespace}_{short}");
        if !is_name(&name, true) {
            errors.push(
                format!("{at}.name"),
                format!("{name:?} is no name of a metric of Prometheus"),
            );
        }
        let kind = kind(info, at, errors);
        let labels = labels(info, at, errors);
        let kind = kind.filter(|_| errors.0.len() == before)?;
        let help = if info.description.is_empty() {
            short
        } else {
            info.description.clone()
        };
        Some(Self {
            instance: info.instance_name.clone(),
            name,
            help,
            shape: Shape { kind, labels },
        })
    }
}

fn kind(info: &MetricInfo, at: &str, errors: &mut ConfigErrors) -> Option<Kind> {
    match info.kind() {
        KindParam::Unspecified => {
            errors.push(
                format!("{at}.kind"),
                "it must be one of GAUGE, COUNTER, DISTRIBUTION",
            );
            None
        }
        KindParam::Gauge => Some(Kind::Gauge),
        KindParam::Counter => Some(Kind::Counter),
        KindParam::Distribution => match bounds(info.buckets.as_ref()) {
            Ok(bounds) => Some(Kind::Distribution(bounds)),
            Err((field, reason)) => {
                errors.push(format!("{at}.buckets.{field}"), reason);
                None
            }
        },
    }
}

/// The upper bounds of buckets, without infinity, which is always there.
fn bounds(buckets: Option<&BucketsDefinition>) -> Result<Vec<f64>, (&'static str, String)> {
    let Some(buckets) = buckets.and_then(|buckets| buckets.definition.as_ref()) else {
        return Ok(BUCKETS.to_vec());
    };
    let count = |field, number: i32| match usize::try_from(number) {
        Ok(number @ 1..=MOST_BUCKETS) => Ok(number),
        _ => Err((field, format!("it must be from 1 to {MOST_BUCKETS}"))),
    };
    let (field, bounds): (_, Vec<f64>) = match buckets {
        Buckets::LinearBuckets(linear) => {
            let last = count("linearBuckets.numFiniteBuckets", linear.num_finite_buckets)?;
            let bound = |number| linear.offset + linear.width * f64::from(number);
            ("linearBuckets", (0_u32..).take(last + 1).map(bound).collect())
        }
        Buckets::ExponentialBuckets(exponential) => {
            let last = count(
                "exponentialBuckets.numFiniteBuckets",
                exponential.num_finite_buckets,
            )?;
            let bound = |number| exponential.scale * exponential.growth_factor.powi(number);
            (
                "exponentialBuckets",
                (0_i32..).take(last + 1).map(bound).collect(),
            )
        }
        Buckets::ExplicitBuckets(explicit) => {
            let bounds = explicit.bounds.as_slice();
            let finite = bounds.strip_suffix(&[f64::INFINITY]).unwrap_or(bounds);
            if finite.len() > MOST_BUCKETS {
                return Err(("explicitBuckets", format!("there are more than {MOST_BUCKETS}")));
            }
            let finite = if bounds.is_empty() { &BUCKETS[..] } else { finite };
            ("explicitBuckets", finite.to_vec())
        }
    };
    let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || bounds.iter().any(|bound| !bound.is_finite()) {
        return Err((
            field,
            "the bounds are not finite and in ascending order".to_owned(),
        ));
    }
    Ok(bounds)
}

fn labels(info: &MetricInfo, at: &str, errors: &mut ConfigErrors) -> Vec<Label> {
    let mut known: BTreeMap<String, &str> = BTreeMap::new();
    let mut labels = Vec::with_capacity(info.label_names.len());
    for (number, dimension) in info.label_names.iter().enumerate() {
        let at = format!("{at}.labelNames[{number}]");
        let name = sanitized(dimension);
        if !is_name(&name, false) || name.starts_with("__") {
            errors.push(at, format!("{name:?} is no name of a label of Prometheus"));
        } else if name == "le" && info.kind() == KindParam::Distribution {
            errors.push(at, "le is the label of a distribution's buckets");
        } else if let Some(other) = known.insert(name.clone(), dimension) {
            errors.push(at, format!("{other} gives the same label {name}"));
        }
        labels.push(Label {
            dimension: dimension.clone(),
            name,
        });
    }
    labels.sort();
    labels
}

fn is_name(name: &str, colons: bool) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || colons && letter == ':')
}

#[cfg(test)]
mod tests {
    use mixer_adapter::merge;
    use serde_json::{Value, json};

    use super::*;

    fn config(params: &Value) -> Result<Config, String> {
        let params: Params = merge(&defaults(), params).unwrap();
        Config::new(&params).map_err(|errors| errors.to_string())
    }

    fn metric(fields: &Value) -> Result<Definition, String> {
        let mut metric = json!({"instance_name": "a.metric.b", "kind": "COUNTER"});
        for (key, value) in fields.as_object().unwrap() {
            metric[key] = value.clone();
        }
        config(&json!({"metrics": [metric]})).map(|mut config| config.metrics.remove(0))
    }

    /// `spec 02` §7.1, M23.
    #[test]
    fn m23_names_have_a_namespace_and_are_sanitized() {
        for (fields, name, help) in [
            (
                json!({"name": "requests_total"}),
                "istio_requests_total",
                "requests_total",
            ),
            (json!({"name": "/a/b.c d-e"}), "istio_a_b_c_de", "a_b_c_de"),
            (json!({"name": "x", "namespace": "my.mesh"}), "my_mesh_x", "x"),
            (json!({}), "istio_a_metric_b", "a_metric_b"),
        ] {
            let metric = metric(&fields).unwrap();
            assert_eq!(
                (metric.name.as_str(), metric.help.as_str()),
                (name, help),
                "{fields}"
            );
        }
        assert_eq!(metric(&json!({"description": "What"})).unwrap().help, "What");
    }

    /// The book's handler of several metrics that go after 15 s.
    #[test]
    fn m22_metrics_of_http_and_of_tcp_expire_after_15_seconds() {
        let info = |name: &str, kind: &str| json!({"name": name, "instance_name": format!("{name}.instance.istio-system"), "kind": kind});
        let config = config(&json!({
            "metrics": [
                info("requests_total", "COUNTER"), info("request_duration_seconds", "DISTRIBUTION"),
                info("tcp_sent_bytes_total", "COUNTER"), info("tcp_connections_opened_total", "COUNTER"),
            ],
            "metricsExpirationPolicy": {"metricsExpiryDuration": "15s"},
        }))
        .unwrap();
        let names: Vec<_> = config.metrics.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "istio_requests_total",
                "istio_request_duration_seconds",
                "istio_tcp_sent_bytes_total",
                "istio_tcp_connections_opened_total"
            ]
        );
        let expiry = config.expiry.unwrap();
        assert_eq!(
            (expiry.after, expiry.check),
            (Duration::from_secs(15), Duration::from_millis(7500))
        );
        assert_eq!(config.series, 100_000);
    }

    #[test]
    fn buckets_have_three_forms_and_a_default() {
        let bounds = |buckets: Value| {
            let metric = metric(&json!({"kind": "DISTRIBUTION", "buckets": buckets}))?;
            match metric.shape.kind {
                Kind::Distribution(bounds) => Ok(bounds),
                kind => Err(format!("{kind:?}")),
            }
        };
        assert_eq!(bounds(Value::Null).unwrap(), BUCKETS);
        assert_eq!(bounds(json!({"explicit_buckets": {}})).unwrap(), BUCKETS);
        assert_eq!(
            bounds(json!({"linear_buckets": {"num_finite_buckets": 3, "width": 2, "offset": 1}})).unwrap(),
            [1.0, 3.0, 5.0, 7.0]
        );
        assert_eq!(
            bounds(json!({"exponentialBuckets": {"numFiniteBuckets": 3, "growthFactor": 10, "scale": 1}}))
                .unwrap(),
            [1.0, 10.0, 100.0, 1000.0]
        );
        assert_eq!(
            bounds(json!({"explicit_buckets": {"bounds": [0.5, 1, "Infinity"]}})).unwrap(),
            [0.5, 1.0]
        );
        for buckets in [
            json!({"linear_buckets": {"num_finite_buckets": 0, "width": 2}}),
            json!({"linear_buckets": {"num_finite_buckets": 2147483647, "width": 2}}),
            json!({"linear_buckets": {"num_finite_buckets": 2, "width": 0}}),
            json!({"exponential_buckets": {"num_finite_buckets": 2, "growth_factor": 1, "scale": 1}}),
            json!({"exponential_buckets": {"num_finite_buckets": 1000, "growth_factor": 10, "scale": 1}}),
            json!({"explicit_buckets": {"bounds": [1, 1]}}),
            json!({"explicit_buckets": {"bounds": ["NaN", 1]}}),
        ] {
            let error = bounds(buckets).unwrap_err();
            assert!(error.starts_with("metrics[0].buckets."), "{error}");
        }
    }

    #[test]
    fn m21_the_check_is_half_the_expiry_unless_given() {
        let expiry = |policy: Value| config(&json!({"metrics_expiration_policy": policy})).map(|c| c.expiry);
        assert_eq!(
            expiry(json!({"metrics_expiry_duration": "5m", "expiry_check_interval_duration": "30s"})),
            Ok(Some(Expiry {
                after: Duration::from_secs(300),
                check: Duration::from_secs(30)
            }))
        );
        assert_eq!(
            expiry(json!({"metrics_expiry_duration": "5m"})),
            Ok(Some(Expiry {
                after: Duration::from_secs(300),
                check: Duration::from_secs(150)
            }))
        );
        assert!(expiry(json!({})).is_err());
        assert!(expiry(json!({"metrics_expiry_duration": "-1s"})).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (params, expected) in [
            (
                json!({"metrics": [{"kind": "GAUGE"}]}),
                "metrics[0].instanceName: it is required",
            ),
            (
                json!({"metrics": [{"instance_name": "a"}]}),
                "metrics[0].kind: it must be one of GAUGE, COUNTER, DISTRIBUTION",
            ),
            (
                json!({"metrics": [{"instance_name": "a", "kind": "GAUGE", "name": "ä"}]}),
                "metrics[0].name: \"istio_ä\" is no name of a metric of Prometheus",
            ),
            (
                json!({"metrics": [{"instance_name": "a", "kind": "GAUGE", "label_names": ["a.b", "a/b"]}]}),
                "metrics[0].labelNames[1]: a.b gives the same label a_b",
            ),
            (
                json!({"metrics": [{"instance_name": "a", "kind": "DISTRIBUTION", "label_names": ["le"]}]}),
                "metrics[0].labelNames[0]: le is the label of a distribution's buckets",
            ),
            (
                json!({"metrics": [
                    {"instance_name": "a", "name": "x", "kind": "GAUGE"},
                    {"instance_name": "b", "name": "x", "kind": "COUNTER"},
                ]}),
                "metrics[1].name: istio_x is defined differently for a",
            ),
            (json!({"max_series": -1}), "maxSeries: it is negative"),
            (
                json!({"maxSeries": 1, "metrics": [
                    {"instance_name": "a", "kind": "GAUGE"}, {"instance_name": "b", "kind": "GAUGE"},
                ]}),
                "maxSeries: it must be 0 or at least 2, a series for each metric",
            ),
        ] {
            assert_eq!(config(&params).unwrap_err(), expected);
        }
    }
}
