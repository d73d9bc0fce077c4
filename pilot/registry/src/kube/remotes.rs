//! Other clusters of the mesh, by Secrets (P4.3).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::core::DeserializeGuard;
use mesh_config::Str;
use mesh_kube::{Client, Event, ObjectName, Watch, WatchOptions, foreign_client};
use mesh_runtime::metrics::MetricsError;
use mesh_runtime::task::AbortOnDrop;
use mesh_runtime::{Metrics, Spawner};
use prometheus::{IntCounter, IntGauge};
use serde::Serialize;

use super::{Cluster, ClusterOptions, ClusterStatus, KubeEvent, KubeHandle};
use crate::controller::{Controller, ControllerGone};

/// The label by which Secrets with kubeconfigs are known.
const LABEL: &str = "istio/multiCluster=true";

/// The name by which the controller waits until the Secrets were listed. No cluster has it.
pub(crate) const SECRETS: &str = "";

/// Names of registries that are not clusters of Secrets.
const RESERVED: [&str; 4] = [
    SECRETS,
    super::REGISTRY,
    crate::consul::REGISTRY,
    crate::service_entry::REGISTRY,
];

/// The data of a Secret: kubeconfigs by cluster.
type Kubeconfigs = BTreeMap<String, ByteString>;

/// Follows the Secrets with the kubeconfigs of other clusters, and each of these clusters.
///
/// Each key of a Secret's data is the name of a cluster; where several Secrets have one, the first by name counts. A
/// kubeconfig that changes replaces the former once everything was read with it, and one that cannot be used leaves the
/// former in force: new credentials take no endpoint away.
pub struct Remotes {
    secrets: Watch<Kubeconfigs>,
    known: BTreeMap<ObjectName, Kubeconfigs>,
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
    secret: ObjectName,
    kubeconfig: ByteString,
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
        let secrets: Api<DeserializeGuard<Secret>> = Api::namespaced(client, namespace);
        let watch = WatchOptions {
            labels: Some(LABEL.to_owned()),
            timeout: options.resync,
            ..WatchOptions::default()
        };
        let secrets = Watch::decoding("secrets of clusters".to_owned(), secrets, watch, |guard| {
            let secret = guard.0.map_err(|invalid| invalid.error)?;
            Ok(secret.data.unwrap_or_default())
        });
        let handle = RemotesHandle::default();
        let remotes = Self {
            secrets,
            known: BTreeMap::new(),
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
                Event::Applied(name, kubeconfigs) => {
                    self.known.insert(name, kubeconfigs);
                }
                Event::Deleted(name) => {
                    self.known.remove(&name);
                }
                // What it was before stays; the watch has said so.
                Event::Rejected(..) => continue,
                Event::Synced => {
                    // Those that were found are waited for already.
                    let secrets = self.controller.cluster(SECRETS);
                    secrets.send(KubeEvent::Synced).await?;
                    continue;
                }
            }
            self.settle().await?;
        }
    }

    /// Follows the clusters that the Secrets name, and no others.
    async fn settle(&mut self) -> Result<(), ControllerGone> {
        let mut wanted: BTreeMap<Str, (ObjectName, ByteString)> = BTreeMap::new();
        for (secret, kubeconfigs) in &self.known {
            for (cluster, kubeconfig) in kubeconfigs {
                let taken = wanted.get(&**cluster).map(|(first, _)| first);
                if let Some(first) = taken {
                    tracing::warn!(%secret, cluster, %first, "another Secret names this cluster, it counts");
                } else if RESERVED.contains(&&**cluster) {
                    tracing::warn!(%secret, cluster, "no other cluster can have the name of our own registries");
                } else {
                    wanted.insert(cluster.as_str().into(), (secret.clone(), kubeconfig.clone()));
                }
            }
        }
        let gone: Vec<Str> = self
            .clusters
            .keys()
            .filter(|cluster| !wanted.contains_key(*cluster))
            .cloned()
            .collect();
        for cluster in gone {
            tracing::info!(%cluster, "no Secret names the cluster any more");
            self.clusters.remove(&cluster);
            self.handle.hide(&cluster);
            let input = self.controller.cluster(cluster);
            input.send(KubeEvent::ClusterGone).await?;
        }
        for (cluster, (secret, kubeconfig)) in wanted {
            self.set(cluster, secret, kubeconfig).await?;
        }
        let followed = self.clusters.values();
        let followed = followed.filter(|remote| remote.followed.is_some()).count();
        self.metrics
            .clusters
            .set(i64::try_from(followed).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Follows a cluster as its kubeconfig says.
    async fn set(
        &mut self,
        cluster: Str,
        secret: ObjectName,
        kubeconfig: ByteString,
    ) -> Result<(), ControllerGone> {
        let known = self.clusters.get_mut(&cluster);
        if let Some(known) = known.filter(|known| known.kubeconfig == kubeconfig) {
            known.secret = secret;
            self.handle.show(&cluster, known);
            return Ok(());
        }
        let client = match std::str::from_utf8(&kubeconfig.0) {
            Ok(text) => foreign_client(text).await.map_err(|error| error.to_string()),
            Err(_) => Err("it is not text".to_owned()),
        };
        let before = self.clusters.remove(&cluster).and_then(|known| known.followed);
        let (followed, error) = match client {
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
            secret,
            kubeconfig,
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
            secret: remote.secret.to_string(),
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
