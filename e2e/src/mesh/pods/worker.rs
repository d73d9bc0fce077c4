//! The life of one pod, from its sandbox to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};

use super::container::{Event, Supervisor};
use super::handle::{PodContext, PodIdentity, PodUpdate, Stop, volume_folder};
use super::plan::{PodPlan, Role};
use super::probe::Prober;
use super::status::{ContainerState, ContainerStatus, Phase, PodStatus};
use super::volumes::{self, Content};
use crate::mesh::helper::VOLUMES;
use crate::mesh::helper::protocol::{Bind, ContainerSpec, Exit, FileSpec, Link, Network, SandboxSpec};
use crate::mesh::ipam;
use crate::mesh::process::Holder;

/// Why a pod's life ended.
enum End {
    Stopped(Stop),
    Failed(String),
    Succeeded,
}

/// The task of a pod.
pub(super) struct Worker {
    identity: PodIdentity,
    plan: PodPlan,
    context: Arc<PodContext>,
    folder: PathBuf,
    status: PodStatus,
    updates: mpsc::UnboundedSender<PodUpdate>,
    events: mpsc::UnboundedReceiver<Event>,
    /// Handed to every container.
    event_sender: mpsc::UnboundedSender<Event>,
    stop: watch::Receiver<Option<Stop>>,
    /// One per container that was started.
    stoppers: BTreeMap<usize, watch::Sender<Option<Duration>>>,
    containers: JoinSet<()>,
    /// Containers whose startup probe has succeeded.
    started: BTreeSet<usize>,
    /// Containers that have ended for good.
    finished: BTreeSet<usize>,
}

// === impl Worker ===

impl Worker {
    pub(super) fn new(
        identity: PodIdentity,
        plan: PodPlan,
        context: Arc<PodContext>,
        folder: PathBuf,
        updates: mpsc::UnboundedSender<PodUpdate>,
        stop: watch::Receiver<Option<Stop>>,
    ) -> Self {
        let (event_sender, events) = mpsc::unbounded_channel();
        let containers = plan.containers.iter().map(|container| ContainerStatus {
            name: container.name.clone(),
            lasting: container.role != Role::Init,
            state: ContainerState::Waiting,
            ready: false,
            restarts: 0,
        });
        let status = PodStatus {
            containers: containers.collect(),
            ..PodStatus::default()
        };
        Self {
            identity,
            plan,
            context,
            folder,
            status,
            updates,
            events,
            event_sender,
            stop,
            stoppers: BTreeMap::new(),
            containers: JoinSet::new(),
            started: BTreeSet::new(),
            finished: BTreeSet::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut sandbox = None;
        let end = match self.live(&mut sandbox).await {
            Ok(end) => end,
            Err(error) => End::Failed(format!("{error:#}")),
        };
        match end {
            End::Stopped(how) => {
                self.status.phase = Phase::Terminating;
                self.status.ready = false;
                self.publish();
                self.end_containers(how).await;
            }
            End::Failed(reason) => {
                info!(namespace = %self.identity.namespace, pod = %self.identity.name, %reason, "pod failed");
                self.status.phase = Phase::Failed;
                self.status.ready = false;
                self.status.message = reason;
                self.publish();
                self.end_containers(Stop::Now).await;
            }
            End::Succeeded => {
                self.status.phase = Phase::Succeeded;
                self.status.ready = false;
                self.publish();
                self.end_containers(Stop::Gracefully).await;
            }
        }
        if let Some(sandbox) = sandbox {
            sandbox.release().await;
        }
        self.status.sandbox = None;
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            debug!(folder = %self.folder.display(), %error, "cannot remove the pod's folder");
        }
        self.send(true);
    }

