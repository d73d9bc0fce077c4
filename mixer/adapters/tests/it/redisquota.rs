use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mesh_runtime::Spawner;
use mesh_testing::eventually;
use mesh_testing::redis::Redis;
use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_adapter::{QuotaArgs, SomeAdapter as _};
use mixer_adapters::memquota::{Counters, Limit};
use mixer_adapters::redisquota::{Algorithm, Call, Counted, Redisquota, Scripts};
use mixer_template::Template;
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::support::{Running, build, instances, once, try_build};

const NAME: &str = "requestquota.instance.weather";

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a Redis is away with `MESH_TEST_FULL`.
const AWAY: Duration = Duration::from_secs(60);

const EXHAUSTED: i32 = 8;
const UNAVAILABLE: i32 = 14;

fn params(redis: &Redis, quota: Value) -> Value {
    let mut quota = quota;
    quota["name"] = json!(NAME);
    json!({"redisServerUrl": redis.address(), "connectionPoolSize": 2, "quotas": [quota]})
}

/// F-8 of `spec 02` §13.9, with windows of an hour, so that the machine may take its time.
fn book(redis: &Redis) -> Value {
    params(
        redis,
        json!({
            "maxAmount": 10_000, "validDuration": "1h", "bucketDuration": "720s",
            "rateLimitAlgorithm": "ROLLING_WINDOW",
            "overrides": [{"dimensions": {"source": "frontend", "destination": "forecast"}, "maxAmount": 100}],
        }),
    )
}

#[tokio::test]
async fn redisquota_complies() {
    let redis = Redis::start().await.unwrap();
    let quota = |quota: Value| json!({"quotas": [quota]});
    let fixed = json!({"name": "q", "maxAmount": 5, "validDuration": "1s"});
    let rolling = |bucket: &str| {
        quota(json!({
            "name": "q", "validDuration": "1s", "rateLimitAlgorithm": "ROLLING_WINDOW", "bucketDuration": bucket,
        }))
    };
    let other = |other: Value| quota(json!({"name": "q", "validDuration": "1s", "overrides": [other]}));
    let url = |url: &str| json!({"redisServerUrl": url, "quotas": [fixed.clone()]});
    let expected = Compliance {
        accepts: vec![
            book(&redis),
            params(&redis, json!({"maxAmount": 0, "validDuration": "1s"})),
        ],
        rejects: vec![
            (Value::Null, "quotas"),
            (json!({"quotas": []}), "quotas"),
            (quota(json!({"validDuration": "1s"})), "quotas[0].name"),
            (quota(json!({"name": "q"})), "quotas[0].validDuration"),
            (
                quota(json!({"name": "q", "validDuration": "-1s"})),
                "quotas[0].validDuration",
            ),
            (
                quota(json!({"name": "q", "validDuration": "1s", "maxAmount": -1})),
                "quotas[0].maxAmount",
            ),
            (rolling("0s"), "quotas[0].bucketDuration"),
            (rolling("1s"), "quotas[0].bucketDuration"),
            (rolling("2s"), "quotas[0].bucketDuration"),
            (
                other(json!({"maxAmount": 1})),
                "quotas[0].overrides[0].dimensions",
            ),
            (
                other(json!({"dimensions": {"a": "b"}})),
                "quotas[0].overrides[0].maxAmount",
            ),
            (url("nowhere"), "redisServerUrl"),
            (url(":6379"), "redisServerUrl"),
            (
                json!({"connectionPoolSize": -1, "quotas": [fixed.clone()]}),
                "connectionPoolSize",
            ),
        ],
        ..Compliance::default()
    };
    assert_compliance(&Redisquota, &expected).await;
    let unused = Redisquota.configure(&url("localhost:6379"), &instances(Template::Quota, &[NAME]));
    assert!(unused.unwrap_err().to_string().contains(NAME));
}

/// §7.9: who cannot be reached is no Redis.
#[tokio::test]
async fn a_redis_that_is_not_there_makes_the_handler_invalid() {
    let mut redis = Redis::start().await.unwrap();
    redis.kill();
    let error = try_build(&Redisquota, book(&redis), &instances(Template::Quota, &[NAME])).await;
    let error = error.err().unwrap();
    assert!(error.to_string().contains(&redis.address()), "{error}");
}

