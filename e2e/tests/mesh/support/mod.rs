//! A mesh for one test, and what tests ask it.
//!
//! | want | use |
//! |---|---|
//! | a mesh that other tests use too | [`fixture`]: `DOUBLES.run(async \|mesh\| …)` |
//! | a mesh of one's own | [`TestMesh::start`] |
//! | rules, in force everywhere before the next request | [`TestMesh::enforce`], texts from [`rule`] |
//! | requests from a pod | [`TestMesh::from`] |
//! | requests through the ingress gateway | [`TestMesh::get`] |

mod caller;
mod doubles;
pub(crate) mod fixture;
mod look;
pub(crate) mod prometheus;
pub(crate) mod rule;
pub(crate) mod tls;
mod way;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::load::{Answer, HttpClient, Load};
use e2e::mesh::state::PodState;
use e2e::mesh::{Component, Mesh, MeshBuilder};
use hyper::Method;
use mesh_testing::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

pub(crate) use self::caller::{Caller, Tally, exchange, pod, status, version};
use self::doubles::Touched;
use self::fixture::InUse;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The host under which forecast is reached from outside in tests with load.
pub(crate) const FORECAST: (&str, &str) = ("host", "forecast.example.com");
/// The ingress gateway.
pub(crate) const GATEWAY: &str = "istio-ingressgateway-0";
/// Where applications find the proxy of a pod of which nothing is captured.
const HTTP_PROXY_URL: &str = "http://127.0.0.1:15002/";
/// The container of the sidecar, and of a gateway.
const PROXY: &str = "istio-proxy";

/// One test at a time puts load on the machine, so that none measures the others.
static LOAD: Mutex<()> = Mutex::const_new(());

/// The turn of a test that puts load on a mesh that it shares.
pub(crate) async fn load_turn() -> MutexGuard<'static, ()> {
    LOAD.lock().await
}

/// A mesh that ends with its test.
pub(crate) struct TestMesh {
    mesh: Mesh,
    _load: Option<MutexGuard<'static, ()>>,
    client: HttpClient,
    ingress: String,
    /// How often [`Self::settle`] was called.
    marks: AtomicU64,
    touched: Touched,
    /// Nothing for a mesh that tests share: it ends when nobody uses any.
    _in_use: Option<InUse>,
}

/// The text of a file of the samples.
pub(crate) fn rules(name: &str) -> String {
    let path = samples().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folder of the samples.
pub(crate) fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")
}

impl TestMesh {
    /// A mesh that runs samples, once everything in it is ready.
    pub(crate) async fn start(samples: &[&str]) -> Self {
        let envoy = mesh_testing::provision::envoy().expect("an Envoy");
        Self::start_on(&envoy, samples).await
    }

    /// The weather application, once every endpoint has reached every proxy: both versions of forecast answer, and no
    /// part of the page fails.
    pub(crate) async fn weather() -> Self {
        let mesh = Self::start(&["weather"]).await;
        mesh.eventually("every endpoint has reached every proxy", async || {
            let mut pages = String::new();
            for _ in 0..8 {
                let page = mesh.get("/api/weather", &[]).await?;
                ensure!(
                    page.status == 200 && !page.body.contains("\"error\""),
                    "{}: {}",
                    page.status,
                    page.body
                );
                pages.push_str(&page.body);
            }
            for pod in ["forecast-v1-0", "forecast-v2-0"] {
                ensure!(pages.contains(pod), "{pod} answers nobody: {pages}");
            }
            Ok(())
        })
        .await;
        mesh
    }

    /// The weather application for a test that puts it under load; such tests run one after another.
    ///
    /// `forecast.example.com` leads from the gateway straight to forecast, by the weights of [`Self::split`].
    pub(crate) async fn for_load() -> Self {
        let turn = LOAD.lock().await;
        let mut mesh = Self::weather().await;
        mesh.split(50).await;
        mesh.eventually_status("/weather", &[FORECAST], 200).await;
        mesh._load = Some(turn);
        mesh
    }

