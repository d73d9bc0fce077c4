//! Policies of chapter 4 of the book, asked of a running `mixs` (`spec 02` §13.3). Their configurations are in
//! `testdata/examples`.

use std::time::{Duration, Instant};

use mesh_api::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use mesh_api::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use mesh_api::envoy::service::ratelimit::v3::RateLimitRequest;
use mesh_api::envoy::service::ratelimit::v3::rate_limit_response::Code as Limited;
use mesh_api::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use mesh_api::istio::mixer::v1::CheckResponse;
use mesh_testing::eventually;
use mesh_testing::redis::Redis;
use tonic::{Code, Status};

use crate::harness::{Facts, Mixer, PATIENCE, example, object};

const QUOTA: &str = "requestquota";

/// A request to a workload of the namespace of the examples.
fn request(source: &'static str, destination: &'static str) -> Facts {
    Facts::default()
        .text("context.reporter.kind", "inbound")
        .text("destination.namespace", "weather")
        .map("source.labels", &[("app", source)])
        .map("destination.labels", &[("app", destination)])
}

/// The pair that has a limit of its own.
fn pair() -> Facts {
    request("frontend", "forecast")
}

/// Windows of an hour, so that the machine may take its time.
fn for_an_hour(config: &str) -> String {
    config.replace("validDuration: 1s", "validDuration: 1h")
}

fn shared(redis: &Redis) -> String {
    example("f-8.yaml").replace("redis:6379", &redis.address())
}

async fn verdict(mixer: &Mixer, request: &Facts) -> (i32, String) {
    let answer = mixer.check(request.check()).await.unwrap();
    let status = answer.precondition.unwrap().status.unwrap();
    (status.code, status.message)
}

/// How much is granted. The request itself may pass.
async fn granted(mixer: &Mixer, request: &Facts, amount: i64) -> i64 {
    let CheckResponse { precondition, quotas } =
        mixer.check(request.check_with(&[(QUOTA, amount)])).await.unwrap();
    assert_eq!(precondition.unwrap().status.unwrap().code, 0);
    quotas[QUOTA].granted_amount
}

/// Asks for one as often as that, and says when each grant was asked for and when it was there.
async fn storm(mixer: &Mixer, calls: usize) -> Vec<(Instant, Instant)> {
    let mut grants = Vec::new();
    for _ in 0..calls {
        let asked = Instant::now();
        if granted(mixer, &pair(), 1).await == 1 {
            grants.push((asked, Instant::now()));
        }
    }
    grants
}

/// Whatever was certainly granted within a second is not more than the limit.
fn assert_never_more_than(limit: usize, grants: &[(Instant, Instant)]) {
    for (begin, _) in grants {
        let end = *begin + Duration::from_secs(1);
        let within = |(asked, there): &&(Instant, Instant)| asked >= begin && *there < end;
        let sum = grants.iter().filter(within).count();
        assert!(sum <= limit, "{sum} of {limit} within a second");
    }
}

