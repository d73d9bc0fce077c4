//! Following an agent that misbehaves: a server that answers as the test says. A real agent is followed in the tests
//! of Pilot.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_runtime::Readiness;
use mesh_testing::eventually;
use pilot_model::{Builder, Visibility};
use tokio::sync::{Notify, mpsc};

use super::*;
use crate::consul::{Consul, ConsulHandle, ConsulMetrics, ConsulOptions};
use crate::{Controller, Debounce, Publication, Registries};

const PATIENCE: Duration = Duration::from_secs(30);
const CATALOG: &str = "/v1/catalog/services";
const SERVICE: &str = "/v1/health/service/forecast";

/// One answer: status, index, body.
type Scripted = (u16, Option<u64>, String);

/// Answers each path in order; a path without another answer waits, as an agent does whose state stays.
#[derive(Clone, Default)]
struct Script {
    shared: Arc<Mutex<Shared>>,
    added: Arc<Notify>,
}

#[derive(Default)]
struct Shared {
    answers: BTreeMap<String, VecDeque<Scripted>>,
    /// What was asked: path and query.
    asked: Vec<String>,
}

struct Harness {
    script: Script,
    handle: ConsulHandle,
    readiness: Readiness,
    publications: mpsc::UnboundedReceiver<Publication>,
}

impl Script {
    fn answer(&self, path: &str, answer: Scripted) {
        let mut shared = self.shared.lock().expect("no panic");
        shared
            .answers
            .entry(path.to_owned())
            .or_default()
            .push_back(answer);
        self.added.notify_waiters();
    }

    fn asked(&self, path: &str) -> Vec<String> {
        let shared = self.shared.lock().expect("no panic");
        let queries = shared.asked.iter().filter_map(|asked| asked.strip_prefix(path));
        let of_path = queries.filter(|query| query.is_empty() || query.starts_with('?'));
        of_path.map(str::to_owned).collect()
    }

    /// Waits until a path was asked so often; the query of the last time.
    async fn until_asked(&self, path: &str, times: usize) -> String {
        eventually(PATIENCE, async || {
            let asked = self.asked(path);
            match asked.get(times - 1) {
                Some(query) => Ok(query.clone()),
                None => Err(format!("{asked:?}")),
            }
        })
        .await
        .expect("asked")
    }
}

async fn serve(State(script): State<Script>, uri: Uri) -> Response {
    script
        .shared
        .lock()
        .expect("no panic")
        .asked
        .push(uri.to_string());
    loop {
        let added = script.added.notified();
        let next = script
            .shared
            .lock()
            .expect("no panic")
            .answers
            .get_mut(uri.path())
            .and_then(VecDeque::pop_front);
        if let Some((status, index, body)) = next {
            let index = index.map(|index| [("x-consul-index", index.to_string())]);
            let status = StatusCode::from_u16(status).expect("a status");
            return match index {
                Some(index) => (status, index, body).into_response(),
                None => (status, body).into_response(),
            };
        }
        added.await;
    }
}

fn one(address: &str) -> String {
    json!([entry("a", address, 80, &json!({}))]).to_string()
}

/// Follows a server that plays a script.
async fn follow(script: Script) -> Harness {
    let (listener, address) = mesh_testing::ports::listen().await.expect("a port");
    let spawner = Spawner::default();
    let router = Router::new().fallback(serve).with_state(script.clone());
    drop(spawner.spawn("script", async move { axum::serve(listener, router).await }));

    let (controller, task) = Controller::new(
        Builder::new("cluster.local", MeshConfig::default()),
        Registries::of(
            &[Platform::Consul],
            "cluster.local",
            "cluster.local",
            Visibility::Public,
        ),
        Debounce::new(Duration::from_millis(1), Duration::from_secs(1)),
        0,
        &[],
    );
    let (sender, publications) = mpsc::unbounded_channel();
    let run = task.run(move |publication| drop(sender.send(publication)));
    drop(spawner.spawn("controller", run));
    let options = ConsulOptions {
        url: address.to_string().parse().expect("a URL"),
        token: Some("secret".parse().expect("a header")),
        interval: Duration::from_millis(1),
    };
    let metrics = ConsulMetrics::register(&Metrics::new()).expect("free names");
    let (consul, handle) = Consul::new(options, spawner.clone(), metrics);
    let readiness = Readiness::new();
    let ready = readiness.task("consul");
    drop(spawner.spawn("consul", consul.run(controller.consul(), ready)));
    Harness {
        script,
        handle,
        readiness,
        publications,
    }
}

