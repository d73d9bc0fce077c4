use std::time::Duration;

use mixer_adapter::QuotaArgs;
use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_adapters::memquota::{Counters, Grant, Limit, Memquota};
use mixer_template::Template;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{build, instances, once, try_build};

const NAME: &str = "requestquota.instance.weather";

fn limit(max_amount: i64, seconds: u64) -> Limit {
    Limit {
        max_amount,
        valid_duration: Duration::from_secs(seconds),
    }
}

fn part(amount: i64) -> QuotaArgs {
    QuotaArgs {
        best_effort: true,
        ..once(amount)
    }
}

fn same(id: &str, amount: i64) -> QuotaArgs {
    QuotaArgs {
        deduplication_id: id.to_owned(),
        ..once(amount)
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// F-7 of `spec 02` §13.9.
fn book() -> Value {
    json!({"quotas": [{
        "name": NAME, "maxAmount": 10_000, "validDuration": "1s",
        "overrides": [{
            "dimensions": {"source": "frontend", "destination": "forecast"},
            "maxAmount": 100, "validDuration": "1s",
        }],
    }]})
}

#[tokio::test]
async fn memquota_complies() {
    let expected = Compliance {
        accepts: vec![
            Value::Null,
            book(),
            json!({"quotas": [{"name": "requestquota", "maxAmount": 0}], "minDeduplicationDuration": "1ns"}),
        ],
        rejects: vec![
            (
                json!({"minDeduplicationDuration": "0s"}),
                "minDeduplicationDuration",
            ),
            (
                json!({"minDeduplicationDuration": "-1s"}),
                "minDeduplicationDuration",
            ),
            (json!({"quotas": [{"maxAmount": 1}]}), "quotas[0].name"),
            (
                json!({"quotas": [{"name": "a"}, {"name": "a"}]}),
                "quotas[1].name",
            ),
            (
                json!({"quotas": [{"name": "a", "maxAmount": -1}]}),
                "quotas[0].maxAmount",
            ),
            (
                json!({"quotas": [{"name": "a", "validDuration": "-1s"}]}),
                "quotas[0].validDuration",
            ),
            (
                json!({"quotas": [{"name": "a", "overrides": [{"maxAmount": -1}]}]}),
                "quotas[0].overrides[0].maxAmount",
            ),
        ],
        ..Compliance::default()
    };
    assert_compliance(&Memquota, &expected).await;
}

/// §7.8: an instance that is used and has no quota fails the handler; D12: its short name will do.
#[tokio::test]
async fn every_instance_needs_a_quota() {
    use mixer_adapter::SomeAdapter as _;
    let used = instances(Template::Quota, &[NAME]);
    let errors = Memquota
        .configure(&json!({"quotas": [{"name": "other"}]}), &used)
        .unwrap_err();
    assert!(errors.to_string().contains(NAME), "{errors}");
    for name in [NAME, "requestquota"] {
        let params = json!({"quotas": [{"name": name, "maxAmount": 1}]});
        try_build(&Memquota, params, &used).await.expect("a handler");
    }
    // A short name means an instance of the handler's namespace.
    let elsewhere = instances(Template::Quota, &["requestquota.instance.elsewhere"]);
    let params = json!({"quotas": [{"name": "requestquota", "maxAmount": 1}]});
    let error = try_build(&Memquota, params, &elsewhere).await.err().unwrap();
    assert!(
        error.to_string().contains("requestquota.instance.elsewhere"),
        "{error}"
    );
}

/// The book's limits: a pair of workloads has an override, every other pair the quota's own.
#[tokio::test]
async fn m45_m46_overrides_depend_on_both_dimensions() {
    // Windows of an hour, so that the machine may take its time.
    let mut params = book();
    params["quotas"][0]["validDuration"] = json!("1h");
    params["quotas"][0]["overrides"][0]["validDuration"] = json!("1h");
    let handler = build(&Memquota, params).await;
    let pair = [("destination", "forecast"), ("source", "frontend")];
    for _ in 0..100 {
        let granted = handler.quota(NAME, &pair, &once(1)).await;
        assert_eq!(
            (granted.amount, granted.valid_duration),
            (1, Duration::from_secs(3600))
        );
    }
    let refused = handler.quota(NAME, &pair, &once(1)).await;
    assert_eq!((refused.amount, refused.status.code), (0, 0));
    let other = [("destination", "recommendation"), ("source", "frontend")];
    assert_eq!(handler.quota(NAME, &other, &once(10_000)).await.amount, 10_000);
    assert_eq!(handler.quota(NAME, &other, &once(1)).await.amount, 0);
}

/// F-11, the adapter's part: four of five calls within 5 s.
#[test]
fn m77_four_of_five_requests_pass() {
    let mut counters = Counters::new(millis(1000));
    let granted = (0..5).map(|call| {
        let now = millis(call * 200);
        counters.count(now, "requestcount", limit(4, 5), &once(1)).amount
    });
    assert_eq!(granted.collect::<Vec<_>>(), [1, 1, 1, 1, 0]);
    let later = counters.count(millis(5000), "requestcount", limit(4, 5), &once(1));
    assert_eq!(later.amount, 1);
}

#[test]
fn a_part_is_given_to_whoever_welcomes_it() {
    for limit in [limit(10, 0), limit(10, 1)] {
        let mut counters = Counters::new(millis(1000));
        let mut count = |args: &QuotaArgs| counters.count(Duration::ZERO, "key", limit, args);
        assert_eq!(count(&once(11)), Grant::default());
        assert_eq!(count(&once(7)).amount, 7);
        assert_eq!(count(&once(4)).amount, 0);
        let grant = count(&part(4));
        assert_eq!((grant.amount, grant.valid_duration), (3, limit.valid_duration));
        assert_eq!(count(&part(1)).amount, 0);
        assert_eq!(count(&once(0)), Grant::default());
    }
}

#[test]
fn what_is_given_back_can_be_had_again() {
    for limit in [limit(10, 0), limit(10, 1)] {
        let mut counters = Counters::new(millis(1000));
        let mut count = |now, amount| counters.count(millis(now), "key", limit, &once(amount)).amount;
        assert_eq!(count(0, -1), 0);
        assert_eq!([count(0, 4), count(100, 3), count(200, 3)], [4, 3, 3]);
        // From the newest on; not more than was granted.
        assert_eq!(count(300, -5), 5);
        assert_eq!([count(300, 6), count(300, 5)], [0, 5]);
        assert_eq!(count(300, i64::MIN), 10);
        assert_eq!(count(300, 10), 10);
    }
}

#[test]
fn allocations_do_not_expire() {
    let mut counters = Counters::new(millis(1000));
    let mut count = |now, amount| {
        counters
            .count(millis(now), "key", limit(2, 0), &once(amount))
            .amount
    };
    assert_eq!([count(0, 2), count(1_000_000_000, 1)], [2, 0]);
    assert_eq!([count(1_000_000_000, -1), count(1_000_000_000, 1)], [1, 1]);
}

/// Dedup entries live between once and twice the time, and tell what is left of the grant.
#[test]
fn a_call_that_is_made_again_gets_the_same() {
    let mut counters = Counters::new(millis(1000));
    let mut count = |now, args: &QuotaArgs| {
        let grant = counters.count(millis(now), "key", limit(10, 5), args);
        (grant.amount, grant.valid_duration)
    };
    assert_eq!(count(0, &same("a", 6)), (6, millis(5000)));
    assert_eq!(count(900, &same("a", 6)), (6, millis(4100)));
    assert_eq!(count(1000, &same("a", 6)), (6, millis(4000)));
    assert_eq!(count(1900, &same("b", 4)), (4, millis(5000)));
    assert_eq!(count(2100, &same("a", 1)).0, 0);
    assert_eq!(count(2100, &same("b", 4)), (4, millis(4800)));
    // Nobody's calls are told from each other by an empty id.
    assert_eq!(count(2100, &same("", 1)).0, 0);
}

/// Pain 22: zero passes zero, whatever is asked.
#[test]
fn pain_22_zero_passes_zero() {
    let mut counters = Counters::new(millis(1000));
    for limit in [limit(0, 0), limit(0, 1)] {
        for call in 0..100_000 {
            let args = if call % 2 == 0 { once(1) } else { part(5) };
            assert_eq!(counters.count(millis(call), "key", limit, &args).amount, 0);
        }
    }
}

proptest! {
    /// Pain 22: in no window is more granted than the limit, wherever it begins.
    #[test]
    fn pain_22_never_more_than_the_limit_in_any_window(
        max_amount in 0_i64..50,
        window in 1_u64..4,
        calls in prop::collection::vec((0_u64..700, 1_i64..20, any::<bool>()), 1..200),
    ) {
        let mut counters = Counters::new(millis(1000));
        let mut now = 0;
        let mut granted: Vec<(u64, i64)> = Vec::new();
        for (pause, amount, best_effort) in calls {
            now += pause;
            let args = QuotaArgs { best_effort, ..once(amount) };
            let grant = counters.count(millis(now), "key", limit(max_amount, window), &args).amount;
            prop_assert!(grant == amount || grant == 0 || (best_effort && grant < amount));
            granted.push((now, grant));
            let begin = (now + 1).saturating_sub(window * 1000);
            let sum: i64 = granted.iter().filter(|(time, _)| *time >= begin).map(|(_, grant)| grant).sum();
            prop_assert!(sum <= max_amount, "{sum} of {max_amount} since {begin}: {granted:?}");
        }
    }

    /// Whoever waits for as long as the window is long gets everything again.
    #[test]
    fn a_whole_window_later_all_is_there(calls in prop::collection::vec((0_u64..700, 1_i64..20), 1..50)) {
        let mut counters = Counters::new(millis(1000));
        let mut now = 0;
        for (pause, amount) in calls {
            now += pause;
            counters.count(millis(now), "key", limit(40, 2), &once(amount));
        }
        let all = counters.count(millis(now + 2000), "key", limit(40, 2), &once(40));
        prop_assert_eq!(all.amount, 40);
    }
}