    /// Sends that many percent of the requests for `forecast.example.com` to version v1 and the rest to v2.
    pub(crate) async fn split(&self, v1: u64) {
        self.apply(&format!(
            "apiVersion: networking.istio.io/v1alpha3\n\
             kind: VirtualService\n\
             metadata: {{name: forecast-from-outside, namespace: weather}}\n\
             spec:\n  hosts: [{}]\n  gateways: [istio-system/weather-gateway]\n  http:\n  - route:\n    \
             - {{destination: {{host: forecast, subset: v1}}, weight: {v1}}}\n    \
             - {{destination: {{host: forecast, subset: v2}}, weight: {}}}\n",
            FORECAST.1,
            100 - v1
        ))
        .await;
    }

    /// Puts load on forecast, 200 requests a second; answers are counted by version.
    pub(crate) fn load(&self) -> Load {
        Load::start(self.url("/weather"), FORECAST.1, 200, |answer| {
            answer.header("x-sample-version").to_owned()
        })
    }

    /// As [`Self::start`], on a given Envoy.
    pub(crate) async fn start_on(envoy: &Path, names: &[&str]) -> Self {
        Self::start_as(Mesh::builder().envoy(envoy), names).await
    }

    /// As [`Self::start`], of a mesh that is special.
    pub(crate) async fn start_as(builder: MeshBuilder, names: &[&str]) -> Self {
        let in_use = InUse::begin();
        let mesh = Self::boot_as(builder, names).await;
        Self {
            _in_use: Some(in_use),
            ..mesh
        }
    }

    /// Starts a mesh and waits until it is ready.
    async fn boot(envoy: &Path, names: &[&str]) -> Self {
        Self::boot_as(Mesh::builder().envoy(envoy), names).await
    }

    /// A mesh whose objects are in an API server, once everything in it is ready.
    pub(crate) async fn on_kubernetes(samples: &[&str]) -> Self {
        Self::on_kubernetes_as(Mesh::builder(), samples).await
    }

    /// The same of a mesh that is special.
    pub(crate) async fn on_kubernetes_as(builder: MeshBuilder, samples: &[&str]) -> Self {
        Self::start_as(builder.kubernetes(), samples).await
    }

    async fn boot_as(builder: MeshBuilder, names: &[&str]) -> Self {
        let mut builder = builder.unique_name().no_build();
        for name in names {
            builder = builder.file(samples().join(name));
        }
        let mesh = builder.start().await.expect("the mesh starts");
        mesh.wait_ready(PATIENCE).await.expect("the mesh gets ready");
        let ingress = mesh.ingress_url().expect("an ingress gateway");
        Self {
            mesh,
            _load: None,
            client: HttpClient::new(),
            ingress: ingress.trim_end_matches('/').to_owned(),
            marks: AtomicU64::new(0),
            touched: Touched::default(),
            _in_use: None,
        }
    }

