//! Whether a pod is injected (§1.7).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::config::{Policy, Values};
use super::selector;

/// Namespaces of the cluster itself.
const SYSTEM_NAMESPACES: [&str; 2] = ["kube-system", "kube-public"];

/// Label by which a namespace asks for injection.
const NAMESPACE_LABEL: &str = "istio-injection";

/// Annotation by which a pod asks for it or refuses it.
pub(super) const INJECT_ANNOTATION: &str = "sidecar.istio.io/inject";

/// The pod's namespace, as far as injection looks at it.
#[derive(Clone, Copy, Debug)]
pub struct NamespaceRef<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
}

/// The answer, with the rule that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Inject?
    pub inject: bool,
    /// The first rule that matched.
    pub reason: Reason,
}

/// The rules of the decision table, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The namespace is not labelled `istio-injection=enabled` (INJ-12).
    NamespaceNotSelected,
    /// Capture on the host's network would alter the node.
    HostNetwork,
    /// The cluster's own namespaces.
    SystemNamespace,
    /// `policy` is neither `enabled` nor `disabled`: log it as an error.
    UnknownPolicy,
    /// The pod's annotation.
    Annotation,
    /// A never-inject selector.
    NeverInjectSelector,
    /// An always-inject selector.
    AlwaysInjectSelector,
    /// The default.
    Policy,
}

/// Asks the table of §1.7 from top to bottom; the first match wins.
#[must_use]
pub fn decide(pod: &Pod, namespace: &NamespaceRef<'_>, values: &Values) -> Decision {
    let (inject, reason) = table(pod, namespace, values);
    Decision { inject, reason }
}

fn table(pod: &Pod, namespace: &NamespaceRef<'_>, values: &Values) -> (bool, Reason) {
    // What the webhook's namespaceSelector would not let through.
    let label = namespace.labels.get(NAMESPACE_LABEL).map(String::as_str);
    let selected = match values.enable_namespaces_by_default {
        true => label != Some("disabled"),
        false => label == Some("enabled"),
    };
    if !selected {
        return (false, Reason::NamespaceNotSelected);
    }
    if pod
        .spec
        .as_ref()
        .and_then(|spec| spec.host_network)
        .unwrap_or_default()
    {
        return (false, Reason::HostNetwork);
    }
    if SYSTEM_NAMESPACES.contains(&namespace.name) {
        return (false, Reason::SystemNamespace);
    }
    if matches!(values.policy, Policy::Unknown(_)) {
        return (false, Reason::UnknownPolicy);
    }
    let annotation = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(INJECT_ANNOTATION));
    match annotation.map(|text| text.to_lowercase()).as_deref() {
        None | Some("") => {}
        Some("y" | "yes" | "true" | "on") => return (true, Reason::Annotation),
        Some(_) => return (false, Reason::Annotation),
    }
    let none = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
    let any = |selectors: &[_]| selectors.iter().any(|s| selector::matches(s, labels));
    if any(&values.never_inject_selector) {
        return (false, Reason::NeverInjectSelector);
    }
    if any(&values.always_inject_selector) {
        return (true, Reason::AlwaysInjectSelector);
    }
    (values.policy == Policy::Enabled, Reason::Policy)
}
