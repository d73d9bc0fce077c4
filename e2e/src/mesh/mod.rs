//! The standalone mesh: a whole mesh on one Linux machine, without cluster or images.
//!
//! [`Mesh`] is the handle; `cargo mesh up` and the end-to-end tests use it alike:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let mesh = e2e::mesh::Mesh::builder().file("e2e/samples/weather").start().await?;
//! mesh.wait_ready(std::time::Duration::from_secs(60)).await?;
//! println!("{:?}", mesh.state().ingress.http);
//! # Ok(())
//! # }
//! ```
//!
//! What happens where:
//!
//! | module | task |
//! |---|---|
//! | `source`, `objects` | the user's files: objects of ours, and text for Galley |
//! | `reconcile`, `schedule`, `engine` | which pods should be, which can, and making it so |
//! | `pods` | one pod: plan, volumes, containers, probes |
//! | `helper`, `process` | namespaces, through a program of its own |
//! | `cluster`, `endpoints`, `ipam` | services and what stands behind them |
//! | `dns`, `proxy_rules` | how services are found and reached |
//! | `sockets`, `relay` | ways from the machine into the mesh |
//! | `components` | the control plane |
//! | `kubernetes` | a mesh whose objects live in an API server |
//!
//! The mesh leaves nothing in the machine's own network: no interface, no address, no rule.

mod builder;
mod cluster;
mod components;
pub mod control;
mod dns;
mod endpoints;
mod engine;
mod folder;
pub mod helper;
mod ipam;
mod kubernetes;
pub mod layout;
mod objects;
mod pods;
mod process;
pub mod programs;
mod proxy_rules;
mod reconcile;
mod relay;
mod schedule;
mod sockets;
mod source;
pub mod state;

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mesh_runtime::TaskHandle;
use mesh_runtime::task::AbortOnDrop;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

pub use self::builder::MeshBuilder;
pub use self::components::Component;
use self::engine::Request;
pub use self::kubernetes::Kubernetes;
use self::layout::{Layout, Lock};
use self::pods::PodContext;
use self::process::Holder;
use self::state::{ContainerState, State};

/// A running mesh. Dropping it ends everything at once; [`Mesh::stop`] also waits for the end.
#[derive(Debug)]
pub struct Mesh {
    layout: Layout,
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<Arc<State>>,
    context: Arc<PodContext>,
    engine: Option<TaskHandle>,
    node: Option<Holder>,
    tasks: Vec<AbortOnDrop>,
    kubernetes: Option<Arc<Kubernetes>>,
    _lock: Lock,
}

// === impl Mesh ===

impl Mesh {
    /// A mesh to be configured.
    #[must_use]
    pub fn builder() -> MeshBuilder {
        MeshBuilder::default()
    }

