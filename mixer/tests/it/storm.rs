//! Edits of the configuration, one after another, while requests come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures::FutureExt as _;
use mesh_api::Any;
use mesh_api::checknothing::HandleCheckNothingRequest;
use mesh_api::google::rpc::Status as RpcStatus;
use mesh_api::istio::mixer::adapter::model::v1beta1::{
    CheckResult, CloseSessionRequest, CloseSessionResponse, CreateSessionRequest, CreateSessionResponse,
    ReportResult, ValidateResponse,
};
use mesh_api::istio::mixer::v1::ReportRequest;
use mesh_api::metric::HandleMetricRequest;
use mesh_testing::eventually;
use mixer_dynamic::testing::{Call, FakeAdapter, Reply, compiled};
use prost::Message;
use tokio::task::JoinSet;
use tonic::Status;

use crate::harness::{Mixer, PATIENCE, attributes, get, metric, object};
use crate::serving::request;

/// The parameters of the adapter in a process of its own.
const CONFIG: &str = "syntax = \"proto3\"; package far; message Params { uint64 edit = 1; }";

/// How verdicts begin that came from the one adapter or the other.
const LABELS: [&str; 2] = ["deny.istio-system:v", "far.handler.istio-system:v"];

/// Names of those who ask: rules send them to the adapter that is built in, or to the one in another process.
const CALLERS: [&str; 6] = ["c0", "c1", "c2", "r0", "r1", "r2"];

/// What does not change.
fn standing(far: &str) -> String {
    [
        object(
            "adapter",
            "far",
            &format!("{{templates: [checknothing, metric], sessionBased: true, config: '{far}'}}"),
        ),
        object("handler", "told", "{compiledAdapter: noop}"),
        object("instance", "question", "{compiledTemplate: checknothing}"),
        object(
            "instance",
            "count",
            "{compiledTemplate: metric, params: {value: '1'}}",
        ),
        object(
            "instance",
            "other",
            "{compiledTemplate: metric, params: {value: '1'}}",
        ),
    ]
    .concat()
}

/// Who is denied, which changes, is told which edit it was. Every handler but one is another one with each edit.
fn rules(edit: u64, far: SocketAddr) -> String {
    let denied = edit % 3;
    let metrics = format!(
        "{{name: requests, instance_name: count.instance.istio-system, kind: COUNTER}}, \
         {{name: other_{}, instance_name: other.instance.istio-system, kind: COUNTER}}",
        edit % 4
    );
    [
        object("handler", "deny", &format!("{{compiledAdapter: denier, params: {{status: {{code: 7, message: v{edit}}}}}}}")),
        object("handler", "allow", &format!("{{compiledAdapter: denier, params: {{status: {{code: 0}}, validUseCount: {}}}}}", edit + 1)),
        object("handler", "counters", &format!("{{compiledAdapter: prometheus, params: {{metrics: [{metrics}]}}}}")),
        object("handler", "far", &format!("{{adapter: far, connection: {{address: '{far}'}}, params: {{edit: {edit}}}}}")),
        object("rule", "denial", &format!("{{match: 'source.name == \"c{denied}\"', actions: [{{handler: deny, instances: [question]}}]}}")),
        object("rule", "denial-far-away", &format!("{{match: 'source.name == \"r{denied}\"', actions: [{{handler: far, instances: [question]}}]}}")),
        object("rule", "all", "{actions: [{handler: allow, instances: [question]}, {handler: told, instances: [count]}, \
            {handler: counters, instances: [count, other]}, {handler: far, instances: [count]}]}"),
    ]
    .concat()
}

/// What the process with the adapter knows.
#[derive(Default)]
struct Far {
    /// The edit of each session.
    sessions: Mutex<BTreeMap<String, u64>>,
    made: AtomicU64,
    checks: AtomicU64,
    records: AtomicU64,
}

#[derive(Clone, PartialEq, Message)]
struct Params {
    #[prost(uint64, tag = "1")]
    edit: u64,
}

impl Far {
    /// The edit whose session a call is made under.
    fn edit(&self, config: Option<Any>) -> Result<u64, Status> {
        let id = String::from_utf8(config.unwrap_or_default().value.to_vec()).unwrap();
        let known = self.sessions.lock().unwrap().get(&id).copied();
        known.ok_or_else(|| Status::not_found(id))
    }

