//! The sidecar's volumes and where they are mounted.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, SecretVolumeSource, Volume, VolumeMount,
};

use super::{BOOTSTRAP_PATH, Inputs};

/// Volume of the proxy's writable folder.
const ENVOY_VOLUME: &str = "istio-envoy";
/// Volume of the workload's certificates.
const CERTS_VOLUME: &str = "istio-certs";
/// Volume of a ConfigMap with a bootstrap override.
const BOOTSTRAP_VOLUME: &str = "custom-bootstrap-volume";

// === impl Inputs ===

impl Inputs<'_> {
    pub(super) fn proxy_mounts(&self) -> Vec<VolumeMount> {
        let mut mounts = vec![
            VolumeMount {
                name: ENVOY_VOLUME.to_owned(),
                mount_path: self.proxy.config_path.clone(),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: CERTS_VOLUME.to_owned(),
                mount_path: "/etc/certs/".to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
        ];
        if self.annotations.bootstrap_override.is_some() {
            mounts.push(VolumeMount {
                name: BOOTSTRAP_VOLUME.to_owned(),
                mount_path: BOOTSTRAP_PATH.to_owned(),
                ..VolumeMount::default()
            });
        }
        mounts.extend(self.annotations.user_volume_mounts.iter().cloned());
        mounts
    }

    pub(super) fn volumes(&self) -> Vec<Volume> {
        let account = self
            .spec
            .service_account_name
            .as_deref()
            .filter(|name| !name.is_empty());
        let mut volumes = vec![
            Volume {
                name: ENVOY_VOLUME.to_owned(),
                empty_dir: Some(EmptyDirVolumeSource {
                    medium: Some("Memory".to_owned()),
                    ..EmptyDirVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: CERTS_VOLUME.to_owned(),
                secret: Some(SecretVolumeSource {
                    optional: Some(true),
                    secret_name: Some(format!("istio.{}", account.unwrap_or("default"))),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
        ];
        if let Some(name) = &self.annotations.bootstrap_override {
            volumes.push(Volume {
                name: BOOTSTRAP_VOLUME.to_owned(),
                config_map: Some(ConfigMapVolumeSource {
                    name: name.clone(),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            });
        }
        volumes.extend(self.annotations.user_volumes.iter().cloned());
        volumes
    }
}