    /// The newest state.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.borrow())
    }

    /// Where the mesh keeps its files.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The API server that holds the objects of the mesh, where it was asked for one.
    #[must_use]
    pub fn kubernetes(&self) -> Option<&Kubernetes> {
        self.kubernetes.as_deref()
    }

    /// URL of the ingress gateway's port 80.
    ///
    /// # Errors
    /// When there is no ingress gateway.
    pub fn ingress_url(&self) -> Result<String> {
        self.state()
            .ingress
            .http
            .clone()
            .context("the mesh has no ingress gateway")
    }

    /// Waits until the whole mesh is ready.
    ///
    /// # Errors
    /// When it is not ready in time; the message says what is missing.
    pub async fn wait_ready(&self, limit: Duration) -> Result<()> {
        self.wait_for(limit, |state| state.ready).await
    }

    /// Waits until the state is as wished.
    ///
    /// # Errors
    /// When it is not in time; the message says what is not ready.
    pub async fn wait_for(&self, limit: Duration, wish: impl FnMut(&State) -> bool) -> Result<()> {
        let mut state = self.state.clone();
        let mut wish = wish;
        match timeout(limit, state.wait_for(|state| wish(state))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => bail!("the mesh has ended"),
            Err(_) => bail!(
                "not ready after {} s: {}",
                limit.as_secs(),
                self.state().what_is_missing()
            ),
        }
    }

    /// Runs a command in a pod's main container and waits for its end.
    ///
    /// # Errors
    /// When the pod does not exist or does not run.
    pub async fn exec<I>(&self, pod: &str, argv: I) -> Result<Output>
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.exec_in(pod, None, argv).await
    }

    /// Runs a command in a container of a pod; `None` is the main container.
    ///
    /// # Errors
    /// When the container does not exist or does not run.
    pub async fn exec_in<I>(&self, pod: &str, container: Option<&str>, argv: I) -> Result<Output>
    where
        I: IntoIterator<Item: Into<String>>,
    {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        let init = self
            .container(pod, container)?
            .init
            .with_context(|| format!("pod {pod} does not run"))?;
        let mut command = self.context.helper.enter_container(init, &argv);
        Ok(command.stdin(Stdio::null()).output().await?)
    }

    /// A connection to a port of a pod, from the node.
    ///
    /// # Errors
    /// When the pod does not exist or does not accept.
    pub async fn connect(&self, pod: &str, port: u16) -> Result<TcpStream> {
        let state = self.state();
        let pod = state
            .pod(pod)
            .with_context(|| format!("pod {pod} does not exist"))?;
        let address = SocketAddrV4::new(pod.ip, port);
        let sockets = &self.context.sockets;
        Ok(sockets
            .connect(self.context.node, address, Duration::from_secs(5))
            .await?)
    }

    /// A connection from inside a pod to an address, captured by the pod's rules as those of its application are.
    ///
    /// # Errors
    /// When the pod does not run, or nobody accepts.
    pub async fn connect_from(&self, pod: &str, address: SocketAddrV4) -> Result<TcpStream> {
        let state = self.state();
        let inside = state
            .pod(pod)
            .with_context(|| format!("pod {pod} does not exist"))?
            .pid
            .with_context(|| format!("pod {pod} does not run"))?;
        let sockets = &self.context.sockets;
        Ok(sockets.connect(inside, address, Duration::from_secs(5)).await?)
    }

    /// Adds or replaces the objects in a YAML text, as `kubectl apply` does.
    ///
    /// # Errors
    /// When the text is no YAML or an object has no name. What is wrong inside of an object is Galley's to say.
    pub async fn apply(&self, yaml: impl Into<String>) -> Result<String> {
        let yaml = yaml.into();
        if let Some(kubernetes) = &self.kubernetes {
            return kubernetes.apply(&yaml).await;
        }
        self.ask(|reply| Request::Apply { yaml, reply }).await
    }

    /// Applies a file.
    ///
    /// # Errors
    /// As [`Mesh::apply`], and when the file cannot be read.
    pub async fn apply_file(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        self.apply(text).await
    }

    /// Removes an object, wherever it came from. An empty namespace means `default`.
    ///
    /// # Errors
    /// When it does not exist.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<String> {
        let [kind, namespace, name] = [kind, namespace, name].map(str::to_owned);
        self.ask(|reply| Request::Delete {
            kind,
            namespace,
            name,
            reply,
        })
        .await
    }

    /// Forgets everything that was applied and deleted: what the files say counts again.
    ///
    /// # Errors
    /// When the mesh has ended.
    pub async fn forget_applied(&self) -> Result<String> {
        self.ask(|reply| Request::ForgetApplied { reply }).await
    }

    /// Changes labels of a running pod, as `kubectl label --overwrite` does; `None` removes one.
    ///
    /// # Errors
    /// When the pod does not exist.
    pub async fn label<'a>(
        &self,
        pod: &str,
        labels: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<String> {
        let labels: BTreeMap<_, _> = labels
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
            .collect();
        let pod = pod.to_owned();
        self.ask(|reply| Request::Label { pod, labels, reply }).await
    }

    /// Ends a component and keeps it down.
    ///
    /// # Errors
    /// When the mesh has ended.
    pub async fn stop_component(&self, component: Component) -> Result<String> {
        self.ask(|reply| Request::Switch {
            component,
            on: false,
            reply,
        })
        .await
    }

    /// Starts a component that was stopped or left out.
    ///
    /// # Errors
    /// When the mesh has ended.
    pub async fn start_component(&self, component: Component) -> Result<String> {
        self.ask(|reply| Request::Switch {
            component,
            on: true,
            reply,
        })
        .await
    }

    /// Sets a variable in a component's environment, as `kubectl set env` does: its pod is replaced by one that has it.
    ///
    /// # Errors
    /// When the mesh has ended.
    pub async fn set_env(&self, component: Component, name: &str, value: &str) -> Result<String> {
        let [name, value] = [name, value].map(str::to_owned);
        self.ask(|reply| Request::SetEnv {
            component,
            name,
            value,
            reply,
        })
        .await
    }

    /// Sends SIGKILL to a component; it is restarted as Kubernetes would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, component: Component) -> Result<()> {
        let state = self.state();
        let pid = state
            .component(component.name())
            .and_then(|component| component.pid);
        kill_process(pid.with_context(|| format!("{} does not run", component.name()))?)
    }

    /// Sends SIGKILL to the command of a container.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_container(&self, pod: &str, container: &str) -> Result<()> {
        let pid = self.container(pod, Some(container))?.pid;
        kill_process(pid.with_context(|| format!("container {container} of {pod} does not run"))?)
    }

    /// Ends the mesh and waits until nothing of it is left.
    ///
    /// # Errors
    /// When its folder cannot be removed.
    pub async fn stop(mut self) -> Result<()> {
        // If the engine has ended there is nobody to tell.
        let _ = self.requests.send(Request::Leave).await;
        if let Some(engine) = self.engine.take() {
            let _ = timeout(Duration::from_secs(20), engine.join()).await;
        }
        if let Some(node) = self.node.take() {
            node.release().await;
        }
        self.layout.remove()
    }

    async fn ask(&self, request: impl FnOnce(engine::Reply) -> Request) -> Result<String> {
        ask(&self.requests, request).await
    }

    fn container(&self, pod: &str, container: Option<&str>) -> Result<ContainerState> {
        self.state().find_container(pod, container)
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            // Tasks end a little later; their processes go now.
            engine.abort();
            self.tasks.clear();
            for pod in &self.state().pods {
                let processes = pod
                    .containers
                    .iter()
                    .filter_map(|container| container.init)
                    .chain(pod.pid);
                for pid in processes {
                    let _ = kill_process(pid);
                }
            }
            // Somebody may still write into it: then the next mesh of this name cleans up.
            let _ = self.layout.remove();
        }
    }
}

/// Sends a request to the engine and waits for the answer.
async fn ask(
    requests: &mpsc::Sender<Request>,
    request: impl FnOnce(engine::Reply) -> Request,
) -> Result<String> {
    let (reply, answer) = oneshot::channel();
    requests
        .send(request(reply))
        .await
        .ok()
        .context("the mesh has ended")?;
    answer
        .await
        .context("the mesh has ended")?
        .map_err(anyhow::Error::msg)
}

fn kill_process(pid: i32) -> Result<()> {
    Ok(kill(Pid::from_raw(pid), Signal::SIGKILL)?)
}
