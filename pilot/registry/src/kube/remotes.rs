//! Other clusters of the mesh, by Secrets (P4.3).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_config::Str;
use mesh_kube::{Client, ClusterEvent, ClusterSecret, ClusterSecrets, WatchOptions};
use mesh_runtime::metrics::MetricsError;
use mesh_runtime::task::AbortOnDrop;
use mesh_runtime::{Metrics, Spawner};
use prometheus::{IntCounter, IntGauge};
use serde::Serialize;

use super::{Cluster, ClusterOptions, ClusterStatus, KubeEvent, KubeHandle};
use crate::controller::{Controller, ControllerGone};

/// The name by which the controller waits until the Secrets were listed. No cluster has it.
pub(crate) const SECRETS: &str = "";

/// Names of registries that are not clusters of Secrets.
const RESERVED: [&str; 4] = [
    SECRETS,
    super::REGISTRY,
    crate::consul::REGISTRY,
    crate::service_entry::REGISTRY,
];

/// Follows the Secrets with the kubeconfigs of other clusters, and each of these clusters.
///
/// A kubeconfig that changes replaces the former once everything was read with it, and one that cannot be used leaves the
/// former in force: new credentials take no endpoint away.
pub struct Remotes {
    secrets: ClusterSecrets,
    clusters: BTreeMap<Str, Remote>,
    /// Of the last cluster that was begun.
    incarnation: u64,
    options: ClusterOptions,
    controller: Controller,
    spawner: Spawner,
    metrics: RemoteMetrics,
    handle: RemotesHandle,
}

/// A cluster that a Secret names.
struct Remote {
    named: ClusterSecret,
    /// The last of its kubeconfigs that could be used.
    followed: Option<Followed>,
    /// Why the kubeconfig of now cannot be used.
    error: Option<String>,
}

struct Followed {
    handle: KubeHandle,
    _task: AbortOnDrop,
}

/// Shows how it stands with other clusters. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RemotesHandle {
    clusters: Arc<Mutex<BTreeMap<Str, Shown>>>,
}

/// What is shown of a cluster: its status without that of its server, and what knows of the server.
type Shown = (RemoteStatus, Option<KubeHandle>);

/// How it stands with another cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemoteStatus {
    /// The Secret that names it.
    pub secret: String,
    /// Why its kubeconfig cannot be used.
    pub refused: Option<String>,
    /// What is known by the last kubeconfig that could be used.
    #[serde(flatten)]
    pub cluster: Option<ClusterStatus>,
}

/// What is counted of other clusters. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RemoteMetrics {
    /// `pilot_remote_clusters`: clusters that are followed by Secrets.
    clusters: IntGauge,
    /// `pilot_remote_kubeconfig_errors`: kubeconfigs that could not be used.
    errors: IntCounter,
}

// === impl RemoteMetrics ===

impl RemoteMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    ///
    /// When one of the names is taken.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            clusters: metrics.int_gauge(
                "pilot_remote_clusters",
                "Clusters that are followed because a Secret names them.",
            )?,
            errors: metrics.counter(
                "pilot_remote_kubeconfig_errors",
                "Kubeconfigs in Secrets that could not be used.",
            )?,
        })
    }
}

// === impl Remotes ===

