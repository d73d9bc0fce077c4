//! Merging a sidecar into a pod, and taking one out again (§1.10).

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde::{Deserialize, Serialize};

use super::spec::SidecarSpec;

/// The annotation that remembers what was added.
pub const STATUS_ANNOTATION: &str = "sidecar.istio.io/status";

/// The value of the annotation [`STATUS_ANNOTATION`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarStatus {
    /// Hash of the configuration that was applied.
    pub version: String,
    /// Names of the init containers.
    pub init_containers: Option<Vec<String>>,
    /// Names of the containers.
    pub containers: Option<Vec<String>>,
    /// Names of the volumes.
    pub volumes: Option<Vec<String>>,
    /// Names of the pull secrets.
    pub image_pull_secrets: Option<Vec<String>>,
}

/// Adds `sidecar` to `pod` and writes the status annotation.
///
/// Native sidecars come before the user's init containers, and so does everything that is injected together with
/// them: the user's init containers then run inside the mesh. Without a native sidecar the order is that of 1.1:
/// everything after the user's entries.
pub fn apply(pod: &mut Pod, sidecar: SidecarSpec, version: &str) {
    let SidecarSpec {
        init_containers,
        containers,
        volumes,
        dns_config,
        image_pull_secrets,
    } = sidecar;
    let status = SidecarStatus {
        version: version.to_owned(),
        init_containers: names(&init_containers, |c| &c.name),
        containers: names(&containers, |c| &c.name),
        volumes: names(&volumes, |v| &v.name),
        image_pull_secrets: names(&image_pull_secrets, |s| &s.name),
    };
    let spec = pod.spec.get_or_insert_default();
    let native = init_containers.iter().any(is_native_sidecar);
    let own = spec.init_containers.take().unwrap_or_default();
    let merged = match native {
        true => [init_containers, own].concat(),
        false => [own, init_containers].concat(),
    };
    spec.init_containers = (!merged.is_empty()).then_some(merged);
    spec.containers.extend(containers);
    extend(&mut spec.volumes, volumes);
    extend(&mut spec.image_pull_secrets, image_pull_secrets);
    if dns_config.is_some() {
        spec.dns_config = dns_config;
    }
    let text = serde_json::to_string(&status).unwrap_or_default();
    pod.metadata
        .annotations
        .get_or_insert_default()
        .insert(STATUS_ANNOTATION.to_owned(), text);
}

/// Takes a previous injection out: what the status annotation names, else the names that 1.1 always used.
pub fn strip(pod: &mut Pod) {
    let previous = pod
        .metadata
        .annotations
        .as_mut()
        .and_then(|all| all.remove(STATUS_ANNOTATION))
        .and_then(|text| serde_json::from_str::<SidecarStatus>(&text).ok())
        .filter(|status| {
            [
                &status.init_containers,
                &status.containers,
                &status.volumes,
                &status.image_pull_secrets,
            ]
            .iter()
            .any(|list| list.as_ref().is_some_and(|names| !names.is_empty()))
        })
        .unwrap_or_else(legacy_names);
    if pod
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|all| all.is_empty())
    {
        pod.metadata.annotations = None;
    }
    if let Some(spec) = pod.spec.as_mut() {
        remove_named(spec, &previous);
    }
}

fn remove_named(spec: &mut PodSpec, previous: &SidecarStatus) {
    let listed = |list: &Option<Vec<String>>, name: &str| list.iter().flatten().any(|n| n == name);
    retain(&mut spec.init_containers, |c| {
        !listed(&previous.init_containers, &c.name)
    });
    spec.containers.retain(|c| !listed(&previous.containers, &c.name));
    retain(&mut spec.volumes, |v| !listed(&previous.volumes, &v.name));
    retain(&mut spec.image_pull_secrets, |s| {
        !listed(&previous.image_pull_secrets, &s.name)
    });
}

/// An init container that Kubernetes keeps running beside the application.
pub(super) fn is_native_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What an injection that left no status annotation has added.
fn legacy_names() -> SidecarStatus {
    let owned = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
    SidecarStatus {
        version: String::new(),
        init_containers: owned(&["istio-init", "enable-core-dump"]),
        containers: owned(&["istio-proxy"]),
        volumes: owned(&["istio-certs", "istio-envoy"]),
        image_pull_secrets: None,
    }
}

fn names<T>(items: &[T], name: impl Fn(&T) -> &String) -> Option<Vec<String>> {
    (!items.is_empty()).then(|| items.iter().map(|item| name(item).clone()).collect())
}

fn extend<T>(list: &mut Option<Vec<T>>, more: Vec<T>) {
    if !more.is_empty() {
        list.get_or_insert_default().extend(more);
    }
}

/// Keeps what `keep` likes; a list that becomes empty goes away, so that strip undoes apply exactly.
fn retain<T>(list: &mut Option<Vec<T>>, keep: impl FnMut(&T) -> bool) {
    if let Some(items) = list {
        items.retain(keep);
        if items.is_empty() {
            *list = None;
        }
    }
}