/// Two Mixers share every limit to the last request, and an override has its own.
#[tokio::test]
async fn m50_limits_hold_across_two_handlers() {
    let redis = Redis::start().await.unwrap();
    let mixers = [
        build(&Redisquota, book(&redis)).await,
        build(&Redisquota, book(&redis)).await,
    ];
    let pair = [("destination", "forecast"), ("source", "frontend")];
    let ask = async |mixer: &Running| {
        let mut granted = 0;
        for _ in 0..80 {
            granted += mixer.quota(NAME, &pair, &once(1)).await.amount;
        }
        granted
    };
    let (one, other) = futures::join!(ask(&mixers[0]), ask(&mixers[1]));
    assert_eq!(one + other, 100, "{one} and {other}");
    let refused = mixers[0].quota(NAME, &pair, &once(1)).await;
    assert_eq!(
        (refused.status.code, refused.status.message.as_str()),
        (EXHAUSTED, "redisquota: Resource exhausted")
    );
    // All others have one counter together, whatever their dimensions are.
    for (mixer, source) in [(&mixers[0], "a"), (&mixers[1], "b")] {
        let granted = mixer.quota(NAME, &[("source", source)], &once(5000)).await;
        assert_eq!(
            (granted.amount, granted.valid_duration),
            (5000, Duration::from_secs(3600))
        );
    }
    assert_eq!(mixers[0].quota(NAME, &[], &once(1)).await.amount, 0);
}

/// §7.9: nothing stays in Redis for ever.
#[tokio::test]
async fn all_keys_expire() {
    let redis = Redis::start().await.unwrap();
    let handler = build(&Redisquota, book(&redis)).await;
    let args = QuotaArgs {
        deduplication_id: "call".to_owned(),
        ..once(1)
    };
    handler.quota(NAME, &[], &args).await;
    for key in [
        format!("{NAME}.meta"),
        format!("{NAME}.data"),
        format!("call-{NAME}.meta"),
    ] {
        let left = redis.command(&format!("PTTL {key}")).await.unwrap();
        let left: i64 = left.trim_start_matches(':').parse().unwrap();
        assert!((1..=3_600_000).contains(&left), "{key}: {left}");
    }
}

#[tokio::test]
async fn a_part_and_the_same_again() {
    let redis = Redis::start().await.unwrap();
    for algorithm in ["FIXED_WINDOW", "ROLLING_WINDOW"] {
        redis.command("FLUSHALL").await.unwrap();
        let quota = json!({
            "maxAmount": 10, "validDuration": "1h", "bucketDuration": "1s", "rateLimitAlgorithm": algorithm,
        });
        let handler = build(&Redisquota, params(&redis, quota)).await;
        let args = QuotaArgs {
            deduplication_id: "call".to_owned(),
            ..once(7)
        };
        for _ in 0..3 {
            let granted = handler.quota(NAME, &[], &args).await;
            assert_eq!(granted.amount, 7, "{algorithm}");
            assert!(granted.valid_duration <= Duration::from_secs(3600));
        }
        assert_eq!(handler.quota(NAME, &[], &once(4)).await.status.code, EXHAUSTED);
        let part = QuotaArgs {
            best_effort: true,
            ..once(4)
        };
        assert_eq!(handler.quota(NAME, &[], &part).await.amount, 3);
        assert_eq!(handler.quota(NAME, &[], &part).await.status.code, EXHAUSTED);
        assert_eq!(handler.quota(NAME, &[], &once(0)).await.status.code, 0);
        assert_eq!(handler.quota(NAME, &[], &once(-20)).await.amount, 10);
        assert_eq!(handler.quota(NAME, &[], &once(10)).await.amount, 10);
        handler.close().await;
    }
}

/// A Redis that goes away grants nothing, says that this is not because of the limit, and is used again when it is
/// back, although it has forgotten the scripts.
#[tokio::test]
async fn pain_22_redis_away_and_back() {
    let mut redis = Redis::start().await.unwrap();
    let handler = build(&Redisquota, book(&redis)).await;
    assert_eq!(handler.quota(NAME, &[], &once(1)).await.amount, 1);
    redis.kill();
    let full = std::env::var_os("MESH_TEST_FULL").is_some();
    let gone = Instant::now();
    let mut calls = 0;
    while calls < 20 || full && gone.elapsed() < AWAY {
        let nothing = handler.quota(NAME, &[], &once(1)).await;
        assert_eq!((nothing.amount, nothing.status.code), (0, UNAVAILABLE));
        calls += 1;
        tokio::task::yield_now().await;
    }
    redis.restart().await.unwrap();
    let again = Instant::now();
    recovered(&handler).await;
    eprintln!(
        "{calls} calls while it was away; used again after {:?}",
        again.elapsed()
    );
    // One that answers nothing for a while: callers wait as long as they like, and not at all once that is known.
    redis.pause().unwrap();
    eventually(PATIENCE, async || {
        let args = once(1);
        let call = handler.quota(NAME, &[], &args);
        match tokio::time::timeout(Duration::from_millis(20), call).await {
            Ok(answered) => {
                assert_eq!((answered.amount, answered.status.code), (0, UNAVAILABLE));
                Ok(())
            }
            Err(_) => Err("the caller has waited in vain"),
        }
    })
    .await
    .unwrap();
    redis.resume().unwrap();
    recovered(&handler).await;
}