    /// Everything up to the pod's end.
    async fn live(&mut self, sandbox: &mut Option<Holder>) -> Result<End> {
        let created = self.create_sandbox().await?;
        let pid = created.pid();
        let sandbox = sandbox.insert(created);
        self.status.sandbox = Some(pid);
        self.publish();
        if !self.identity.control_plane {
            let mut gate = self.context.gate.clone();
            tokio::select! {
                // An error means that the mesh ends, which the other branch sees.
                _ = gate.wait_for(|open| *open) => {}
                how = stopped(&mut self.stop) => return Ok(End::Stopped(how)),
            }
        }
        for index in 0..self.plan.containers.len() {
            self.start_container(index, pid);
            loop {
                let role = self.plan.containers[index].role;
                let state = &self.status.containers[index];
                let on = match role {
                    Role::App => true,
                    Role::Sidecar => self.started.contains(&index),
                    Role::Init => matches!(state.state, ContainerState::Exited(exit) if exit.success()),
                };
                if on {
                    break;
                }
                if let Some(end) = self.step(sandbox).await {
                    return Ok(end);
                }
            }
        }
        self.status.phase = Phase::Running;
        self.publish();
        loop {
            if let Some(end) = self.step(sandbox).await {
                return Ok(end);
            }
        }
    }