impl Harness {
    /// Waits for a publication in which the host has these endpoints.
    async fn until(&mut self, expected: Option<&[&str]>) {
        let reached = async {
            loop {
                let publication = self.publications.recv().await.expect("the controller runs");
                let known = publication.published.endpoints.get(FORECAST);
                let known: Option<Vec<String>> =
                    known.map(|known| known.iter().map(crate::fixture::describe_endpoint).collect());
                if known
                    .as_deref()
                    .map(|known| known.iter().map(String::as_str).collect::<Vec<_>>())
                    == expected.map(<[&str]>::to_vec)
                {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .expect("published in time");
    }
}

#[tokio::test]
async fn p4_4_answers_are_waited_for_by_index_and_one_that_goes_backwards_starts_again() {
    let script = Script::default();
    script.answer(CATALOG, (200, Some(5), r#"{"forecast": []}"#.to_owned()));
    script.answer(SERVICE, (200, Some(7), one("10.2.0.1")));
    let mut harness = follow(script).await;
    harness.until(Some(&["http 10.2.0.1:80 -"])).await;
    harness.readiness.ready().await;
    let script = harness.script.clone();
    assert_eq!(script.until_asked(CATALOG, 2).await, "?index=5&wait=60s");
    assert_eq!(script.until_asked(SERVICE, 2).await, "?index=7&wait=60s");

    script.answer(SERVICE, (200, Some(3), one("10.2.0.2")));
    harness.until(Some(&["http 10.2.0.2:80 -"])).await;
    assert_eq!(script.until_asked(SERVICE, 3).await, "");
    script.answer(SERVICE, (200, Some(3), one("10.2.0.3")));
    harness.until(Some(&["http 10.2.0.3:80 -"])).await;
    assert_eq!(script.until_asked(SERVICE, 4).await, "?index=3&wait=60s");

    // An agent without an index is still waited for.
    script.answer(SERVICE, (200, None, one("10.2.0.4")));
    harness.until(Some(&["http 10.2.0.4:80 -"])).await;
    script.until_asked(SERVICE, 5).await;
    script.answer(CATALOG, (200, Some(6), "{}".to_owned()));
    harness.until(None).await;
}

#[tokio::test]
async fn p4_4_a_failing_agent_is_asked_again_and_changes_nothing_meanwhile() {
    let script = Script::default();
    for _ in 0..3 {
        script.answer(CATALOG, (500, None, "No cluster leader".to_owned()));
    }
    script.answer(
        CATALOG,
        (
            200,
            Some(5),
            r#"{"forecast": [], "broken": [], "no host": []}"#.to_owned(),
        ),
    );
    script.answer(
        "/v1/health/service/broken",
        (403, None, "Permission denied".to_owned()),
    );
    script.answer(SERVICE, (500, None, "rpc error".to_owned()));
    script.answer(SERVICE, (200, Some(7), one("10.2.0.1")));
    let mut harness = follow(script).await;
    harness.until(Some(&["http 10.2.0.1:80 -"])).await;
    harness.readiness.ready().await;
    let status = harness.handle.status();
    assert!(status.connected && status.synced, "{status:?}");
    assert_eq!(status.services, 3);
    assert_eq!(
        status.problems["broken"],
        ["the agent answered 403 Forbidden: Permission denied"]
    );
    assert_eq!(
        status.problems["no host"],
        ["\"no host\" cannot be part of a host name"]
    );

    // What does not decode is left out, and what there was stays.
    harness.script.until_asked(SERVICE, 3).await;
    harness
        .script
        .answer(SERVICE, (200, Some(8), "<html>".to_owned()));
    eventually(PATIENCE, async || {
        let problems = harness.handle.status().problems;
        match problems.get("forecast") {
            Some(problem) if *problem == ["the answer is not JSON"] => Ok(()),
            _ => Err(format!("{problems:?}")),
        }
    })
    .await
    .expect("reported");
    harness.script.answer(SERVICE, (200, Some(9), one("10.2.0.2")));
    harness.until(Some(&["http 10.2.0.2:80 -"])).await;
    assert!(!harness.handle.status().problems.contains_key("forecast"));
}

#[tokio::test]
async fn p4_4_more_services_than_an_agent_has_connections_are_asked_in_turns() {
    let script = Script::default();
    let names: BTreeMap<String, Value> = (0..200).map(|number| (format!("s{number}"), json!([]))).collect();
    script.answer(CATALOG, (200, Some(5), json!(names).to_string()));
    for name in names.keys() {
        let path = format!("/v1/health/service/{name}");
        for round in 0..2 {
            script.answer(&path, (200, Some(round + 1), one("10.2.0.1")));
        }
    }
    let harness = follow(script).await;
    harness.readiness.ready().await;
    let script = &harness.script;
    // Nobody waits at the agent, and everybody is asked again.
    for name in names.keys() {
        assert_eq!(
            script.until_asked(&format!("/v1/health/service/{name}"), 2).await,
            ""
        );
    }
}
