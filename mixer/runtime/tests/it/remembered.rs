//! Verdicts that are given again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mixer_runtime::dispatch::Checked;
use tokio::task::JoinSet;

use crate::world::{World, check, handler, object};

/// Denies one caller, and says which version of the rules it is.
fn rules(version: u64, denied: &str) -> String {
    let condition = format!("source.name == \"{denied}\"");
    [
        handler("deny", 7, &format!("v{version}")),
        handler("allow", 0, &format!("v{version}")),
        object(
            "instance",
            "istio-system",
            "nothing",
            "{compiledTemplate: checknothing}",
        ),
        object(
            "instance",
            "istio-system",
            "requests",
            "{compiledTemplate: quota}",
        ),
        object(
            "rule",
            "istio-system",
            "denial",
            &format!("{{match: '{condition}', actions: [{{handler: deny, instances: [nothing]}}]}}"),
        ),
        object(
            "rule",
            "istio-system",
            "all",
            "{actions: [{handler: allow, instances: [nothing, requests]}]}",
        ),
    ]
    .concat()
}

fn asked(world: &World) -> usize {
    let lines = world.journal.take();
    lines.iter().filter(|line| line.starts_with("check")).count()
}

#[tokio::test(start_paused = true)]
async fn m117_a_request_that_looks_the_same_is_answered_without_asking() {
    let mut world = World::with_check_cache(100);
    world.configure(&rules(1, "b")).await;
    world.journal.take();
    let first = world.check(&[("source.name", "a")], &[]).await.unwrap();
    assert_eq!((first.remembered, asked(&world)), (false, 1));
    // Nobody reads the path.
    let attributes = [("source.name", "a"), ("request.path", "/")];
    let second = world.check(&attributes, &[]).await.unwrap();
    assert_eq!((second.remembered, asked(&world)), (true, 0));
    assert_eq!(second.references, first.references);
    assert!(second.verdict.valid_duration <= first.verdict.valid_duration);
    // Amounts are not remembered.
    let third = world.check(&attributes, &[("requests", 2)]).await.unwrap();
    assert_eq!((third.remembered, third.grants["requests"].amount), (false, 2));
    assert_eq!(asked(&world), 1);
    // A request that may not pass gets none, whatever it wants.
    for remembered in [false, true] {
        let denied = world.check(&[("source.name", "b")], &[("requests", 2)]).await;
        let denied = denied.unwrap();
        assert_eq!((denied.remembered, denied.verdict.status.code), (remembered, 7));
        assert!(denied.grants.is_empty());
    }
    let text = world.metrics.encode().unwrap();
    for line in [
        "mixer_checkcache_cache_writes_total 3",
        "mixer_checkcache_cache_hits_total 3",
        "mixer_checkcache_cache_misses_total 2",
        "mixer_checkcache_cache_evictions_total 0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn pain_26_the_adapter_says_how_often_its_verdict_counts() {
    let mut world = World::with_check_cache(100);
    // Three times.
    world.configure(&rules(1, "b")).await;
    let mut remembered = Vec::new();
    for _ in 0..6 {
        let checked = world.check(&[("source.name", "a")], &[]).await.unwrap();
        remembered.push(checked.remembered);
    }
    assert_eq!(remembered, [false, true, true, false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn pain_26_the_adapter_says_how_long_its_verdict_counts() {
    let mut world = World::with_check_cache(100);
    // For five seconds.
    world.configure(&rules(1, "b")).await;
    let caller = [("source.name", "a")];
    world.check(&caller, &[]).await.unwrap();
    tokio::time::advance(Duration::from_secs(4)).await;
    let checked = world.check(&caller, &[]).await.unwrap();
    assert!(checked.remembered && checked.verdict.valid_duration <= Duration::from_secs(1));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!world.check(&caller, &[]).await.unwrap().remembered);
}

#[tokio::test(start_paused = true)]
async fn m117_what_generators_add_is_not_what_the_caller_has_to_send() {
    let mut world = World::with_check_cache(100);
    let text = [
        rules(1, "pod-of-x"),
        object(
            "instance",
            "istio-system",
            "pods",
            "{compiledTemplate: kubernetes, params: {source_uid: 'source.uid | \"\"'}, attributeBindings: {source.name: '$out.source_pod_name | \"unknown\"'}}",
        ),
        object(
            "rule",
            "istio-system",
            "generate",
            "{actions: [{handler: allow, instances: [pods]}]}",
        ),
    ]
    .concat();
    world.configure(&text).await;
    for (uid, code) in [("x", 7), ("y", 0)] {
        for remembered in [false, true] {
            let checked = world.check(&[("source.uid", uid)], &[]).await.unwrap();
            assert_eq!(
                (checked.verdict.status.code, checked.remembered),
                (code, remembered)
            );
        }
    }
    // Who brings the name himself is another request.
    let attributes = [("source.uid", "x"), ("source.name", "somebody")];
    let checked = world.check(&attributes, &[]).await.unwrap();
    assert_eq!((checked.verdict.status.code, checked.remembered), (0, false));
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn version(checked: &Checked) -> Option<u64> {
    let message = &checked.verdict.status.message;
    message.strip_prefix("deny.istio-system:v")?.parse().ok()
}

/// Whatever is edited and asked in whatever order: the answer is that of the rules in force.
#[tokio::test]
async fn pain_26_no_answer_is_older_than_the_rules_in_force() {
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let mut world = World::with_check_cache(8);
        // Before there is any configuration everything may pass, which must be forgotten, too.
        let nobody = world.check(&[("source.name", "c0")], &[]).await.unwrap();
        assert!(nobody.verdict.is_ok());
        let (mut edits, mut denied) = (0, "nobody".to_owned());
        for step in 0..80 {
            if step == 0 || dice.roll(6) == 0 {
                edits += 1;
                denied = format!("c{}", dice.roll(3));
                world.configure(&rules(edits, &denied)).await;
                continue;
            }
            let caller = format!("c{}", dice.roll(3));
            let path = format!("/{}", dice.roll(2));
            let attributes = [("source.name", &*caller), ("request.path", &*path)];
            let checked = world.check(&attributes, &[]).await.unwrap();
            let expected = (caller == denied).then_some(edits);
            assert_eq!(version(&checked), expected, "seed {seed}, step {step}: {caller}");
        }
    }
}

/// The same with many callers at once: an answer is never older than the rules that were in force when it was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pain_26_an_edit_is_never_followed_by_an_answer_from_before_it() {
    let mut world = World::with_check_cache(1000);
    world.configure(&rules(1, "b")).await;
    let in_force = Arc::new(AtomicU64::new(1));
    let done = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let (engine, patience) = (Arc::clone(&world.engine), world.patience);
        let (in_force, done) = (Arc::clone(&in_force), Arc::clone(&done));
        callers.spawn(async move {
            let mut remembered = 0;
            while !done.load(Ordering::Relaxed) {
                let least = in_force.load(Ordering::SeqCst);
                let checked = check(&engine, &[("source.name", "b")], &[], patience)
                    .await
                    .unwrap();
                let version = version(&checked).unwrap();
                assert!(version >= least, "{version} after {least}");
                remembered += u64::from(checked.remembered);
                tokio::task::yield_now().await;
            }
            remembered
        });
    }
    for edit in 2..150 {
        world.configure(&rules(edit, "b")).await;
        in_force.store(edit, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::Relaxed);
    let mut remembered = 0;
    while let Some(caller) = callers.join_next().await {
        remembered += caller.unwrap();
    }
    assert!(remembered > 0, "the cache was never used");
}
