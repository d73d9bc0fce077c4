//! Following the pods of one cluster.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::{Api, Client, Resource};
use mesh_kube::{Event, State, Status, Watch, WatchOptions};
use mixer_template::KubernetesSide;
use tokio::sync::watch;

use super::known::{Between, Known, Wanted};
use super::view::{PodFacts, PodView, Reference, controller};

/// A cluster, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    known: RwLock<Known>,
}

/// Follows the pods of a cluster.
pub(super) struct Follower {
    pods: Watch<PodFacts>,
    replica_sets: Watch<Option<Reference>>,
    /// Followed from the first pod on that one of them controls: hardly any cluster has them.
    replication_controllers: Watch<Option<Reference>>,
    progress: Progress,
    cluster: Arc<Cluster>,
}

/// What has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    pods: bool,
    replica_sets: bool,
    /// Whether they are followed, and were read.
    replication_controllers: Option<bool>,
}

// === impl Cluster ===

impl Cluster {
    pub(super) fn find(&self, wanted: &Wanted<'_>, port: Option<i64>) -> Option<KubernetesSide> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.find(wanted, port)
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }
}

// === impl Follower ===

impl Follower {
    /// Follows nothing yet.
    pub(super) fn new(client: &Client, refresh: Duration, cluster: Arc<Cluster>) -> Self {
        let options = WatchOptions {
            timeout: refresh,
            // One request at the start, as the watch caches of API servers answer it.
            page_size: 0,
            ..WatchOptions::default()
        };
        let pods: Api<DeserializeGuard<PodView>> = Api::all(client.clone());
        let pods = Watch::decoding("pods".to_owned(), pods, options.clone(), |guard| {
            let pod = guard.0.map_err(|invalid| invalid.error)?;
            Ok(pod.into_facts())
        });
        Self {
            pods,
            replica_sets: metadata::<ReplicaSet>(client, options.clone()),
            replication_controllers: metadata::<ReplicationController>(client, options),
            progress: Progress::default(),
            cluster,
        }
    }

    /// How the watches fare, with the names of their kinds.
    pub(super) fn status(&self) -> [(&'static str, watch::Receiver<Status>); 3] {
        [
            ("pods", self.pods.status()),
            ("replicasets", self.replica_sets.status()),
            ("replicationcontrollers", self.replication_controllers.status()),
        ]
    }

    /// Follows the cluster for as long as it is asked. `synced` is called once everything was read that there was.
    pub(super) async fn run(mut self, synced: impl FnOnce() + Send) {
        let mut synced = Some(synced);
        loop {
            let follows = self.progress.replication_controllers.is_some();
            tokio::select! {
                event = self.pods.next() => self.pod(event),
                event = self.replica_sets.next() => {
                    self.progress.replica_sets |= self.controller(Between::ReplicaSet, event);
                }
                event = self.replication_controllers.next(), if follows => {
                    if self.controller(Between::ReplicationController, event) {
                        self.progress.replication_controllers = Some(true);
                    }
                }
            }
            if self.progress.is_done()
                && let Some(synced) = synced.take()
            {
                synced();
            }
        }
    }

    fn pod(&mut self, event: Event<PodFacts>) {
        match event {
            Event::Applied(name, facts) => {
                let kind = facts.controller.as_ref().map(|reference| reference.kind.as_str());
                if kind.and_then(Between::find) == Some(Between::ReplicationController) {
                    self.progress.replication_controllers.get_or_insert(false);
                }
                self.cluster
                    .change(|known| known.insert(&name.namespace, &name.name, facts));
            }
            Event::Deleted(name) => self
                .cluster
                .change(|known| known.remove(&name.namespace, &name.name)),
            // What it was before stays; the watch has said so.
            Event::Rejected(..) => {}
            Event::Synced => self.progress.pods = true,
        }
    }

    /// Whether all that there was has been read.
    fn controller(&self, kind: Between, event: Event<Option<Reference>>) -> bool {
        match event {
            Event::Applied(name, reference) => self.cluster.change(|known| {
                known.insert_controller(kind, &name.namespace, &name.name, reference.as_ref());
            }),
            Event::Deleted(name) => self
                .cluster
                .change(|known| known.remove_controller(kind, &name.namespace, &name.name)),
            Event::Rejected(..) => {}
            Event::Synced => return true,
        }
        false
    }
}

/// Follows what controls the objects of a kind; the server sends nothing else of them.
fn metadata<K>(client: &Client, options: WatchOptions) -> Watch<Option<Reference>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + 'static,
{
    let api: Api<PartialObjectMeta<K>> = Api::all(client.clone());
    Watch::decoding(K::plural(&()).into_owned(), api, options, |object| {
        Ok(controller(&object.metadata))
    })
}

/// What a watch lacks; `None` if it lacks nothing.
pub(super) fn lack(kind: &str, status: &Status) -> Option<String> {
    match &status.state {
        State::Starting => Some(format!("{kind} are still being read")),
        State::Failing(reason) => Some(format!("{kind}: {reason}")),
        State::Following if status.lists == 0 => Some(format!("{kind} are still being read")),
        State::Following | State::NotServed | State::Forbidden(_) => None,
    }
}

// === impl Progress ===

impl Progress {
    fn is_done(self) -> bool {
        self.pods && self.replica_sets && self.replication_controllers != Some(false)
    }
}