    fn answer(&self, call: Call) -> Result<Vec<u8>, Status> {
        let message = call.message;
        Ok(match call.path.rsplit('/').next().unwrap() {
            "Validate" => ValidateResponse::default().encode_to_vec(),
            "CreateSession" => {
                let config = CreateSessionRequest::decode(message).unwrap().adapter_config;
                let Params { edit } = Params::decode(config.unwrap().value).unwrap();
                let session_id = format!("session-{}", self.made.fetch_add(1, Ordering::SeqCst));
                self.sessions.lock().unwrap().insert(session_id.clone(), edit);
                CreateSessionResponse {
                    session_id,
                    status: None,
                }
                .encode_to_vec()
            }
            "CloseSession" => {
                let id = CloseSessionRequest::decode(message).unwrap().session_id;
                self.sessions.lock().unwrap().remove(&id);
                CloseSessionResponse::default().encode_to_vec()
            }
            "HandleCheckNothing" => {
                let request = HandleCheckNothingRequest::decode(message).unwrap();
                let edit = self.edit(request.adapter_config)?;
                self.checks.fetch_add(1, Ordering::SeqCst);
                CheckResult {
                    status: Some(RpcStatus {
                        code: 7,
                        message: format!("v{edit}"),
                        ..RpcStatus::default()
                    }),
                    ..CheckResult::default()
                }
                .encode_to_vec()
            }
            _ => {
                let request = HandleMetricRequest::decode(message).unwrap();
                self.edit(request.adapter_config)?;
                let count = request.instances.len() as u64;
                self.records.fetch_add(count, Ordering::SeqCst);
                ReportResult {}.encode_to_vec()
            }
        })
    }
}

/// What the callers know.
#[derive(Default)]
struct Shared {
    /// The last edit that was written.
    written: AtomicU64,
    /// The last one that any answer was made by.
    seen: AtomicU64,
    /// All of which answers were made.
    in_force: Mutex<BTreeSet<u64>>,
    calls: AtomicU64,
    records: AtomicU64,
    done: AtomicBool,
}

