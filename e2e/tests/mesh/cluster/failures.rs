//! Galley and the API server go down while objects change.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::mesh::Component;
use serde_json::{Value, json};

use super::support::{configuration, patch, server};
use crate::support::TestMesh;
use crate::support::rule::virtual_service;

const FRONTEND: &str = "frontend-v1-0";

/// The rules that are changed, one for each service of the weather application.
const RULES: [&str; 3] = ["advertisement", "forecast", "recommendation"];

/// Between two changes: 20 a second.
const PERIOD: Duration = Duration::from_millis(50);

/// Changes between two failures.
const BETWEEN: u64 = 40;

/// Changes rules one after another, and remembers what the server took.
struct Writer<'a> {
    mesh: &'a TestMesh,
    stop: AtomicBool,
    /// Changes that the server took.
    taken: AtomicU64,
}

// === impl Writer ===

impl Writer<'_> {
    /// The timeouts of the rules in the end, in milliseconds.
    async fn run(&self) -> BTreeMap<&'static str, u64> {
        let mut last = BTreeMap::new();
        let mut number = 1000;
        while !self.stop.load(Ordering::Relaxed) || last.len() < RULES.len() {
            tokio::time::sleep(PERIOD).await;
            number += 1;
            let rule = RULES[usize::try_from(number).unwrap_or_default() % RULES.len()];
            // While the server is down nothing is taken, and the next change comes in its turn. Whether one was taken whose
            // answer was lost is not known: it is made again.
            while change(self.mesh, rule, number).await.is_err() {
                tokio::time::sleep(PERIOD).await;
            }
            last.insert(rule, number);
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
        last
    }

    async fn some_more(&self) {
        let enough = self.taken.load(Ordering::Relaxed) + BETWEEN;
        self.mesh
            .eventually("changes are taken", async || {
                let taken = self.taken.load(Ordering::Relaxed);
                ensure!(taken >= enough, "{taken} of {enough}");
                Ok(())
            })
            .await;
    }
}

fn spec(service: &str, milliseconds: u64) -> Value {
    let route = json!([{ "destination": { "host": service, "subset": "v1" } }]);
    let seconds = format!("{}.{:03}s", milliseconds / 1000, milliseconds % 1000);
    json!({ "hosts": [service], "http": [{ "route": route, "timeout": seconds }] })
}

async fn change(mesh: &TestMesh, service: &str, milliseconds: u64) -> Result<()> {
    let change = json!({ "spec": spec(service, milliseconds) });
    let patched = patch(mesh, service, &change);
    tokio::time::timeout(Duration::from_secs(5), patched).await?
}

/// Whether the proxy has the timeouts that were written last.
fn follows(configuration: &[String], last: &BTreeMap<&str, u64>) -> Result<()> {
    for (rule, milliseconds) in last {
        let timeout = format!("\"timeout\":\"{}s\"", trimmed(*milliseconds));
        let of_rule = format!("/virtual-service/{rule}");
        let found = configuration
            .iter()
            .any(|resource| resource.contains(&of_rule) && resource.contains(&timeout));
        ensure!(found, "{rule} has not {timeout}");
    }
    Ok(())
}

/// Seconds as Envoy writes them.
fn trimmed(milliseconds: u64) -> String {
    match milliseconds % 1000 {
        0 => format!("{}", milliseconds / 1000),
        part => format!("{}.{part:03}", milliseconds / 1000),
    }
}

/// Ends and starts Galley, the API server, and both.
async fn restarts(writer: &Writer<'_>) {
    let server = server(writer.mesh);
    writer.some_more().await;

    writer.mesh.kill(Component::Galley);
    writer.some_more().await;

    server.stop().await;
    Box::pin(server.resume()).await.expect("it starts again");
    writer.some_more().await;

    writer.mesh.kill(Component::Galley);
    server.stop().await;
    Box::pin(server.resume()).await.expect("it starts again");
    writer.some_more().await;
    writer.stop.store(true, Ordering::Relaxed);
}

/// `pain_6`, `pain_10`: whatever goes down, nothing that was applied is lost, and nothing stays that is not so: the proxy
/// has, byte for byte, what a fresh proxy gets from a fresh Pilot by a fresh Galley.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pain_6_pain_10_restarts_under_changes_lose_nothing() {
    let mesh = TestMesh::on_kubernetes(&["weather"]).await;
    for rule in RULES {
        mesh.apply(&virtual_service(rule, &spec(rule, 1000).to_string()))
            .await;
    }
    let writer = Writer {
        mesh: &mesh,
        stop: AtomicBool::new(false),
        taken: AtomicU64::new(0),
    };
    let (last, ()) = tokio::join!(Box::pin(writer.run()), Box::pin(restarts(&writer)));
    mesh.eventually("the last changes are in force", async || {
        follows(&configuration(&mesh, FRONTEND).await?, &last)
    })
    .await;
    let before = configuration(&mesh, FRONTEND).await.expect("a configuration");

    let count = |name: &str| {
        mesh.mesh()
            .state()
            .component(name)
            .map_or(0, |part| part.restarts)
    };
    let both = [Component::Galley, Component::Pilot];
    let were = both.map(|component| count(component.name()));
    both.iter().for_each(|component| mesh.kill(*component));
    mesh.eventually("Galley and Pilot are fresh", async || {
        let state = mesh.mesh().state();
        for (component, were) in both.iter().zip(were) {
            let part = state.component(component.name()).context("a component")?;
            ensure!(part.ready && part.restarts > were, "{part:?}");
        }
        Ok(())
    })
    .await;
    mesh.kill_envoy(FRONTEND);
    mesh.eventually("a fresh proxy has the same", async || {
        let fresh = configuration(&mesh, FRONTEND).await?;
        let missing: Vec<_> = before
            .iter()
            .filter(|resource| !fresh.contains(resource))
            .collect();
        let more: Vec<_> = fresh
            .iter()
            .filter(|resource| !before.contains(resource))
            .collect();
        ensure!(
            missing.is_empty() && more.is_empty(),
            "less {missing:?}, more {more:?}"
        );
        Ok(())
    })
    .await;
}