async fn grants_again(mixer: &Mixer) {
    eventually(PATIENCE, async || match granted(mixer, &pair(), 1).await {
        1 => Ok(()),
        amount => Err(format!("{amount} granted")),
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn m40_m41_m42_addresses_of_the_range_pass_where_they_are_asked_for() {
    let mixer = Mixer::start(&example("f-5.yaml"), &[]).await;
    for (source, address, allowed) in [
        ("forecast", "10.247.3.4", true),
        ("forecast", "::ffff:10.247.3.4", true),
        ("forecast", "10.248.0.1", false),
        ("forecast", "2001:db8::1", false),
        ("frontend", "10.248.0.1", true),
    ] {
        let request = request(source, "recommendation").address("source.ip", address.parse().unwrap());
        let expected = if allowed {
            (0, String::new())
        } else {
            let reason = format!("whitelist.weather:{address} is not whitelisted");
            (7, reason)
        };
        assert_eq!(verdict(&mixer, &request).await, expected, "{source} {address}");
    }
    // M42: the caller that the rule is not for did not reach the list.
    let (_, metrics) = mixer.get("/metrics").await;
    let line = "mixer_runtime_dispatches_total{adapter=\"listchecker\",error=\"false\",\
                handler=\"whitelist.weather\",meshFunction=\"listentry\"} 4";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn m43_m44_a_code_that_nobody_knows_is_passed_on() {
    let mixer = Mixer::start(&example("f-6.yaml"), &[]).await;
    let refused = (1333, "denyall.weather:Not allowed".to_owned());
    for _ in 0..3 {
        assert_eq!(
            verdict(&mixer, &request("forecast", "recommendation")).await,
            refused
        );
        assert_eq!(verdict(&mixer, &request("frontend", "recommendation")).await.0, 0);
    }
}

#[tokio::test]
async fn m45_m46_m47_memquota_limits_a_pair_and_everybody_else() {
    let config = for_an_hour(&example("f-7.yaml"));
    // The rule is the last object.
    let (without_rule, _) = config.rsplit_once("apiVersion: ").unwrap();
    let mixer = Mixer::start(without_rule, &[]).await;
    assert_eq!(granted(&mixer, &pair(), 20_000).await, 20_000);
    mixer.configure(&config).await;
    for call in 0..100 {
        assert_eq!(granted(&mixer, &pair(), 1).await, 1, "call {call}");
    }
    assert_eq!(granted(&mixer, &pair(), 1).await, 0);
    for (source, destination) in [("frontend", "recommendation"), ("advertisement", "forecast")] {
        let other = request(source, destination);
        assert_eq!(granted(&mixer, &other, 9999).await, 9999);
        assert_eq!(
            [granted(&mixer, &other, 1).await, granted(&mixer, &other, 1).await],
            [1, 0]
        );
    }
}

#[tokio::test]
async fn m45_pain_22_no_second_has_more_than_memquota_allows() {
    let mixer = Mixer::start(&example("f-7.yaml"), &[]).await;
    let grants = storm(&mixer, 400).await;
    assert!(grants.len() >= 100, "{} granted", grants.len());
    assert_never_more_than(100, &grants);
}

#[tokio::test]
async fn m50_m51_two_mixers_share_a_limit_exactly() {
    let redis = Redis::start().await.unwrap();
    let config = for_an_hour(&shared(&redis));
    let (one, two) = futures::join!(Mixer::start(&config, &[]), Mixer::start(&config, &[]));
    let (first, second) = futures::join!(storm(&one, 80), storm(&two, 80));
    assert_eq!(first.len() + second.len(), 100);
    // Everybody else has one counter together, whoever they are and whichever Mixer they ask.
    let (a, b) = (request("a", "b"), request("b", "a"));
    assert_eq!(granted(&one, &a, 6000).await, 6000);
    assert_eq!(granted(&two, &b, 4001).await, 0);
    assert_eq!(granted(&two, &b, 4000).await, 4000);
    assert_eq!(granted(&one, &a, 1).await, 0);
}

#[tokio::test]
async fn m50_pain_22_no_second_of_two_mixers_has_more_than_redisquota_allows() {
    let redis = Redis::start().await.unwrap();
    let config = shared(&redis);
    let (one, two) = futures::join!(Mixer::start(&config, &[]), Mixer::start(&config, &[]));
    let (mut grants, other) = futures::join!(storm(&one, 300), storm(&two, 300));
    grants.extend(other);
    assert!(grants.len() >= 100, "{} granted", grants.len());
    assert_never_more_than(100, &grants);
}

/// §7.9: without Redis nothing is granted and requests are answered all the same; the handler needs nobody's help to
/// recover, and configurations that come meanwhile are in force.
#[tokio::test]
async fn pain_22_mixer_outlives_its_redis() {
    let mut redis = Redis::start().await.unwrap();
    let config = for_an_hour(&shared(&redis));
    let mixer = Mixer::start(&config, &[]).await;
    assert_eq!(granted(&mixer, &pair(), 1).await, 1);
    redis.kill();
    for _ in 0..10 {
        assert_eq!(granted(&mixer, &pair(), 1).await, 0);
    }
    let more = object("handler", "other", "{compiledAdapter: noop}");
    mixer.configure(&[config, more].concat()).await;
    assert_eq!(granted(&mixer, &pair(), 1).await, 0);
    redis.restart().await.unwrap();
    grants_again(&mixer).await;
    // One that answers nothing for a while.
    redis.pause().unwrap();
    assert_eq!(granted(&mixer, &pair(), 1).await, 0);
    redis.resume().unwrap();
    grants_again(&mixer).await;
    assert_eq!(mixer.json("/debug/errors").await["errors"], serde_json::json!([]));
}

/// Whether an Envoy may let a request pass that takes so much of the quota.
async fn limited(mixer: &Mixer, amount: u32) -> Result<Limited, Status> {
    let entries = [
        ("context.reporter.kind", "inbound"),
        ("destination.namespace", "weather"),
    ];
    let request = RateLimitRequest {
        domain: QUOTA.to_owned(),
        hits_addend: amount,
        descriptors: vec![RateLimitDescriptor {
            entries: entries
                .map(|(key, value)| Entry {
                    key: key.to_owned(),
                    value: value.to_owned(),
                })
                .into(),
            ..RateLimitDescriptor::default()
        }],
    };
    let mut client = RateLimitServiceClient::new(mixer.channel());
    let answer = client.should_rate_limit(request).await?;
    Ok(answer.into_inner().overall_code())
}

/// Pain 22: a limit refuses, a Redis that is away does not: Envoy's own policy for failures decides.
#[tokio::test]
async fn pain_22_redis_away_is_no_refusal_of_the_rate_limit_service() {
    let mut redis = Redis::start().await.unwrap();
    let config = for_an_hour(&shared(&redis));
    let mixer = Mixer::start(&config, &[]).await;
    assert_eq!(limited(&mixer, 10_000).await.unwrap(), Limited::Ok);
    assert_eq!(limited(&mixer, 1).await.unwrap(), Limited::OverLimit);
    redis.kill();
    let error = limited(&mixer, 1).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(
        error.message().starts_with("quota requestquota: redishandler."),
        "{error}"
    );
}