/// Asks until the storm is over. An answer must be right by an edit that is not older than any that was in force before.
async fn ask(mixer: Arc<Mixer>, shared: Arc<Shared>, name: &'static str) {
    let number: u64 = name[1..].parse().unwrap();
    while !shared.done.load(Ordering::SeqCst) {
        let least = shared.seen.load(Ordering::SeqCst);
        let answer = mixer.check(request(&[("source.name", name)])).await.unwrap();
        let precondition = answer.precondition.unwrap();
        let most = shared.written.load(Ordering::SeqCst);
        let status = precondition.status.unwrap();
        let denial = LABELS.iter().find_map(|label| status.message.strip_prefix(label));
        let edit = match denial {
            Some(edit) => edit.parse().unwrap(),
            None => u64::try_from(precondition.valid_use_count).unwrap() - 1,
        };
        assert!(
            (least..=most).contains(&edit),
            "{edit} is not in {least}..={most}"
        );
        let code = if edit % 3 == number { 7 } else { 0 };
        assert_eq!(status.code, code, "{name} by edit {edit}");
        shared.in_force.lock().unwrap().insert(edit);
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

/// Every counter that any scrape has shown goes on from there: those of Mixer, and those that it makes of reports.
async fn watch(mixer: Arc<Mixer>, shared: Arc<Shared>, exporter: SocketAddr) {
    let own = [
        "mixer_runtime_dispatches_total{adapter=\"denier\",error=\"false\",handler=\"deny.istio-system\",meshFunction=\"checknothing\"}",
        "mixer_runtime_dispatches_total{adapter=\"noop\",error=\"false\",handler=\"told.istio-system\",meshFunction=\"metric\"}",
        "mixer_runtime_dispatches_total{adapter=\"far.adapter.istio-system\",error=\"false\",handler=\"far.handler.istio-system\",meshFunction=\"checknothing\"}",
        "grpc_io_server_completed_rpcs{grpc_server_method=\"istio.mixer.v1.Mixer/Check\",grpc_server_status=\"OK\"}",
        "mixer_dispatcher_instances_per_request_count",
        "mixer_checkcache_cache_hits_total",
        "mixer_checkcache_cache_writes_total",
    ];
    let of_reports = ["istio_requests"];
    let mut before = [0.0; 8];
    while !shared.done.load(Ordering::SeqCst) {
        let least = shared.records.load(Ordering::SeqCst);
        let ((_, text), (_, reports)) = tokio::join!(mixer.get("/metrics"), get(exporter, "/metrics"));
        let own = own.map(|name| (name, metric(&text, name)));
        let of_reports = of_reports.map(|name| (name, metric(&reports, name)));
        for ((name, now), before) in own.into_iter().chain(of_reports).zip(&mut before) {
            assert!(now >= *before, "{name} went from {before} to {now}");
            *before = now;
        }
        // What was answered is counted.
        assert!(before[7] >= least as f64, "{before:?}, {least}");
        tokio::task::yield_now().await;
    }
    assert!(before.iter().all(|value| *value > 0.0), "{before:?}");
}

/// Done when 4 of the plan: 1,000 edits with `MESH_TEST_FULL`, some of them otherwise; with the server's cache, which must
/// not answer by what is over. Handlers in the process and in another one are replaced with every edit.
#[tokio::test(flavor = "multi_thread")]
async fn pain_26_a_storm_of_edits_fails_no_call_and_gives_no_wrong_verdict() {
    let full = std::env::var_os("MESH_TEST_FULL").is_some();
    let (edits, of_each) = if full { (1000, 5) } else { (40, 1) };
    let far = Arc::new(Far::default());
    let knows = Arc::clone(&far);
    let process = FakeAdapter::start(move |call| -> Reply {
        let answer = knows.answer(call).map(Into::into);
        async move { answer }.boxed()
    })
    .await;
    let standing = standing(&compiled("config.proto", CONFIG));
    let configuration = |edit| [standing.as_str(), &rules(edit, process.address())].concat();
    let mut mixer = Mixer::start(&configuration(0), &["--numCheckCacheEntries=1000"]).await;
    let exporter = mixer.exporter().await;
    let mixer = Arc::new(mixer);
    let shared = Arc::new(Shared::default());
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for name in CALLERS.into_iter().cycle().take(CALLERS.len() * of_each) {
        tasks.spawn(ask(Arc::clone(&mixer), Arc::clone(&shared), name));
    }
    tasks.spawn(tell(Arc::clone(&mixer), Arc::clone(&shared)));
    tasks.spawn(watch(Arc::clone(&mixer), Arc::clone(&shared), exporter));
    let all = tasks.len();
    for edit in 1..=edits {
        shared.written.store(edit, Ordering::SeqCst);
        mixer.write(&configuration(edit));
        process.forget();
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
                false => Err(format!("edit {edit}, answers by {seen}, {made} calls")),
            }
        };
        tokio::select! {
            waited = eventually(PATIENCE, wait) => waited.unwrap(),
            Some(ended) = tasks.join_next() => panic!("{ended:?} of {all}"),
        }
    }
    shared.done.store(true, Ordering::SeqCst);
    let took = started.elapsed();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(shared.seen.load(Ordering::SeqCst), edits);
    let sets = shared.records.load(Ordering::SeqCst);
    // Not one record is lost or counted twice, by nobody.
    let (_, text) = get(exporter, "/metrics").await;
    assert_eq!(metric(&text, "istio_requests"), sets as f64);
    assert_eq!(far.records.load(Ordering::SeqCst), sets);
    // Sessions of handlers that are replaced are closed.
    eventually(PATIENCE, async || match far.sessions.lock().unwrap().len() {
        1 => Ok(()),
        open => Err(format!("{open} sessions are open")),
    })
    .await
    .unwrap();
    let (_, text) = mixer.get("/metrics").await;
    let asked = metric(&text, "mixer_dispatcher_instances_per_request_count");
    let calls = shared.calls.load(Ordering::SeqCst);
    let rate = calls as f64 / took.as_secs_f64();
    let in_force = shared.in_force.lock().unwrap().len();
    let (sessions, checks) = (far.made.load(Ordering::SeqCst), far.checks.load(Ordering::SeqCst));
    eprintln!(
        "{edits} edits, {in_force} of them in force; {calls} checks ({rate:.0}/s) and {sets} records in {took:?}; \
         handlers asked for {asked} requests, the other process for {checks} checks under {sessions} sessions"
    );
}
