//! The injection itself: decide, describe the sidecar, merge it into the pod.
//!
//! ```text
//! pod, namespace ─ decision ─► yes ─ build ─► SidecarSpec ─ apply ─► patched pod
//! ```
//!
//! [`SidecarSpec`] is the seam. Today [`build`] computes it from typed values; the template of the ConfigMap
//! `istio-sidecar-injector` renders to the same structure, and nothing behind it will notice the difference.

mod annotations;
mod apply;
mod build;
mod config;
mod decision;
mod duration;
mod mesh;
mod quantity;
mod selector;
mod spec;

#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::Pod;

pub use self::annotations::{AnnotationError, InterceptionMode, PodAnnotations};
pub use self::apply::{STATUS_ANNOTATION, SidecarStatus, apply, strip};
pub use self::build::build;
pub use self::config::{Lightstep, Policy, ProxyDefaults, Readiness, Tracer, Values};
pub use self::decision::{Decision, NamespaceRef, Reason, decide};
pub use self::spec::SidecarSpec;

/// User and group of the proxy. Whatever runs as them is never captured (IPT-31).
pub const PROXY_UID: i64 = 1337;

/// Why a pod that should have been injected was not.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InjectError {
    /// An annotation of the pod does not hold what it must hold.
    #[error("pod {pod}: {source}")]
    Annotation {
        /// Name (or generated name) of the pod.
        pod: String,
        /// Which annotation, and why.
        source: AnnotationError,
    },
    /// A container would bypass the mesh because it runs as the proxy's user (IPT-31).
    #[error(
        "pod {pod}: container {container} runs as user or group {PROXY_UID}, which is reserved for the proxy"
    )]
    ReservedUser {
        /// Name of the pod.
        pod: String,
        /// The container that claims the user.
        container: String,
    },
    /// A pod without a specification.
    #[error("pod {pod}: spec is missing")]
    NoSpec {
        /// Name of the pod.
        pod: String,
    },
}

/// Injects `pod` if the rules of [`decide`] say so; `None` means that the pod stays as it is.
///
/// # Errors
/// When the pod asks for a sidecar but an annotation is invalid, or a container claims the proxy's user.
pub fn inject(
    pod: &Pod,
    namespace: &NamespaceRef<'_>,
    proxy: &ProxyDefaults,
    values: &Values,
) -> Result<Option<Pod>, InjectError> {
    let decision = decide(pod, namespace, values);
    if !decision.inject {
        return Ok(None);
    }
    // A pod that comes back (an update, a stored manifest) gets a fresh sidecar, not a second one (INJ-60).
    let mut pod = pod.clone();
    strip(&mut pod);
    let name = pod_name(&pod);
    let annotations = PodAnnotations::parse(&pod).map_err(|source| InjectError::Annotation {
        pod: name.clone(),
        source,
    })?;
    let Some(spec) = pod.spec.as_ref() else {
        return Err(InjectError::NoSpec { pod: name });
    };
    if let Some(container) = build::reserved_user(spec) {
        return Err(InjectError::ReservedUser { pod: name, container });
    }
    let sidecar = build(&pod.metadata, spec, namespace.name, &annotations, proxy, values);
    apply(&mut pod, sidecar, &values.version);
    Ok(Some(pod))
}

/// The pod's name, or what is known of it before the API server has generated one.
fn pod_name(pod: &Pod) -> String {
    match (&pod.metadata.name, &pod.metadata.generate_name) {
        (Some(name), _) if !name.is_empty() => name.clone(),
        (_, Some(prefix)) if !prefix.is_empty() => format!("{prefix}***** (actual name not yet known)"),
        _ => "without a name".to_owned(),
    }
}