async fn recovered(handler: &Running) {
    eventually(PATIENCE, async || {
        let result = handler.quota(NAME, &[], &once(1)).await;
        if result.amount == 1 {
            Ok(())
        } else {
            Err(format!("{:?}", result.status))
        }
    })
    .await
    .unwrap();
}

/// A quota with a clock of our own. Windows are minutes long, so that Redis forgets nothing before its time.
struct Clocked {
    connection: MultiplexedConnection,
    scripts: Scripts,
    call: Call,
}

impl Clocked {
    async fn new(redis: &Redis, key: &str, algorithm: Algorithm, max_amount: i64, window: Duration) -> Self {
        let client = redis::Client::open(format!("redis://{}", redis.address())).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        Self {
            connection,
            scripts: Scripts::default(),
            call: Call {
                key: key.to_owned(),
                algorithm,
                max_amount,
                valid_duration: window,
                amount: 0,
                best_effort: false,
                deduplication_id: String::new(),
                now: None,
            },
        }
    }

    async fn count(&mut self, now: Duration, args: &QuotaArgs) -> Counted {
        let call = Call {
            amount: args.amount,
            best_effort: args.best_effort,
            deduplication_id: args.deduplication_id.clone(),
            now: Some(now),
            ..self.call.clone()
        };
        self.scripts.count(&mut self.connection, &call).await.unwrap()
    }
}

const MINUTES: Duration = Duration::from_secs(600);

/// A fixed window grants its limit twice around its end, and nothing for its remainder once it is full.
#[tokio::test]
async fn m48_a_fixed_window_has_two_bursts() {
    let redis = Redis::start().await.unwrap();
    let mut quota = Clocked::new(&redis, "fixed", Algorithm::FixedWindow, 1000, MINUTES).await;
    // It begins with the first grant.
    let begin = Duration::from_secs(7);
    assert_eq!(quota.count(begin, &once(1)).await.valid_duration, MINUTES);
    let end = begin + MINUTES;
    let late = end - Duration::from_secs(60);
    let burst = quota.count(late, &once(999)).await;
    assert_eq!(
        (burst.amount, burst.valid_duration),
        (999, Duration::from_secs(60))
    );
    let before_end = end - Duration::from_micros(1);
    assert_eq!(quota.count(before_end, &once(1)).await.amount, 0);
    let next = quota.count(end, &once(1000)).await;
    assert_eq!((next.amount, next.valid_duration), (1000, MINUTES));
    assert_eq!(quota.count(end, &once(1)).await.amount, 0);
}

/// A rolling window does not.
#[tokio::test]
async fn m49_a_rolling_window_has_one_burst() {
    let redis = Redis::start().await.unwrap();
    let bucket = Duration::from_secs(60);
    let algorithm = Algorithm::RollingWindow { bucket };
    let mut quota = Clocked::new(&redis, "rolling", algorithm, 1000, MINUTES).await;
    let late = MINUTES * 3 - Duration::from_secs(60);
    assert_eq!(quota.count(late, &once(1000)).await.amount, 1000);
    assert_eq!(quota.count(MINUTES * 3, &once(1000)).await.amount, 0);
    let almost = late + MINUTES - Duration::from_micros(1);
    assert_eq!(quota.count(almost, &once(1)).await.amount, 0);
    assert_eq!(quota.count(late + MINUTES, &once(1000)).await.amount, 1000);
}

/// A call of a sequence: how long after the one before, how much of what there is, and how.
#[derive(Clone, Debug)]
struct Timed {
    pause: Duration,
    amount: i64,
    best_effort: bool,
    has_id: bool,
    /// It is made again at once.
    again: bool,
}

fn timed() -> impl Strategy<Value = Timed> {
    let pause = prop_oneof![
        Just(Duration::ZERO),
        (0_u64..100_000).prop_map(Duration::from_micros),
        (0_u64..60_000).prop_map(Duration::from_millis),
        // As old as the window, and what is just older and younger.
        (0_u64..3).prop_map(|micro| MINUTES - Duration::from_micros(1) + Duration::from_micros(micro)),
    ];
    // One in ten gives back.
    let amount = (1_i64..120, 0..10).prop_map(|(amount, kind)| if kind == 0 { -amount } else { amount });
    (pause, amount, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(pause, amount, best_effort, has_id, again)| Timed {
            pause,
            amount,
            best_effort,
            has_id,
            again,
        },
    )
}

