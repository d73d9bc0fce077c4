//! A handler: looks both ends of a request up.

use std::net::IpAddr;
use std::sync::Arc;

use mixer_adapter::{Answer, HandleKubernetes};
use mixer_template::{Kubernetes, KubernetesOutput, KubernetesSide};

use super::clusters::Clusters;
use super::known::Wanted;

/// Looks pods up. What is not known stays absent.
pub(super) struct KubernetesEnv {
    clusters: Arc<Clusters>,
}

// === impl KubernetesEnv ===

impl KubernetesEnv {
    pub(super) fn new(clusters: Arc<Clusters>) -> Self {
        Self { clusters }
    }

    fn side(&self, uid: &str, address: Option<IpAddr>, port: Option<i64>) -> KubernetesSide {
        let found = Wanted::new(uid, address).and_then(|wanted| self.clusters.find(&wanted, port));
        found.unwrap_or_default()
    }
}

impl HandleKubernetes for KubernetesEnv {
    fn handle_kubernetes(&self, instance: &Kubernetes<'_>) -> Answer<KubernetesOutput> {
        let port = Some(instance.destination_port);
        Answer::Now(Ok(KubernetesOutput {
            source: self.side(&instance.source_uid, instance.source_ip, None),
            destination: self.side(&instance.destination_uid, instance.destination_ip, port),
        }))
    }
}
