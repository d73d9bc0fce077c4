//! What the engine knows about each pod.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use mesh_runtime::Backoff;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::mesh::objects::Key;
use crate::mesh::pods::{Content, PodHandle, PodPlan, PodStatus, Stop};

/// Pauses before a failed pod is replaced.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A pod that lived so long had a good start.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// A pod that exists.
#[derive(Debug)]
pub(super) struct Record {
    /// As it was asked for.
    pub(super) pod: Pod,
    pub(super) uid: String,
    pub(super) address: Ipv4Addr,
    pub(super) status: PodStatus,
    pub(super) handle: Option<PodHandle>,
    pub(super) since: Instant,
    /// Labels that were changed on the running pod; `None` = removed.
    labels: BTreeMap<String, Option<String>>,
    volumes: BTreeMap<String, Content>,
    stopping: bool,
}

/// What is remembered of a pod's name over the pods that had it.
#[derive(Debug)]
pub(super) struct History {
    /// When the next one may start.
    pub(super) next: Instant,
    /// How many were replaced because they failed.
    pub(super) replaced: u32,
    /// Why the last one failed.
    pub(super) message: String,
    backoff: Backoff,
}

// === impl Record ===

impl Record {
    pub(super) fn new(pod: Pod, uid: String, address: Ipv4Addr) -> Self {
        Self {
            pod,
            uid,
            address,
            status: PodStatus::default(),
            handle: None,
            since: Instant::now(),
            labels: BTreeMap::new(),
            volumes: BTreeMap::new(),
            stopping: false,
        }
    }

    /// Remembers what the pod was started with.
    pub(super) fn expect(&mut self, plan: &PodPlan) {
        self.volumes = plan.volumes.clone();
    }

    /// The pod with its uid and its current labels.
    pub(super) fn identified(&self) -> Pod {
        let mut pod = self.pod.clone();
        pod.metadata.uid = Some(self.uid.clone());
        if !self.labels.is_empty() {
            let labels = pod.metadata.labels.get_or_insert_default();
            for (name, value) in &self.labels {
                match value {
                    Some(value) => labels.insert(name.clone(), value.clone()),
                    None => labels.remove(name),
                };
            }
        }
        pod
    }

    /// Changes labels of the running pod, which goes on running.
    pub(super) fn label(&mut self, labels: BTreeMap<String, Option<String>>) {
        self.labels.extend(labels);
    }

    /// Whether the pod is on its way out.
    pub(super) fn ending(&self) -> bool {
        use crate::mesh::pods::Phase;
        self.stopping || matches!(self.status.phase, Phase::Failed | Phase::Terminating)
    }

    pub(super) fn stop(&mut self, how: Stop) {
        self.stopping = true;
        if let Some(handle) = &self.handle {
            handle.stop(how);
        }
    }

    /// Whether the end was asked for, even if the pod does not know yet.
    pub(super) fn stopping(&self) -> bool {
        self.stopping
    }

    /// Writes the volumes that have changed.
    pub(super) fn update_volumes(&mut self, (namespace, name): &Key, volumes: BTreeMap<String, Content>) {
        let Some(handle) = &self.handle else { return };
        for (volume, content) in &volumes {
            let changed = self.volumes.get(volume) != Some(content);
            if changed && matches!(content, Content::Files(_)) {
                match handle.write_volume(volume, content) {
                    Ok(()) => info!(%namespace, pod = %name, volume, "volume updated"),
                    Err(error) => warn!(%namespace, pod = %name, volume, %error, "cannot update the volume"),
                }
            }
        }
        self.volumes = volumes;
    }
}

// === impl History ===

impl Default for History {
    fn default() -> Self {
        Self {
            next: Instant::now(),
            replaced: 0,
            message: String::new(),
            backoff: Backoff::new(BACKOFF.0, BACKOFF.1),
        }
    }
}

impl History {
    /// Remembers a failure of a pod that was started at `since`.
    pub(super) fn failed(&mut self, message: &str, since: Instant) {
        if since.elapsed() > GOOD_RUN {
            self.backoff.reset();
        }
        self.next = Instant::now() + self.backoff.next_delay();
        self.replaced += 1;
        self.message = message.to_owned();
    }
}
