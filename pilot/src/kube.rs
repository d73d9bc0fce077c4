//! The registry `Kubernetes`, where it reads an API server: its flags and its tasks (P4.2, P6.4).

use std::time::Duration;

use mesh_kube::{Client, KubeArgs, Served, WatchOptions};
use mesh_runtime::Runtime;
use mesh_runtime::args::GoDuration;
use mesh_runtime::metrics::MetricsError;
use pilot_registry::kube::{
    Cluster, ClusterOptions, ClusterStatus, KubeHandle, REGISTRY, RemoteMetrics, RemoteStatus, Remotes,
    RemotesHandle,
};
use pilot_registry::{Controller, Platform};

/// Flags of the registry `Kubernetes`.
#[derive(Clone, Debug, clap::Args)]
pub struct KubernetesArgs {
    /// The API server.
    #[command(flatten)]
    pub api_server: KubeArgs,

    /// Follow this namespace of the cluster only; empty for all.
    #[arg(
        short = 'a',
        long = "appNamespace",
        default_value = "",
        hide_default_value = true
    )]
    pub app_namespace: String,

    /// A connection to the API server that died unnoticed is replaced after so long.
    #[arg(long, default_value = "60s", value_name = "DURATION")]
    pub resync: GoDuration,

    /// Namespace of the Secrets with the kubeconfigs of other clusters; that of Pilot when empty.
    #[arg(
        long = "clusterRegistriesNamespace",
        default_value = "",
        hide_default_value = true
    )]
    pub cluster_registries_namespace: String,
}

/// Shows how it stands with the API servers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ClustersHandle {
    own: KubeHandle,
    remotes: RemotesHandle,
}

// === impl KubernetesArgs ===

impl KubernetesArgs {
    /// The namespace that is followed; `None` for all.
    pub(crate) fn namespace(&self) -> Option<&str> {
        (!self.app_namespace.is_empty()).then_some(self.app_namespace.as_str())
    }

    /// How objects of the API server are watched.
    pub(crate) fn watch_options(&self, client: Option<&Client>, runtime: &Runtime) -> WatchOptions {
        let served = client.map(|client| Served::follow(client.clone(), runtime.spawner()));
        WatchOptions {
            timeout: resync(self.resync.get()),
            served: served.unwrap_or_else(Served::unknown),
            ..WatchOptions::default()
        }
    }

    /// A client of the API server, where the registry is asked for and there is a server: `--kubeconfig` names one, or
    /// Pilot runs in a cluster. Otherwise what runs in the cluster is what the sources of configuration say.
    pub(crate) async fn client(&self, registries: &[Platform]) -> anyhow::Result<Option<Client>> {
        if !registries.contains(&Platform::Kubernetes) {
            if !self.api_server.kubeconfig.is_empty() {
                tracing::warn!("no services are read by --kubeconfig: --registries does not name Kubernetes");
            }
            return Ok(None);
        }
        Ok(self.api_server.find().await?)
    }
}

// === impl ClustersHandle ===

impl ClustersHandle {
    /// How it stands with our own cluster.
    pub(crate) fn own(&self) -> ClusterStatus {
        self.own.status()
    }

    /// How it stands with other clusters.
    pub(crate) fn remotes(&self) -> Vec<RemoteStatus> {
        self.remotes.status()
    }
}

/// Follows the API server of the cluster that Pilot runs in, and those of the clusters that Secrets there name (P4.3).
/// `pod_namespace` is that of Pilot.
pub(crate) fn follow(
    runtime: &Runtime,
    controller: &Controller,
    client: Client,
    args: &KubernetesArgs,
    pod_namespace: &str,
) -> Result<ClustersHandle, MetricsError> {
    let options = ClusterOptions {
        cluster: REGISTRY.into(),
        namespace: args.namespace().map(str::to_owned),
        resync: resync(args.resync.get()),
    };
    let ready = runtime.readiness().task("objects of the Kubernetes API server");
    let (cluster, own) = Cluster::new(client.clone(), options.clone(), controller.cluster(REGISTRY));
    runtime
        .spawner()
        .spawn_vital("kubernetes", cluster.run(Some(ready)));
    let given = Some(&*args.cluster_registries_namespace).filter(|namespace| !namespace.is_empty());
    let (clusters, remotes) = Remotes::new(
        client,
        given.unwrap_or(pod_namespace),
        options,
        controller.clone(),
        runtime.spawner().clone(),
        RemoteMetrics::register(runtime.metrics())?,
    );
    runtime.spawner().spawn_vital("other clusters", clusters.run());
    Ok(ClustersHandle { own, remotes })
}

/// With 1.1 no time meant never. A connection that is dead must be replaced some time.
fn resync(given: Duration) -> Duration {
    const LONGEST: Duration = Duration::from_secs(280);
    if given.is_zero() {
        LONGEST
    } else {
        given.min(LONGEST)
    }
}