impl Remotes {
    /// Follows nothing yet. `client` leads to the server with the Secrets, `namespace` is theirs; `options` are those of
    /// every cluster.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        options: ClusterOptions,
        controller: Controller,
        spawner: Spawner,
        metrics: RemoteMetrics,
    ) -> (Self, RemotesHandle) {
        let watch = WatchOptions {
            timeout: options.resync,
            ..WatchOptions::default()
        };
        let handle = RemotesHandle::default();
        let remotes = Self {
            secrets: ClusterSecrets::new(client, namespace, watch, &RESERVED),
            clusters: BTreeMap::new(),
            incarnation: 0,
            options,
            controller,
            spawner,
            metrics,
            handle: handle.clone(),
        };
        (remotes, handle)
    }

    /// Follows the clusters until nobody listens any more.
    pub async fn run(mut self) {
        // Then there is nobody left to be told anything.
        let Err(ControllerGone) = self.follow().await;
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, ControllerGone> {
        loop {
            match self.secrets.next().await {
                ClusterEvent::Named(cluster, secret) => self.set(cluster.into(), secret).await?,
                ClusterEvent::Gone(cluster) => {
                    let cluster = Str::from(cluster);
                    tracing::info!(%cluster, "no Secret names the cluster any more");
                    self.clusters.remove(&cluster);
                    self.handle.hide(&cluster);
                    let input = self.controller.cluster(cluster);
                    input.send(KubeEvent::ClusterGone).await?;
                }
                ClusterEvent::Synced => {
                    // Those that were found are waited for already.
                    let secrets = self.controller.cluster(SECRETS);
                    secrets.send(KubeEvent::Synced).await?;
                }
            }
            let followed = self.clusters.values();
            let followed = followed.filter(|remote| remote.followed.is_some()).count();
            self.metrics
                .clusters
                .set(i64::try_from(followed).unwrap_or(i64::MAX));
        }
    }

    /// Follows a cluster as its kubeconfig says.
    async fn set(&mut self, cluster: Str, named: ClusterSecret) -> Result<(), ControllerGone> {
        let known = self.clusters.get_mut(&cluster);
        if let Some(known) = known.filter(|known| known.named.kubeconfig == named.kubeconfig) {
            known.named = named;
            self.handle.show(&cluster, known);
            return Ok(());
        }
        let before = self.clusters.remove(&cluster).and_then(|known| known.followed);
        let secret = &named.secret;
        let (followed, error) = match named.client().await {
            Ok(client) => {
                tracing::info!(%secret, %cluster, "following the cluster of a Secret");
                (Some(self.begin(&cluster, client).await?), None)
            }
            Err(reason) => {
                self.metrics.errors.inc();
                tracing::warn!(%secret, %cluster, reason, "the kubeconfig of a cluster cannot be used");
                (before, Some(reason))
            }
        };
        let remote = Remote {
            named,
            followed,
            error,
        };
        self.handle.show(&cluster, &remote);
        self.clusters.insert(cluster, remote);
        Ok(())
    }

    async fn begin(&mut self, cluster: &Str, client: Client) -> Result<Followed, ControllerGone> {
        self.incarnation += 1;
        let input = self
            .controller
            .cluster(cluster.clone())
            .incarnation(self.incarnation);
        input.send(KubeEvent::Began).await?;
        let options = ClusterOptions {
            cluster: cluster.clone(),
            ..self.options.clone()
        };
        let (follower, handle) = Cluster::new(client, options, input.clone());
        let attempted = handle.attempted();
        let run = async move {
            let attempt = async {
                attempted.await;
                // The follower notices it too when nobody listens.
                let _ = input.send(KubeEvent::Attempted).await;
            };
            tokio::join!(follower.run(None), attempt);
        };
        let task = self.spawner.spawn(format!("cluster {cluster}"), run);
        Ok(Followed {
            handle,
            _task: task.abort_on_drop(),
        })
    }
}

impl fmt::Debug for Remotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remotes")
            .field("clusters", &self.handle.status())
            .finish_non_exhaustive()
    }
}

// === impl RemotesHandle ===

impl RemotesHandle {
    /// How it stands with each of the clusters now, by name.
    #[must_use]
    pub fn status(&self) -> Vec<RemoteStatus> {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let status = clusters.values().map(|(status, handle)| RemoteStatus {
            cluster: handle.as_ref().map(KubeHandle::status),
            ..status.clone()
        });
        status.collect()
    }

    fn show(&self, cluster: &Str, remote: &Remote) {
        let status = RemoteStatus {
            secret: remote.named.secret.to_string(),
            refused: remote.error.clone(),
            cluster: None,
        };
        let handle = remote.followed.as_ref().map(|followed| followed.handle.clone());
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.insert(cluster.clone(), (status, handle));
    }

    fn hide(&self, cluster: &str) {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.remove(cluster);
    }
}
