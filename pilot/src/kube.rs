//! The registry `Kubernetes`, where it reads an API server: its flags and its tasks (P4.2, P6.4).

use std::time::Duration;

use mesh_kube::{Client, KubeArgs};
use mesh_runtime::Runtime;
use mesh_runtime::args::GoDuration;
use pilot_registry::kube::{Cluster, ClusterOptions, KubeHandle, REGISTRY};
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
}

// === impl KubernetesArgs ===

impl KubernetesArgs {
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

/// Follows the API server of the cluster that Pilot runs in.
pub(crate) fn follow(
    runtime: &Runtime,
    controller: &Controller,
    client: Client,
    args: &KubernetesArgs,
) -> KubeHandle {
    let options = ClusterOptions {
        cluster: REGISTRY.into(),
        namespace: (!args.app_namespace.is_empty()).then(|| args.app_namespace.clone()),
        resync: resync(args.resync.get()),
    };
    let ready = runtime.readiness().task("objects of the Kubernetes API server");
    let (cluster, handle) = Cluster::new(client, options, controller.cluster(REGISTRY));
    runtime
        .spawner()
        .spawn_vital("kubernetes", cluster.run(Some(ready)));
    handle
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
