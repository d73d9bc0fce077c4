//! The clusters that handlers read: the one that their kubeconfig leads to, and those that Secrets there name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures::future::join_all;
use kube::Client;
use mesh_kube::{ClientError, ClusterEvent, ClusterSecret, ClusterSecrets, KubeArgs, Status, WatchOptions};
use mesh_runtime::Spawner;
use mesh_runtime::task::AbortOnDrop;
use mixer_template::KubernetesSide;
use tokio::sync::{Mutex, watch};

use super::cluster::{Cluster, Follower, lack};
use super::config::Config;
use super::known::Wanted;

/// Clusters by configuration, for as long as a handler reads them.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<HashMap<Config, Weak<Clusters>>>);

/// What is known of clusters. Following them ends when it is dropped.
#[derive(Debug)]
pub(super) struct Clusters {
    inner: Arc<Inner>,
    status: [(&'static str, watch::Receiver<Status>); 3],
    _tasks: [AbortOnDrop; 2],
}

#[derive(Debug)]
struct Inner {
    local: Arc<Cluster>,
    /// Others, by name.
    remote: RwLock<BTreeMap<String, Arc<Cluster>>>,
    synced: watch::Sender<bool>,
    faults: watch::Sender<Faults>,
}

/// How often something went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Requests that failed, and objects that cannot be read.
    pub(super) watch: u64,
    /// Kubeconfigs of Secrets that cannot be used.
    pub(super) kubeconfig: u64,
}

/// Follows the clusters that Secrets name.
struct Remotes {
    secrets: ClusterSecrets,
    refresh: Duration,
    followed: HashMap<String, AbortOnDrop>,
    inner: Arc<Inner>,
    spawner: Spawner,
}

// === impl Shared ===

impl Shared {
    /// What is known by a configuration; following it begins with the first handler.
    pub(super) async fn open(
        &self,
        config: &Config,
        spawner: &Spawner,
    ) -> Result<Arc<Clusters>, ClientError> {
        let mut shared = self.0.lock().await;
        if let Some(known) = shared.get(config).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let args = KubeArgs {
            kubeconfig: config.kubeconfig.clone(),
        };
        let clusters = Arc::new(Clusters::new(&args.client().await?, config, spawner));
        shared.retain(|_, clusters| clusters.strong_count() > 0);
        shared.insert(config.clone(), Arc::downgrade(&clusters));
        Ok(clusters)
    }
}

// === impl Clusters ===

impl Clusters {
    fn new(client: &Client, config: &Config, spawner: &Spawner) -> Self {
        let inner = Arc::new(Inner {
            local: Arc::default(),
            remote: RwLock::default(),
            synced: watch::Sender::default(),
            faults: watch::Sender::default(),
        });
        let follower = Follower::new(client, config.refresh, Arc::clone(&inner.local));
        let status = follower.status();
        let of_this_process = Arc::clone(&inner);
        let synced = move || {
            of_this_process.synced.send_replace(true);
        };
        let local = inner.follow(follower, synced);
        let options = WatchOptions {
            timeout: config.refresh,
            ..WatchOptions::default()
        };
        let remotes = Remotes {
            secrets: ClusterSecrets::new(client.clone(), &config.registries, options, &[]),
            refresh: config.refresh,
            followed: HashMap::new(),
            inner: Arc::clone(&inner),
            spawner: spawner.clone(),
        };
        let local = spawner.spawn("kubernetesenv", local);
        let remotes = spawner.spawn("kubernetesenv clusters", remotes.run());
        Self {
            inner,
            status,
            _tasks: [local.abort_on_drop(), remotes.abort_on_drop()],
        }
    }

    /// Returns when the pods of the first cluster are known.
    pub(super) async fn synced(&self) {
        // The sender lives as long as we do.
        let _ = self.inner.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// What of the first cluster is not known, and why.
    pub(super) fn what_is_missing(&self) -> String {
        let lacks = self
            .status
            .iter()
            .filter_map(|(kind, status)| lack(kind, &status.borrow()));
        let lacks: Vec<String> = lacks.collect();
        format!("the cluster is not known yet: {}", lacks.join("; "))
    }

    /// How much went wrong since the clusters are followed.
    pub(super) fn faults(&self) -> watch::Receiver<Faults> {
        self.inner.faults.subscribe()
    }

    /// What is known of a pod, in the first cluster that has it.
    pub(super) fn find(&self, wanted: &Wanted<'_>, port: Option<i64>) -> Option<KubernetesSide> {
        self.inner.local.find(wanted, port).or_else(|| {
            let remote = self.inner.remote.read().unwrap_or_else(PoisonError::into_inner);
            remote.values().find_map(|cluster| cluster.find(wanted, port))
        })
    }
}

// === impl Inner ===

impl Inner {
    /// Follows a cluster, and counts what goes wrong.
    fn follow<S>(self: &Arc<Self>, follower: Follower, synced: S) -> impl Future<Output = ()> + Send + use<S>
    where
        S: FnOnce() + Send,
    {
        let inner = Arc::clone(self);
        let status = follower.status();
        async move {
            let counting = status.into_iter().map(|(_, status)| count(status, &inner.faults));
            tokio::join!(follower.run(synced), join_all(counting));
        }
    }

    fn change_remote(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<Cluster>>)) {
        change(&mut self.remote.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Adds up what a watch fails in.
async fn count(mut status: watch::Receiver<Status>, faults: &watch::Sender<Faults>) {
    let mut before = (0, 0);
    loop {
        let now = {
            let status = status.borrow_and_update();
            (
                status.failures,
                u64::try_from(status.rejected).unwrap_or(u64::MAX),
            )
        };
        let more = now.0.saturating_sub(before.0) + now.1.saturating_sub(before.1);
        if more > 0 {
            faults.send_modify(|faults| faults.watch += more);
        }
        before = now;
        if status.changed().await.is_err() {
            return;
        }
    }
}

// === impl Remotes ===

impl Remotes {
    async fn run(mut self) {
        let counting = Arc::clone(&self.inner);
        let status = self.secrets.status();
        tokio::join!(self.follow(), count(status, &counting.faults));
    }

    async fn follow(&mut self) {
        loop {
            match self.secrets.next().await {
                ClusterEvent::Named(name, secret) => self.set(name, &secret).await,
                ClusterEvent::Gone(name) => {
                    tracing::info!(cluster = name, "no Secret names the cluster any more");
                    self.followed.remove(&name);
                    self.inner.change_remote(|remote| drop(remote.remove(&name)));
                }
                ClusterEvent::Synced => {}
            }
        }
    }

    /// Follows a cluster by its new kubeconfig. What is known by the former counts until everything was read.
    async fn set(&mut self, name: String, secret: &ClusterSecret) {
        let client = match secret.client().await {
            Ok(client) => client,
            Err(reason) => {
                tracing::warn!(secret = %secret.secret, cluster = name, reason, "the kubeconfig of a cluster cannot be used");
                self.inner.faults.send_modify(|faults| faults.kubeconfig += 1);
                return;
            }
        };
        tracing::info!(secret = %secret.secret, cluster = name, "following the pods of the cluster of a Secret");
        let cluster = Arc::new(Cluster::default());
        let follower = Follower::new(&client, self.refresh, Arc::clone(&cluster));
        let (inner, known_as) = (Arc::clone(&self.inner), name.clone());
        let synced = move || inner.change_remote(|remote| drop(remote.insert(known_as, cluster)));
        let task = self.inner.follow(follower, synced);
        let task = self.spawner.spawn(format!("kubernetesenv cluster {name}"), task);
        self.followed.insert(name, task.abort_on_drop());
    }
}
