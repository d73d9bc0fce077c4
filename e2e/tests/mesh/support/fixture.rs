//! Meshes that tests share, one after another.
//!
//! A mesh takes seconds to start, a rule a fraction of one to take effect. So the tests of the examples borrow a
//! running mesh, apply their rules, and give it back; what they applied is forgotten then. A mesh whose test failed is
//! not given back, nor is one whose proxies still drain. The last test that uses any mesh ends them all, so nothing outlives
//! the tests.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::ensure;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::TestMesh;

/// A kind of mesh that tests share.
pub(crate) struct Fixture {
    /// Folders of the samples that it runs.
    samples: &'static [&'static str],
    /// How many tests may use one at a time: each has a mesh of its own.
    places: Semaphore,
}

/// The services of the weather application, all played by the test double, with several pods: `forecast` v1, v2, v3,
/// `recommendation` v1, v2, `advertisement`, and `frontend` v1, v2 to call from. Subsets are declared, routes are not.
pub(crate) static DOUBLES: Fixture = Fixture::new(&["../tests/mesh/doubles"]);

/// The weather application itself, with its way in through the gateway.
pub(crate) static WEATHER: Fixture = Fixture::new(&["weather"]);

/// What gateways lead to, an egress gateway, and a server outside the mesh.
pub(crate) static GATEWAYS: Fixture = Fixture::new(&["../tests/mesh/gateways", "egress-gateway"]);

/// A pod to call Mixer from, `sleep-0`, through its sidecar.
pub(crate) static MIXER: Fixture = Fixture::new(&["sleep"]);

/// Servers that speak plain TCP, some behind a headless service.
pub(crate) static L4: Fixture = Fixture::new(&["../tests/mesh/l4"]);

/// Test doubles in three namespaces under `REGISTRY_ONLY`: what a proxy does not know it does not reach. In `weather`:
/// `frontend`, `forecast`, `advertisement`; in `news`: `headlines`; in `coast`: pods of `forecast` whose application
/// listens on 3012 behind a service for 3002: `captured`, and `bound`, where nothing is that comes in.
pub(crate) static SCOPES: Fixture = Fixture::new(&["../tests/mesh/scopes"]);

/// Test doubles in `weather`: `frontend` and `shop`, of whose traffic nothing is captured (the application of `shop` listens
/// on 8012 behind a service for 8080), and `forecast` v1 and v2, which also stand behind `advertisement` on the port that
/// the application of `frontend` has.
pub(crate) static UNCAPTURED: Fixture = Fixture::new(&["../tests/mesh/uncaptured"]);

/// Outlives every test, and with it the tasks of the meshes.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// Meshes that nobody uses at the moment, by the samples that they run.
static IDLE: Mutex<Idle> = Mutex::new(Idle {
    users: 0,
    meshes: Vec::new(),
});

struct Idle {
    users: usize,
    meshes: Vec<(&'static [&'static str], Shared)>,
}

/// A mesh and what it looked like at first.
struct Shared {
    mesh: TestMesh,
    pods: BTreeSet<String>,
}

/// Somebody uses a mesh.
#[derive(Debug)]
pub(super) struct InUse;

// === impl Fixture ===

impl Fixture {
    const fn new(samples: &'static [&'static str]) -> Self {
        Self {
            samples,
            places: Semaphore::const_new(1),
        }
    }

    /// Runs a test on a mesh of this kind. Nothing is applied to it when the test begins.
    pub(crate) fn run(&'static self, test: impl AsyncFnOnce(&TestMesh)) {
        let _in_use = InUse::begin();
        RUNTIME.block_on(Box::pin(async {
            let _place = self.places.acquire().await.expect("never closed");
            let shared = match self.take() {
                Some(shared) => shared,
                None => Shared::start(self.samples).await,
            };
            test(&shared.mesh).await;
            shared.reset().await;
            if shared.has_drained().await {
                idle().meshes.push((self.samples, shared));
            }
        }));
    }

    fn take(&self) -> Option<Shared> {
        let mut idle = idle();
        let at = idle
            .meshes
            .iter()
            .position(|(samples, _)| *samples == self.samples)?;
        Some(idle.meshes.swap_remove(at).1)
    }
}

fn idle() -> MutexGuard<'static, Idle> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Shared ===

impl Shared {
    async fn start(samples: &[&str]) -> Self {
        let envoy = mesh_testing::provision::envoy().expect("an Envoy");
        let mesh = TestMesh::boot(&envoy, samples).await;
        mesh.settle().await;
        let pods = pods(&mesh);
        Self { mesh, pods }
    }

    /// Makes the mesh what it was at first.
    async fn reset(&self) {
        self.mesh.mesh().forget_applied().await.expect("forgotten");
        self.mesh.behave_again().await;
        self.mesh
            .eventually("the pods are those of the beginning", async || {
                ensure!(self.mesh.mesh().state().ready, "not ready");
                let pods = pods(&self.mesh);
                ensure!(pods == self.pods, "pods are {pods:?}");
                Ok(())
            })
            .await;
        // The next test must not call pods of this one: a proxy may know them a little longer than they live.
        self.mesh.settle().await;
    }

    /// Whether no proxy has filter chains that a listener has no more. At the end of the drain time Envoy cuts the connections
    /// that such chains still have, whatever request of a later test is on its way then.
    async fn has_drained(&self) -> bool {
        const DRAINING: &str = "listener_manager.total_filter_chains_draining";
        for pod in self
            .mesh
            .mesh()
            .state()
            .pods
            .iter()
            .filter(|pod| pod.admin.is_some())
        {
            let name = format!("{}/{}", pod.namespace, pod.name);
            if self.mesh.stat(&name, DRAINING).await.expect("a statistic") > 0 {
                return false;
            }
        }
        true
    }
}

fn pods(mesh: &TestMesh) -> BTreeSet<String> {
    let state = mesh.mesh().state();
    let name = |pod: &e2e::mesh::state::PodState| format!("{}/{}", pod.namespace, pod.name);
    state.pods.iter().map(name).collect()
}

// === impl InUse ===

impl InUse {
    pub(super) fn begin() -> Self {
        idle().users += 1;
        Self
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut idle = idle();
        idle.users -= 1;
        if idle.users == 0 && !idle.meshes.is_empty() {
            let meshes = std::mem::take(&mut idle.meshes);
            // Ending a mesh takes a moment; nobody should wait for the lock meanwhile.
            drop(idle);
            let _runtime = RUNTIME.enter();
            drop(meshes);
        }
    }
}
