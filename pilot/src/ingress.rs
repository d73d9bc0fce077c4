//! Ingresses of the cluster, and their status (P5.5).

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_api::istio::mesh::v1alpha1::mesh_config::IngressControllerMode;
use mesh_config::Kind;
use mesh_kube::{Client, Election, LeaseParams, WatchOptions};
use mesh_runtime::Runtime;
use pilot_registry::ingress_status::{self, IngressStatusOptions};
use pilot_registry::{ApiServerHandle, ApiServerSource, Publication, SourceInput};
use tokio::sync::watch;

/// The first part of the name of the Lease that the replica holds which writes status.
const LEASE: &str = "istio-ingress-controller-leader";

/// Flags of Ingresses.
#[derive(Clone, Debug, clap::Args)]
pub struct IngressArgs {
    /// Namespace of the gateways that serve Ingresses.
    #[arg(
        long = "ingressNamespace",
        env = "K8S_INGRESS_NS",
        default_value = "istio-system"
    )]
    pub ingress_namespace: String,
}

/// What following Ingresses takes.
pub(crate) struct Following<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) client: &'a Client,
    /// Follow this namespace only.
    pub(crate) app_namespace: Option<&'a str>,
    pub(crate) watch: &'a WatchOptions,
    pub(crate) args: &'a IngressArgs,
    /// Name and namespace of this pod.
    pub(crate) pod: (&'a str, &'a str),
    /// The class of the Ingresses that are ours.
    pub(crate) class: &'a str,
    pub(crate) publication: watch::Receiver<Option<Publication>>,
}

/// Whether Ingresses are to be followed. As in 1.1 that is decided at the start; their mode and class may change later.
pub(crate) fn are_followed(mesh: &MeshConfig) -> bool {
    mesh.ingress_controller_mode() != IngressControllerMode::Off
}

// === impl Following ===

impl Following<'_> {
    /// Follows the Ingresses, and keeps their status as long as this replica leads.
    pub(crate) fn follow(self, input: SourceInput) -> ApiServerHandle {
        let name = "Ingresses of the Kubernetes API server";
        let (source, handle) = ApiServerSource::new(
            name,
            self.client,
            &[Kind::Ingress],
            self.app_namespace,
            self.watch,
        );
        let ready = self.runtime.readiness().task(name);
        let spawner = self.runtime.spawner();
        spawner.spawn_vital("ingresses", source.run(input, ready));

        let (pod, namespace) = self.pod;
        let lease = match self.class {
            "" => LEASE.to_owned(),
            class => format!("{LEASE}-{class}"),
        };
        let election = Election::new(self.client.clone(), LeaseParams::new(namespace, lease, pod));
        let leadership = election.leadership();
        let guard = self.runtime.drain().guard("ingress leader");
        spawner.spawn(
            "ingress leader",
            async move { election.run(guard.signaled()).await },
        );

        let options = IngressStatusOptions {
            gateways: self.args.ingress_namespace.clone(),
            namespace: self.app_namespace.map(str::to_owned),
            watch: self.watch.clone(),
        };
        let (mut first, publication) = (self.publication.clone(), self.publication);
        let mesh = move || {
            let publication = publication.borrow();
            Some(publication.as_ref()?.published.snapshot.mesh.clone())
        };
        let status = ingress_status::keep(self.client.clone(), options, leadership, mesh);
        spawner.spawn_vital("ingress status", async move {
            // Which Ingresses are ours is not known before.
            if first.wait_for(Option::is_some).await.is_ok() {
                status.await;
            }
        });
        handle
    }
}