    /// The mesh itself.
    pub(crate) fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// The URL of a path behind the ingress gateway.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.ingress)
    }

    /// Sends one request through the ingress gateway.
    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.client.get(&self.url(path), headers).await
    }

    /// Waits until a request through the ingress gateway has a status.
    pub(crate) async fn eventually_status(&self, path: &str, headers: &[(&str, &str)], status: u16) {
        self.eventually(&format!("{path} is answered {status}"), async || {
            let answer = self.get(path, headers).await?;
            ensure!(answer.status == status, "{}: {}", answer.status, answer.body);
            Ok(())
        })
        .await;
    }

    /// Waits for a condition.
    pub(crate) async fn eventually(&self, what: &str, condition: impl AsyncFnMut() -> Result<()>) {
        if let Err(error) = eventually(PATIENCE, condition).await {
            panic!("{what}: {error}");
        }
    }

    /// Applies YAML text.
    pub(crate) async fn apply(&self, yaml: &str) {
        self.mesh.apply(yaml).await.expect("applied");
    }

    /// Applies YAML text and waits until every proxy follows it.
    pub(crate) async fn enforce(&self, yaml: &str) {
        self.apply(yaml).await;
        self.settle().await;
    }

    /// Removes an object and waits until every proxy follows that.
    pub(crate) async fn withdraw(&self, kind: &str, namespace: &str, name: &str) {
        self.mesh.delete(kind, namespace, name).await.expect("it existed");
        self.settle().await;
    }

    /// Waits until everything that was applied or deleted so far is in force in every proxy.
    ///
    /// A rule that is applied last, and that every proxy answers by itself, says so: what comes later in the
    /// configuration of Galley comes later in that of a proxy.
    pub(crate) async fn settle(&self) {
        let mark = self.marks.fetch_add(1, Ordering::Relaxed) + 1;
        self.apply(&rule::mark(mark)).await;
        let state = self.mesh.state();
        for pod in state.pods.iter().filter(|pod| pod.admin.is_some() && pod.ready) {
            self.eventually(&format!("{} follows the newest rules", pod.name), async || {
                if !self.runs(pod) {
                    return Ok(());
                }
                let seen = self.mark_of(pod).await?;
                ensure!(seen == rule::marked(mark), "it is at {seen:?}, not {mark}");
                Ok(())
            })
            .await;
        }
    }

    /// Whether this very pod is still there, ready, and not another one of its name.
    fn runs(&self, pod: &PodState) -> bool {
        let state = self.mesh.state();
        let now = state
            .pods
            .iter()
            .find(|now| now.name == pod.name && now.namespace == pod.namespace);
        now.is_some_and(|now| now.ready && now.pid == pod.pid)
    }

    /// Where a pod's proxy redirects the requests for the mark.
    async fn mark_of(&self, pod: &PodState) -> Result<String> {
        let name = format!("{}/{}", pod.namespace, pod.name);
        let url = rule::MARK_URL;
        let gateway = pod.main_container().is_some_and(|main| main.name == PROXY);
        let answer = if gateway {
            let stream = self.mesh.connect(&name, rule::MARK_PORT).await?;
            exchange(stream, Method::GET, &url.parse()?, &[], "").await?
        } else if self.is_uncaptured(&name).await? {
            let host = ("host", rule::MARK_HOST);
            self.from(&name).get(HTTP_PROXY_URL, &[host]).await?
        } else {
            self.from(&name).get(url, &[]).await?
        };
        ensure!(answer.status == 301, "{}: {}", answer.status, answer.body);
        Ok(answer.header("location").to_owned())
    }

    /// Whether nothing of a pod is captured: its application must talk to the proxy itself.
    async fn is_uncaptured(&self, pod: &str) -> Result<bool> {
        let info: Value = serde_json::from_str(&self.admin(pod, "server_info").await?)?;
        Ok(info["node"]["metadata"]["INTERCEPTION_MODE"] == "NONE")
    }

    /// Labels a running pod.
    pub(crate) async fn label(&self, pod: &str, label: &str, value: &str) {
        self.mesh
            .label(pod, [(label, Some(value))])
            .await
            .expect("labelled");
    }

    /// A page of a pod's Envoy.
    pub(crate) async fn admin(&self, pod: &str, page: &str) -> Result<String> {
        let state = self.mesh.state();
        let pod = state
            .pod(pod)
            .with_context(|| format!("pod {pod} does not exist"))?;
        let admin = pod
            .admin
            .as_ref()
            .with_context(|| format!("pod {} has no Envoy", pod.name))?;
        let answer = self
            .client
            .get(&format!("{}/{page}", admin.trim_end_matches('/')), &[])
            .await?;
        ensure!(answer.status == 200, "{page}: {}", answer.status);
        Ok(answer.body)
    }

    /// How many clusters a pod's Envoy has.
    pub(crate) async fn active_clusters(&self, pod: &str) -> Result<u64> {
        self.stat(pod, "cluster_manager.active_clusters").await
    }

    /// A statistic of a pod's Envoy. Those of clusters need the annotation
    /// `sidecar.istio.io/statsInclusionPrefixes: cluster.outbound` at the pod.
    pub(crate) async fn stat(&self, pod: &str, name: &str) -> Result<u64> {
        let stats = self.admin(pod, "stats").await?;
        let value = stats
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = value.with_context(|| format!("{pod} has no statistic {name}"))?;
        Ok(value.trim().parse()?)
    }

    /// What the application of a pod has written so far.
    pub(crate) fn log(&self, pod: &str) -> String {
        let state = self.mesh.state();
        let pod = state
            .pod(pod)
            .unwrap_or_else(|| panic!("pod {pod} does not exist"));
        std::fs::read_to_string(&pod.log).unwrap_or_else(|error| panic!("{}: {error}", pod.log.display()))
    }

    /// Whether a pod's Envoy has a route that splits traffic by these weights.
    pub(crate) async fn has_weights(&self, pod: &str, weights: &[u64]) -> Result<()> {
        let dump = self
            .admin(pod, "config_dump?resource=dynamic_route_configs")
            .await?;
        let dump: Value = serde_json::from_str(&dump)?;
        let mut seen = Vec::new();
        collect_weights(&dump, &mut seen);
        ensure!(seen.iter().any(|seen| seen == weights), "weights are {seen:?}");
        Ok(())
    }

    /// Whether no route of a pod's Envoy splits traffic: one destination alone has no weight (`R-VS-12`).
    pub(crate) async fn has_no_weights(&self, pod: &str) -> Result<()> {
        let dump = self
            .admin(pod, "config_dump?resource=dynamic_route_configs")
            .await?;
        let dump: Value = serde_json::from_str(&dump)?;
        let mut seen = Vec::new();
        collect_weights(&dump, &mut seen);
        ensure!(seen.is_empty(), "weights are {seen:?}");
        Ok(())
    }

    /// Waits until a load has got that many more answers.
    pub(crate) async fn wait_for_answers(&self, load: &Load, more: usize) {
        let before = load.report().answered;
        self.eventually("traffic goes on", async || {
            let answered = load.report().answered;
            ensure!(
                answered >= before + more,
                "{} of {more} answers",
                answered - before
            );
            Ok(())
        })
        .await;
    }

    /// Kills a component with SIGKILL.
    pub(crate) fn kill(&self, component: Component) {
        self.mesh.kill(component).expect("it runs");
    }

    /// Kills the agent of a pod with SIGKILL.
    pub(crate) fn kill_agent(&self, pod: &str) {
        self.mesh.kill_container(pod, PROXY).expect("it runs");
    }

    /// Kills the Envoy of a pod with SIGKILL.
    pub(crate) fn kill_envoy(&self, pod: &str) {
        let agent = self
            .mesh
            .state()
            .find_container(pod, Some(PROXY))
            .expect("a proxy")
            .pid
            .expect("it runs");
        let envoy = child_of(agent).expect("the agent has an Envoy");
        kill(Pid::from_raw(envoy), Signal::SIGKILL).expect("killed");
    }

    /// The address of a pod.
    pub(crate) fn pod_ip(&self, pod: &str) -> Option<Ipv4Addr> {
        self.mesh.state().pod(pod).map(|pod| pod.ip)
    }
}

/// The weights of each route that has any.
fn collect_weights(value: &Value, seen: &mut Vec<Vec<u64>>) {
    match value {
        Value::Object(object) => {
            if let Some(clusters) = object.get("weighted_clusters") {
                let clusters = clusters["clusters"]
                    .as_array()
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                seen.push(
                    clusters
                        .iter()
                        .filter_map(|cluster| cluster["weight"].as_u64())
                        .collect(),
                );
            }
            object.values().for_each(|value| collect_weights(value, seen));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_weights(value, seen)),
        _ => {}
    }
}

/// The first child process of a process.
fn child_of(parent: i32) -> Option<i32> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name of the program is in brackets and may hold anything.
        let after_name = stat.rsplit(')').next()?;
        (after_name.split_whitespace().nth(1)?.parse() == Ok(parent)).then_some(pid)
    })
}
