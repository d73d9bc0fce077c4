//! Starting a mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mesh_runtime::task::AbortOnDrop;
use mesh_runtime::watch::FileWatch;
use mesh_runtime::{Shutdown, Spawner, TaskHandle};
use mesh_testing::provision;
use tokio::sync::{OnceCell, mpsc, watch};
use tracing::warn;

use super::components::{self, Component};
use super::dns::{self, Zone};
use super::endpoints::NODE_NAME;
use super::engine::{Engine, Outputs, Request, Settings};
use super::folder;
use super::helper::protocol::NodeSpec;
use super::ipam;
use super::kubernetes::{self, Kubernetes};
use super::layout::Layout;
use super::pods::PodContext;
use super::process::Helper;
use super::programs::{self, Programs, workspace};
use super::proxy_rules::{ForwardRule, restore_text};
use super::sockets::Sockets;
use super::state::State;
use super::{Mesh, control};
use crate::images::{self, Images};
use crate::provision::require_tools;

/// Quiet time after a change of a file before files are read again.
const QUIET: Duration = Duration::from_millis(20);

/// What is there before any application.
const MANIFESTS: [&str; 4] = [
    "e2e/manifests",
    "charts/mixer/destinationrules.yaml",
    "charts/mixer/config/attributes.yaml",
    "charts/mixer/config/prometheus.yaml",
];

/// And where there is an API server, which Mixer can ask about pods.
const MANIFESTS_OF_KUBERNETES: [&str; 1] = ["charts/mixer/config/kubernetesenv.yaml"];

/// What a mesh is to be.
#[derive(Clone, Debug, Default)]
pub struct MeshBuilder {
    name: Option<String>,
    files: Vec<PathBuf>,
    without: BTreeSet<Component>,
    env: BTreeMap<Component, BTreeMap<String, String>>,
    envoy: Option<PathBuf>,
    target: Option<PathBuf>,
    no_build: bool,
    only_files: bool,
    ingress_ports: BTreeMap<i32, u16>,
    kubernetes: bool,
    reuse_addresses: bool,
}

// === impl MeshBuilder ===

