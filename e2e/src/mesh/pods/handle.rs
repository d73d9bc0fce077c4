//! A pod from outside: who it is, how it is ended, what it reports.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_runtime::Spawner;
use mesh_runtime::task::AbortOnDrop;
use tokio::sync::{mpsc, watch};

use super::plan::PodPlan;
use super::status::PodStatus;
use super::volumes::{self, Content};
use super::worker::Worker;
use crate::mesh::helper::protocol::Bind;
use crate::mesh::layout::Layout;
use crate::mesh::process::Helper;
use crate::mesh::sockets::Sockets;

/// What all pods of a mesh share.
#[derive(Debug)]
pub(crate) struct PodContext {
    pub(crate) helper: Helper,
    pub(crate) sockets: Sockets,
    pub(crate) layout: Layout,
    /// Process of the node.
    pub(crate) node: i32,
    /// The programs that pods find in their `PATH`.
    pub(crate) binds: Vec<Bind>,
    /// Opens when the control plane is ready: a proxy that starts earlier only waits longer for its first answer.
    pub(crate) gate: watch::Receiver<bool>,
}

/// Who a pod is.
#[derive(Clone, Debug)]
pub(crate) struct PodIdentity {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) address: Ipv4Addr,
    /// Part of the control plane: starts without waiting for it.
    pub(crate) control_plane: bool,
}

/// News of a pod.
#[derive(Clone, Debug)]
pub(crate) struct PodUpdate {
    pub(crate) uid: String,
    pub(crate) status: PodStatus,
    /// Nothing of the pod is left.
    pub(crate) ended: bool,
}

/// How to end a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// As Kubernetes does: SIGTERM, the pod's grace period, SIGKILL.
    Gracefully,
    /// At once.
    Now,
}

/// A pod that runs. Dropping it ends the pod at once.
#[derive(Debug)]
pub(crate) struct PodHandle {
    stop: watch::Sender<Option<Stop>>,
    folder: PathBuf,
    _task: AbortOnDrop,
}

// === impl PodHandle ===

impl PodHandle {
    /// Starts a pod.
    pub(crate) fn start(
        identity: PodIdentity,
        plan: PodPlan,
        context: Arc<PodContext>,
        updates: mpsc::UnboundedSender<PodUpdate>,
        spawner: &Spawner,
    ) -> Self {
        let folder = context.layout.pods().join(&identity.uid);
        let (stop, stop_signal) = watch::channel(None);
        let name = format!("pod {}/{}", identity.namespace, identity.name);
        let worker = Worker::new(identity, plan, context, folder.clone(), updates, stop_signal);
        let task = spawner.spawn(name, worker.run());
        Self {
            stop,
            folder,
            _task: task.abort_on_drop(),
        }
    }

    /// Ends the pod. Its end is reported as an update.
    pub(crate) fn stop(&self, how: Stop) {
        self.stop.send_if_modified(|current| {
            let changed = *current != Some(Stop::Now) && *current != Some(how);
            if changed {
                *current = Some(how);
            }
            changed
        });
    }

    /// Replaces the files of a volume.
    pub(crate) fn write_volume(&self, name: &str, content: &Content) -> std::io::Result<()> {
        volumes::write(&volume_folder(&self.folder, name), content)
    }
}

/// The folder of the machine that holds a volume of the pod with this folder.
pub(super) fn volume_folder(pod: &Path, volume: &str) -> PathBuf {
    pod.join("volumes").join(volume)
}