    async fn create_sandbox(&self) -> Result<Holder> {
        let scratch = self.folder.join("scratch");
        for folder in [&self.folder, &scratch] {
            fs::create_dir(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let mut binds = self.context.binds.clone();
        for (name, content) in &self.plan.volumes {
            let source = match content {
                Content::Host(path) => path.clone(),
                content => {
                    let folder = volume_folder(&self.folder, name);
                    volumes::write(&folder, content)
                        .with_context(|| format!("cannot write volume {name}"))?;
                    folder
                }
            };
            binds.push(Bind {
                source,
                target: Path::new(VOLUMES).join(name),
                read_only: false,
            });
        }
        let address = self.identity.address;
        let PodPlan {
            hostname,
            resolv_conf,
            ..
        } = &self.plan;
        let file = |path: &str, content: String| FileSpec {
            path: path.into(),
            content,
        };
        let spec = SandboxSpec {
            node: self.context.node,
            network: match self.plan.on_host {
                true => Network::Host,
                false => Network::Own(Link {
                    name: link_name(address),
                    address,
                    gateway: ipam::NODE,
                }),
            },
            hostname: hostname.clone(),
            scratch,
            files: vec![
                file("/etc/resolv.conf", resolv_conf.clone()),
                file(
                    "/etc/hosts",
                    format!("127.0.0.1 localhost\n{address} {hostname}\n"),
                ),
                file(
                    "/etc/nsswitch.conf",
                    "passwd: files\ngroup: files\nhosts: files dns\n".to_owned(),
                ),
            ],
            binds,
        };
        self.context.helper.sandbox(&spec).await
    }

    fn start_container(&mut self, index: usize, sandbox: i32) {
        let PodIdentity {
            namespace,
            name,
            address,
            ..
        } = &self.identity;
        let plan = self.plan.containers[index].clone();
        let (stopper, stop) = watch::channel(None);
        self.stoppers.insert(index, stopper);
        let supervisor = Supervisor {
            index,
            restart: self.plan.restart,
            pod: format!("{namespace}/{name}"),
            spec: ContainerSpec {
                sandbox,
                log: self.context.layout.container_log(namespace, name, &plan.name),
                process: plan.process.clone(),
                mounts: plan.mounts.clone(),
            },
            prober: Prober {
                helper: self.context.helper.clone(),
                sockets: self.context.sockets.clone(),
                node: self.context.node,
                address: *address,
                init: 0,
            },
            plan,
            context: Arc::clone(&self.context),
            events: self.event_sender.clone(),
            stop,
        };
        self.containers.spawn(supervisor.run());
    }

    /// Waits for the next thing to happen; `Some` when it is the end.
    async fn step(&mut self, sandbox: &mut Holder) -> Option<End> {
        tokio::select! {
            how = stopped(&mut self.stop) => Some(End::Stopped(how)),
            () = sandbox.gone() => Some(End::Failed("the sandbox is gone".to_owned())),
            // Never closed: this worker holds a sender itself.
            Some(event) = self.events.recv() => self.take(event),
        }
    }

    /// Takes an event into the status; `Some` when it ends the pod.
    fn take(&mut self, event: Event) -> Option<End> {
        let end = match event {
            Event::Running(index, init, command) => {
                let container = &mut self.status.containers[index];
                if matches!(container.state, ContainerState::Exited(_)) {
                    container.restarts += 1;
                }
                container.state = ContainerState::Running { init, command };
                None
            }
            Event::Started(index) => {
                self.started.insert(index);
                None
            }
            Event::Ready(index, ready) => {
                self.status.containers[index].ready = ready;
                None
            }
            Event::Exited(index, exit, reason) => {
                let container = &mut self.status.containers[index];
                container.state = ContainerState::Exited(exit);
                container.ready = false;
                self.started.remove(&index);
                if !exit.success() {
                    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                    self.status.message = format!("container {} ended with {exit}{reason}", container.name);
                }
                None
            }
            Event::Done(index, exit) => {
                self.finished.insert(index);
                self.done(index, exit)
            }
        };
        let lasting: Vec<_> = self.status.containers.iter().filter(|c| c.lasting).collect();
        self.status.ready = end.is_none() && lasting.iter().all(|c| c.ready);
        if self.status.ready {
            self.status.message.clear();
        }
        self.publish();
        end
    }

    /// A container that will not be restarted.
    fn done(&self, index: usize, exit: Exit) -> Option<End> {
        let container = &self.plan.containers[index];
        match container.role {
            Role::Init if exit.success() => None,
            _ if container.is_proxy() || container.role == Role::Init => {
                let log = self.context.layout.container_log(
                    &self.identity.namespace,
                    &self.identity.name,
                    &container.name,
                );
                Some(End::Failed(format!(
                    "container {} ended with {exit}, see {}",
                    container.name,
                    log.display()
                )))
            }
            Role::Sidecar => None,
            Role::Init | Role::App => self.all_done(),
        }
    }

    /// The end of a pod whose applications have all ended for good.
    fn all_done(&self) -> Option<End> {
        let mut failed = None;
        for (plan, status) in self.plan.containers.iter().zip(&self.status.containers) {
            if plan.role != Role::App {
                continue;
            }
            match status.state {
                ContainerState::Exited(exit) if exit.success() => {}
                ContainerState::Exited(exit) => {
                    failed = Some(format!("container {} ended with {exit}", plan.name))
                }
                _ => return None,
            }
        }
        Some(failed.map_or(End::Succeeded, End::Failed))
    }

    /// Ends the applications, then the sidecars that served them, last started first.
    async fn end_containers(&mut self, how: Stop) {
        let grace = if how == Stop::Now {
            Duration::ZERO
        } else {
            self.plan.grace
        };
        let deadline = Instant::now() + grace;
        let (sidecars, others): (Vec<usize>, Vec<usize>) = (self.stoppers.keys().copied())
            .partition(|index| self.plan.containers[*index].role == Role::Sidecar);
        let mut waves = vec![others];
        waves.extend(sidecars.into_iter().rev().map(|index| vec![index]));
        let last = waves.len() - 1;
        for (number, wave) in waves.into_iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            for index in &wave {
                if let Some(stopper) = self.stoppers.get(index) {
                    stopper.send_replace(Some(left));
                }
            }
            // Killing takes a moment longer than the grace period; only the last wave must not be hurried.
            let limit = deadline + Duration::from_secs(if number == last { 5 } else { 2 });
            let mut waiting = wave;
            waiting.retain(|index| !self.finished.contains(index));
            while !waiting.is_empty() {
                match timeout_at(limit, self.events.recv()).await {
                    Ok(Some(Event::Done(index, _))) => {
                        self.finished.insert(index);
                        waiting.retain(|other| *other != index);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                }
            }
        }
        // Whatever is left dies with its task.
        self.containers.shutdown().await;
    }

    fn publish(&self) {
        self.send(false);
    }

    fn send(&self, ended: bool) {
        let update = PodUpdate {
            uid: self.identity.uid.clone(),
            status: self.status.clone(),
            ended,
        };
        // Nobody listens any more when the mesh is gone.
        let _ = self.updates.send(update);
    }
}

/// Waits for the wish to end the pod.
async fn stopped(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    match stop.wait_for(Option::is_some).await {
        Ok(how) => how.unwrap_or(Stop::Now),
        // The handle is gone.
        Err(_) => Stop::Now,
    }
}

/// Name of the node's end of a pod's link: unique, as addresses are.
fn link_name(address: std::net::Ipv4Addr) -> String {
    let [.., high, low] = address.octets();
    format!("pod{high}-{low}")
}