impl MeshBuilder {
    /// Distinguishes several meshes on one machine. Without a name there can be one.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A name that no other mesh of this machine has: for tests.
    #[must_use]
    pub fn unique_name(self) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        self.name(format!("test-{}-{number}", std::process::id()))
    }

    /// Adds a file, or a folder with files, relative to the workspace unless absolute. It is read again whenever
    /// it changes.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.files.push(workspace().join(path));
        self
    }

    /// Adds files and folders, see [`MeshBuilder::file`].
    #[must_use]
    pub fn files<P: AsRef<Path>>(self, paths: impl IntoIterator<Item = P>) -> Self {
        paths.into_iter().fold(self, |builder, path| builder.file(path))
    }

    /// Leaves the manifests of this workspace (namespaces, ingress gateway and Mixer's configuration) out.
    #[must_use]
    pub fn only_files(mut self) -> Self {
        self.only_files = true;
        self
    }

    /// Leaves a component out.
    #[must_use]
    pub fn without(mut self, component: Component) -> Self {
        self.without.insert(component);
        self
    }

    /// Sets a variable in a component's environment.
    #[must_use]
    pub fn env(mut self, component: Component, name: &str, value: &str) -> Self {
        self.env
            .entry(component)
            .or_default()
            .insert(name.to_owned(), value.to_owned());
        self
    }

    /// Runs this Envoy instead of the pinned one.
    #[must_use]
    pub fn envoy(mut self, path: impl Into<PathBuf>) -> Self {
        self.envoy = Some(path.into());
        self
    }

    /// Keeps files below another folder than the build folder.
    #[must_use]
    pub fn target(mut self, path: impl Into<PathBuf>) -> Self {
        self.target = Some(path.into());
        self
    }

    /// Takes the programs as they are instead of building them first.
    #[must_use]
    pub fn no_build(mut self) -> Self {
        self.no_build = true;
        self
    }

    /// The machine's port that should lead to a port of the ingress gateway, if it is free.
    #[must_use]
    pub fn ingress_port(mut self, gateway: i32, machine: u16) -> Self {
        self.ingress_ports.insert(gateway, machine);
        self
    }

    /// Keeps the objects in a Kubernetes API server of the mesh's own, where `kubectl` changes them, instead of in
    /// files. Those that are given are applied once.
    #[must_use]
    pub fn kubernetes(mut self) -> Self {
        self.kubernetes = true;
        self
    }

    /// Gives a pod the address of one that has just ended, as networks of clusters may.
    #[must_use]
    pub fn reuse_addresses(mut self) -> Self {
        self.reuse_addresses = true;
        self
    }

    /// Where the mesh will keep its files.
    ///
    /// # Errors
    /// When the build folder cannot be found.
    pub fn layout(&self) -> Result<Layout> {
        let target = match &self.target {
            Some(target) => target.clone(),
            None => programs::target()?,
        };
        Ok(Layout::in_target(&target, self.name.as_deref()))
    }

    /// Provides what is missing and starts everything. Returns as soon as the processes are on their way; see
    /// [`Mesh::wait_ready`].
    ///
    /// # Errors
    /// When the machine lacks something, with the command that installs it; when a mesh of this name runs.
    pub async fn start(self) -> Result<Mesh> {
        let layout = self.layout()?;
        let lock = layout.take()?;
        let started = self.start_in(&layout).await;
        if started.is_err() {
            // The reason for the failure matters more than that of a file that stays.
            let _ = layout.remove();
        }
        let (engine, requests, state, context, node, tasks, kubernetes) = started?;
        Ok(Mesh {
            layout,
            requests,
            state,
            context,
            engine: Some(engine),
            node: Some(node),
            tasks,
            kubernetes,
            _lock: lock,
        })
    }

    async fn start_in(self, layout: &Layout) -> Result<Started> {
        require_tools()?;
        let envoy = self.envoy.clone();
        let (programs, images) = tokio::task::spawn_blocking(move || {
            let envoy = envoy.map_or_else(provision::envoy, Ok)?;
            let table = format!("{}{}", components::IMAGES, images::BUILT_IN);
            anyhow::Ok((envoy, Images::parse(&table)?))
        })
        .await??;
        if !self.no_build {
            build_once().await?;
        }
        let programs = Programs::locate(programs)?;

        let spawner = Spawner::new(Shutdown::default());
        let kubernetes = if self.kubernetes {
            Some(Arc::new(Box::pin(Kubernetes::start(layout)).await?))
        } else {
            None
        };
        let helper = Helper::new(programs.helper());
        let node = helper
            .node(&NodeSpec {
                addresses: vec![ipam::NODE, ipam::NODE_RESOLVER],
                virtual_range: ipam::SERVICE_RANGE.to_owned(),
            })
            .await
            .context(
                "cannot create the mesh's network (inside a container, the container must be privileged)",
            )?;
        let sockets = Sockets::start()?;
        let dns = sockets
            .bind_udp(node.pid(), SocketAddrV4::new(ipam::NODE, 53))
            .await?;

        let node_dns = sockets
            .bind_udp(node.pid(), SocketAddrV4::new(ipam::NODE_RESOLVER, 53))
            .await?;
        let (_, node_zone) = watch::channel(Arc::new(Zone::of_node(NODE_NAME, ipam::NODE)));

        let (zone, zones) = watch::channel(Arc::new(Zone::default()));
        let (rules, rule_changes) = watch::channel(Vec::new());
        let (state_sender, state) = watch::channel(Arc::new(State::default()));
        let (written, writes) = watch::channel(Arc::default());
        let (gate, gate_signal) = watch::channel(false);
        let (requests, request_inbox) = mpsc::channel(64);
        let context = Arc::new(PodContext {
            helper: helper.clone(),
            sockets: sockets.clone(),
            layout: layout.clone(),
            node: node.pid(),
            binds: programs.binds(),
            gate: gate_signal,
        });
        let outputs = Outputs::new(
            zone,
            rules,
            state_sender,
            gate,
            layout.clone(),
            sockets.clone(),
            node.pid(),
            spawner.clone(),
            self.ingress_ports.clone(),
            kubernetes.is_some().then_some(written),
        );
        let (files, defaults) = self.all_files();
        let settings = Settings {
            files: files.clone(),
            defaults: defaults.clone(),
            without: self.without,
            env: self.env,
            base: std::env::current_dir().unwrap_or_default(),
            kubernetes: kubernetes.as_ref().map(|server| server.kubeconfig().to_owned()),
            reuse_addresses: self.reuse_addresses,
        };
        let engine = Engine::new(
            settings,
            images,
            Arc::clone(&context),
            spawner.clone(),
            request_inbox,
            outputs,
        );

        let mut tasks = vec![
            spawner.spawn("dns", dns::serve(dns, zones)),
            spawner.spawn("dns of the node", dns::serve(node_dns, node_zone)),
            spawner.spawn("service rules", apply_rules(helper, node.pid(), rule_changes)),
            spawner.spawn("state file", write_state(layout.state(), state.clone())),
            spawner.spawn("control", control::serve(layout, requests.clone())?),
        ];
        let mut inward = None;
        if let Some(kubernetes) = &kubernetes {
            Box::pin(kubernetes.fill(&files, &defaults)).await?;
            inward = Some(kubernetes.let_in(&sockets, node.pid(), &spawner).await?);
            let client = kubernetes.client().await?;
            tasks.extend([
                spawner.spawn(
                    "objects of the API server",
                    kubernetes::follow(client.clone(), requests.clone()),
                ),
                spawner.spawn("writes to the API server", kubernetes::write(client, writes)),
                spawner.spawn(
                    "webhook of Galley",
                    kubernetes::configure(layout.kubernetes(), state.clone()),
                ),
            ]);
        } else {
            let watch = FileWatch::new(files.iter().chain(&defaults), QUIET)?;
            tasks.push(spawner.spawn("file watch", watch_files(watch, requests.clone())));
        }
        let mut tasks: Vec<AbortOnDrop> = tasks.into_iter().map(TaskHandle::abort_on_drop).collect();
        tasks.extend(inward);
        let engine = spawner.spawn("engine", engine.run());
        Ok((engine, requests, state, context, node, tasks, kubernetes))
    }

    /// The user's files, and the manifests of this workspace for what they leave out.
    fn all_files(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let of_kubernetes = MANIFESTS_OF_KUBERNETES.iter().filter(|_| self.kubernetes);
        let own = MANIFESTS.iter().chain(of_kubernetes).filter(|_| !self.only_files);
        (
            self.files.clone(),
            own.map(|path| workspace().join(path)).collect(),
        )
    }
}

