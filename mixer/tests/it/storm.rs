//! Edits of the configuration, one after another, while requests come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use mesh_api::istio::mixer::v1::ReportRequest;
use mesh_testing::eventually;
use tokio::task::JoinSet;

use crate::harness::{Mixer, PATIENCE, attributes, metric, object};
use crate::serving::request;

/// Who is denied, which changes, is told which edit it was.
fn rules(edit: u64) -> String {
    let denied = edit % 3;
    [
        object("handler", "deny", &format!("{{compiledAdapter: denier, params: {{status: {{code: 7, message: v{edit}}}}}}}")),
        object("handler", "allow", &format!("{{compiledAdapter: denier, params: {{status: {{code: 0}}, validUseCount: {}}}}}", edit + 1)),
        object("handler", "told", "{compiledAdapter: noop}"),
        object("instance", "question", "{compiledTemplate: checknothing}"),
        object("instance", "count", "{compiledTemplate: metric, params: {value: '1'}}"),
        object("rule", "denial", &format!("{{match: 'source.name == \"c{denied}\"', actions: [{{handler: deny, instances: [question]}}]}}")),
        object("rule", "all", "{actions: [{handler: allow, instances: [question]}, {handler: told, instances: [count]}]}"),
    ]
    .concat()
}

/// What the callers know.
#[derive(Default)]
struct Shared {
    /// The last edit that was written.
    written: AtomicU64,
    /// The last one that any answer was made by.
    seen: AtomicU64,
    calls: AtomicU64,
    records: AtomicU64,
    done: AtomicBool,
}

/// Asks until the storm is over. An answer must be right by an edit that is not older than any that was in force before.
async fn ask(mixer: Arc<Mixer>, shared: Arc<Shared>, caller: u64) {
    let name = format!("c{caller}");
    while !shared.done.load(Ordering::SeqCst) {
        let least = shared.seen.load(Ordering::SeqCst);
        let answer = mixer.check(request(&[("source.name", &name)])).await.unwrap();
        let precondition = answer.precondition.unwrap();
        let most = shared.written.load(Ordering::SeqCst);
        let status = precondition.status.unwrap();
        let edit = match status.message.strip_prefix("deny.istio-system:v") {
            Some(edit) => edit.parse().unwrap(),
            None => u64::try_from(precondition.valid_use_count).unwrap() - 1,
        };
        assert!(
            (least..=most).contains(&edit),
            "{edit} is not in {least}..={most}"
        );
        assert_eq!(status.code == 7, edit % 3 == caller, "{name} by edit {edit}");
        shared.seen.fetch_max(edit, Ordering::SeqCst);
        shared.calls.fetch_add(1, Ordering::SeqCst);
    }
}

async fn tell(mixer: Arc<Mixer>, shared: Arc<Shared>) {
    while !shared.done.load(Ordering::SeqCst) {
        let report = ReportRequest {
            attributes: vec![attributes(&[("source.name", "a")]), attributes(&[])],
            repeated_attributes_semantics: 1,
            ..ReportRequest::default()
        };
        mixer.report(report).await.unwrap();
        shared.records.fetch_add(2, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
}

/// Every counter that any scrape has shown goes on from there.
async fn watch(mixer: Arc<Mixer>, shared: Arc<Shared>) {
    let series = [
        "mixer_runtime_dispatches_total{adapter=\"denier\",error=\"false\",handler=\"deny.istio-system\",meshFunction=\"checknothing\"}",
        "mixer_runtime_dispatches_total{adapter=\"noop\",error=\"false\",handler=\"told.istio-system\",meshFunction=\"metric\"}",
        "grpc_io_server_completed_rpcs{grpc_server_method=\"istio.mixer.v1.Mixer/Check\",grpc_server_status=\"OK\"}",
        "mixer_dispatcher_instances_per_request_count",
        "mixer_checkcache_cache_hits_total",
        "mixer_checkcache_cache_writes_total",
    ];
    let mut before = [0.0; 6];
    while !shared.done.load(Ordering::SeqCst) {
        let (_, text) = mixer.get("/metrics").await;
        for (name, before) in series.iter().zip(&mut before) {
            let now = metric(&text, name);
            assert!(now >= *before, "{name} went from {before} to {now}");
            *before = now;
        }
        tokio::task::yield_now().await;
    }
    assert!(before.iter().all(|value| *value > 0.0), "{before:?}");
}

/// Done when 4 of the plan: 1,000 edits with `MESH_TEST_FULL`, some of them otherwise; with the server's cache, which must
/// not answer by what is over.
#[tokio::test(flavor = "multi_thread")]
async fn pain_26_a_storm_of_edits_fails_no_call_and_gives_no_wrong_verdict() {
    let full = std::env::var_os("MESH_TEST_FULL").is_some();
    let edits = if full { 1000 } else { 40 };
    let mixer = Arc::new(Mixer::start(&rules(0), &["--numCheckCacheEntries=1000"]).await);
    let shared = Arc::new(Shared::default());
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    let callers: Vec<_> = (0..6)
        .map(|number| tasks.spawn(ask(Arc::clone(&mixer), Arc::clone(&shared), number % 3)))
        .collect();
    tasks.spawn(tell(Arc::clone(&mixer), Arc::clone(&shared)));
    tasks.spawn(watch(Arc::clone(&mixer), Arc::clone(&shared)));
    for edit in 1..=edits {
        shared.written.store(edit, Ordering::SeqCst);
        mixer.write(&rules(edit));
        let calls = shared.calls.load(Ordering::SeqCst) + 30;
        let wait = async || {
            let (seen, made) = (
                shared.seen.load(Ordering::SeqCst),
                shared.calls.load(Ordering::SeqCst),
            );
            // Now and then it is in force before the next one comes.
            let due = edit % 10 == 0;
            match made >= calls && (!due || seen == edit) {
                true => Ok(()),
                false if callers.iter().any(|caller| caller.is_finished()) => Ok(()),
                false => Err(format!("edit {edit}, answers by {seen}, {made} calls")),
            }
        };
        eventually(PATIENCE, wait).await.unwrap();
    }
    shared.done.store(true, Ordering::SeqCst);
    let took = started.elapsed();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(shared.seen.load(Ordering::SeqCst), edits);
    let (_, text) = mixer.get("/metrics").await;
    let counted = metric(&text, "mixer_dispatcher_instances_per_request_count");
    let calls = shared.calls.load(Ordering::SeqCst);
    let sets = shared.records.load(Ordering::SeqCst);
    eprintln!(
        "{edits} edits, {calls} checks and {sets} records in {took:?}; {counted} of them asked handlers"
    );
}
