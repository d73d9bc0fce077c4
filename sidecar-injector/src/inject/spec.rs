//! The description of a sidecar, independent of where it came from.

use k8s_openapi::api::core::v1::{Container, LocalObjectReference, PodDNSConfig, Volume};
use serde::{Deserialize, Serialize};

/// What is added to a pod (INJ-33): the keys are those that the injection template renders to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarSpec {
    /// Init containers. Those with `restartPolicy: Always` are native sidecars and start first.
    pub init_containers: Vec<Container>,
    /// Containers beside the application.
    pub containers: Vec<Container>,
    /// Volumes of the containers above.
    pub volumes: Vec<Volume>,
    /// DNS settings of the pod, if they change.
    pub dns_config: Option<PodDNSConfig>,
    /// Secrets for pulling the images.
    pub image_pull_secrets: Vec<LocalObjectReference>,
}