type Started = (
    TaskHandle,
    mpsc::Sender<Request>,
    watch::Receiver<Arc<State>>,
    Arc<PodContext>,
    super::process::Holder,
    Vec<AbortOnDrop>,
    Option<Arc<Kubernetes>>,
);

/// Builds the programs, once in the life of this process.
async fn build_once() -> Result<()> {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    BUILT
        .get_or_try_init(|| async { tokio::task::spawn_blocking(Programs::build).await? })
        .await
        .copied()
}

/// Reads files again whenever they change.
async fn watch_files(mut watch: FileWatch, requests: mpsc::Sender<Request>) {
    loop {
        watch.changed().await;
        if requests.send(Request::Reload).await.is_err() {
            return;
        }
    }
}

/// Keeps the node's rules as they should be.
async fn apply_rules(helper: Helper, node: i32, mut rules: watch::Receiver<Vec<ForwardRule>>) {
    while rules.changed().await.is_ok() {
        let text = restore_text(&rules.borrow_and_update());
        match helper.run_in_node(node, &["iptables-restore"], &text).await {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                warn!(%error, "cannot set the rules for services");
            }
            Err(error) => warn!(error = format!("{error:#}"), "cannot set the rules for services"),
        }
    }
}

/// Keeps `state.json` as it should be.
async fn write_state(path: PathBuf, mut state: watch::Receiver<Arc<State>>) {
    loop {
        let newest = Arc::clone(&state.borrow_and_update());
        let written = serde_json::to_vec_pretty(&*newest)
            .map_err(std::io::Error::other)
            .and_then(|text| folder::replace(&path, &text));
        if let Err(error) = written {
            warn!(%error, "cannot write the state");
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}
