//! Other clusters of the mesh, by Secrets (P4.3).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::core::DeserializeGuard;
use kube::{Api, Client};

use crate::{Event, ObjectName, Watch, WatchOptions, foreign_client};

/// The label by which Secrets with kubeconfigs are known.
const LABEL: &str = "istio/multiCluster=true";

/// The data of a Secret: kubeconfigs by cluster.
type Kubeconfigs = BTreeMap<String, ByteString>;

/// Follows the Secrets with the kubeconfigs of other clusters.
///
/// Each key of a Secret's data is the name of a cluster; where several Secrets have one, the first by name counts.
pub struct ClusterSecrets {
    secrets: Watch<Kubeconfigs>,
    /// Names that no other cluster can have.
    reserved: &'static [&'static str],
    known: BTreeMap<ObjectName, Kubeconfigs>,
    clusters: BTreeMap<String, ClusterSecret>,
    told: VecDeque<ClusterEvent>,
}

/// What became of other clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterEvent {
    /// A Secret names a cluster, or names it in another way than before.
    Named(String, ClusterSecret),
    /// No Secret names the cluster any more.
    Gone(String),
    /// Everything that there was at first has been told. Comes once.
    Synced,
}

/// How a cluster is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret {
    /// The Secret that names it.
    pub secret: ObjectName,
    /// Its kubeconfig, as somebody wrote it.
    pub kubeconfig: ByteString,
}

// === impl ClusterSecrets ===

impl ClusterSecrets {
    /// Follows nothing yet. `client` leads to the server with the Secrets, `namespace` is theirs.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        options: WatchOptions,
        reserved: &'static [&'static str],
    ) -> Self {
        let api: Api<DeserializeGuard<Secret>> = Api::namespaced(client, namespace);
        let options = WatchOptions {
            labels: Some(LABEL.to_owned()),
            ..options
        };
        let secrets = Watch::decoding("secrets of clusters".to_owned(), api, options, |guard| {
            let secret = guard.0.map_err(|invalid| invalid.error)?;
            Ok(secret.data.unwrap_or_default())
        });
        Self {
            secrets,
            reserved,
            known: BTreeMap::new(),
            clusters: BTreeMap::new(),
            told: VecDeque::new(),
        }
    }

    /// How the watch of the Secrets fares.
    #[must_use]
    pub fn status(&self) -> tokio::sync::watch::Receiver<crate::Status> {
        self.secrets.status()
    }

    /// What happens next. Never ends; may be dropped while waiting without losing anything.
    pub async fn next(&mut self) -> ClusterEvent {
        loop {
            if let Some(event) = self.told.pop_front() {
                return event;
            }
            match self.secrets.next().await {
                Event::Applied(name, kubeconfigs) => {
                    self.known.insert(name, kubeconfigs);
                    self.settle();
                }
                Event::Deleted(name) => {
                    self.known.remove(&name);
                    self.settle();
                }
                // What it was before stays; the watch has said so.
                Event::Rejected(..) => {}
                Event::Synced => return ClusterEvent::Synced,
            }
        }
    }

    /// Tells what the Secrets name now.
    fn settle(&mut self) {
        let wanted = self.wanted();
        let gone = self
            .clusters
            .keys()
            .filter(|cluster| !wanted.contains_key(*cluster));
        self.told.extend(gone.cloned().map(ClusterEvent::Gone));
        let named = wanted
            .iter()
            .filter(|(cluster, secret)| self.clusters.get(*cluster) != Some(*secret))
            .map(|(cluster, secret)| ClusterEvent::Named(cluster.clone(), secret.clone()));
        self.told.extend(named);
        self.clusters = wanted;
    }

    fn wanted(&self) -> BTreeMap<String, ClusterSecret> {
        let mut wanted: BTreeMap<String, ClusterSecret> = BTreeMap::new();
        for (secret, kubeconfigs) in &self.known {
            for (cluster, kubeconfig) in kubeconfigs {
                if let Some(taken) = wanted.get(cluster) {
                    tracing::warn!(%secret, cluster, first = %taken.secret, "another Secret names this cluster, it counts");
                } else if self.reserved.contains(&cluster.as_str()) {
                    tracing::warn!(%secret, cluster, "no other cluster can have the name of our own registries");
                } else {
                    let named = ClusterSecret {
                        secret: secret.clone(),
                        kubeconfig: kubeconfig.clone(),
                    };
                    wanted.insert(cluster.clone(), named);
                }
            }
        }
        wanted
    }
}

impl fmt::Debug for ClusterSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSecrets")
            .field("clusters", &self.clusters)
            .finish_non_exhaustive()
    }
}

// === impl ClusterSecret ===

impl ClusterSecret {
    /// A client of the cluster ([`foreign_client`]). The server is not asked.
    ///
    /// # Errors
    ///
    /// Why the kubeconfig cannot be used.
    pub async fn client(&self) -> Result<Client, String> {
        match std::str::from_utf8(&self.kubeconfig.0) {
            Ok(text) => foreign_client(text).await.map_err(|error| error.to_string()),
            Err(_) => Err("it is not text".to_owned()),
        }
    }
}

/// Without the kubeconfig, which is secret.
impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSecret")
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}