/// Pain 22: the same calls at the same times get the same from both, and in no window more than the limit. Both are
/// told the time: `memquota`'s counters take it as an argument, and so do the scripts, which ask the clock of the
/// Redis only when nobody tells them.
#[test]
fn pain_22_memquota_and_redisquota_answer_alike() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(Redis::start()).unwrap();
    let round = AtomicU32::new(0);
    let config = Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    };
    let limits = prop_oneof![Just(0_i64), 1_i64..10, 10_i64..300];
    let calls = prop::collection::vec(timed(), 1..100);
    TestRunner::new(config)
        .run(&(limits, calls), |(max_amount, calls)| {
            let key = format!("round{}", round.fetch_add(1, Ordering::Relaxed));
            runtime.block_on(alike(&redis, &key, max_amount, calls))
        })
        .unwrap();
}

async fn alike(redis: &Redis, key: &str, max_amount: i64, calls: Vec<Timed>) -> Result<(), TestCaseError> {
    let bucket = Duration::from_millis(100);
    let algorithm = Algorithm::RollingWindow { bucket };
    let mut shared = Clocked::new(redis, key, algorithm, max_amount, MINUTES).await;
    let mut memory = Counters::new(Duration::from_secs(1));
    let limit = Limit {
        max_amount,
        valid_duration: MINUTES,
    };
    let mut now = Duration::from_secs(1_552_989_600);
    let mut granted: Vec<(Duration, i64)> = Vec::new();
    let mut gave_back = false;
    for (number, call) in calls.into_iter().enumerate() {
        now += call.pause;
        let args = QuotaArgs {
            deduplication_id: if call.has_id {
                format!("call{number}")
            } else {
                String::new()
            },
            best_effort: call.best_effort,
            ..once(call.amount)
        };
        for attempt in 0..=u32::from(call.again) {
            let one = memory.count(now, "key", limit, &args);
            let other = shared.count(now, &args).await;
            prop_assert_eq!(
                one.amount,
                other.amount,
                "call {}: {:?} at {:?}",
                number,
                args,
                now
            );
            if call.amount < 0 {
                gave_back = true;
            } else if attempt == 0 || !call.has_id {
                granted.push((now, other.amount));
            }
        }
        let within = granted.iter().filter(|(time, _)| now - *time < MINUTES);
        let sum: i64 = within.map(|(_, amount)| amount).sum();
        prop_assert!(gave_back || sum <= max_amount, "{} of {}", sum, max_amount);
    }
    Ok(())
}

/// Pain 22: zero passes zero, in every window and whatever is asked.
#[tokio::test]
async fn pain_22_zero_passes_zero() {
    let redis = Redis::start().await.unwrap();
    let bucket = Duration::from_secs(1);
    for (key, algorithm) in [
        ("fixed", Algorithm::FixedWindow),
        ("rolling", Algorithm::RollingWindow { bucket }),
    ] {
        let mut quota = Clocked::new(&redis, key, algorithm, 0, MINUTES).await;
        for call in 0..2000 {
            let args = QuotaArgs {
                best_effort: call % 2 == 0,
                ..once(i64::from(call % 7) + 1)
            };
            assert_eq!(quota.count(Duration::from_secs(10) * call, &args).await.amount, 0);
        }
    }
}

/// Who answers something else than Redis does is no Redis, and who does not answer makes nobody wait for long.
#[tokio::test]
async fn hostile_servers_make_the_handler_invalid() {
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
        b"-ERR unknown command\r\n-ERR unknown command\r\n-ERR unknown command\r\n-ERR no\r\n",
        b"$-7\r\n\xff\xff",
        b"*1000000000\r\n",
        b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
        b"",
    ] {
        let (listener, address) = mesh_testing::ports::listen().await.unwrap();
        Spawner::default().spawn("server", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Whoever is gone is not answered.
                let _ = stream.write_all(answer).await;
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
        });
        let params = json!({
            "redisServerUrl": address.to_string(),
            "quotas": [{"name": NAME, "maxAmount": 1, "validDuration": "1s"}],
        });
        let error = try_build(&Redisquota, params, &instances(Template::Quota, &[NAME])).await;
        let error = error.err().unwrap().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
    }
}

/// A Redis that cannot count one thing still counts all others.
#[tokio::test]
async fn a_key_that_is_something_else_harms_no_other() {
    let redis = Redis::start().await.unwrap();
    let handler = build(&Redisquota, book(&redis)).await;
    redis.command(&format!("SET {NAME}.meta text")).await.unwrap();
    let pair = [("destination", "forecast"), ("source", "frontend")];
    for _ in 0..5 {
        let nothing = handler.quota(NAME, &[], &once(1)).await;
        assert_eq!((nothing.amount, nothing.status.code), (0, UNAVAILABLE));
        assert!(
            nothing.status.message.contains("WRONGTYPE"),
            "{:?}",
            nothing.status
        );
        assert_eq!(handler.quota(NAME, &pair, &once(1)).await.amount, 1);
    }
}
