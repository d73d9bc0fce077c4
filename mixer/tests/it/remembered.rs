//! Verdicts that are given again.

use tonic::Request;

use crate::harness::{Mixer, object};
use crate::serving::request;

fn rules(message: &str) -> String {
    [
        object(
            "handler",
            "deny",
            &format!("{{compiledAdapter: denier, params: {{status: {{code: 7, message: {message}}}, validDuration: 3600s}}}}"),
        ),
        object("instance", "question", "{compiledTemplate: checknothing}"),
        object(
            "rule",
            "denial",
            "{match: 'source.name == \"a\"', actions: [{handler: deny, instances: [question]}]}",
        ),
    ]
    .concat()
}

/// What is said, by which generation, and whether it was said before.
async fn asked(mixer: &Mixer) -> (String, String, bool) {
    let answer = mixer
        .check_with(Request::new(request(&[("source.name", "a")])))
        .await;
    let answer = answer.unwrap();
    let metadata = answer.metadata();
    let generation = metadata
        .get("x-istio-policy-generation")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let hit = metadata.get("x-istio-policy-cache-hit").is_some();
    let status = answer.into_inner().precondition.unwrap().status.unwrap();
    (status.message, generation, hit)
}

#[tokio::test]
async fn pain_26_a_verdict_dies_with_its_configuration() {
    let mixer = Mixer::start(&rules("first"), &["--numCheckCacheEntries=100"]).await;
    let (message, first, hit) = asked(&mixer).await;
    assert_eq!((message.as_str(), hit), ("deny.istio-system:first", false));
    assert_eq!(asked(&mixer).await, (message.clone(), first.clone(), true));
    mixer.configure(&rules("second")).await;
    let (message, second, hit) = asked(&mixer).await;
    assert_eq!((message.as_str(), hit), ("deny.istio-system:second", false));
    assert_ne!(first, second);
    // The same rules are the same generation, at every Mixer.
    mixer.configure(&rules("first")).await;
    assert_eq!(asked(&mixer).await.1, first);
    assert_eq!(mixer.metric("mixer_checkcache_cache_hits_total").await, 1.0);
    assert_eq!(mixer.metric("mixer_checkcache_cache_writes_total").await, 3.0);
}

/// D4: off unless it is asked for.
#[tokio::test]
async fn d4_nothing_is_remembered_by_default() {
    let mixer = Mixer::start(&rules("no"), &[]).await;
    for _ in 0..3 {
        assert!(!asked(&mixer).await.2);
    }
    assert_eq!(mixer.metric("mixer_checkcache_cache_misses_total").await, 0.0);
}
