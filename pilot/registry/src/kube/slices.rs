//! EndpointSlices.

use k8s_openapi::api::discovery::v1;
use mesh_config::Str;

use super::ObjectName;
use super::endpoints::{Condition, Listed, Subset, number, pod};

/// The label that says which service a slice is about.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What is kept of an EndpointSlice: a part of the endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    namespace: Str,
    /// Empty when it is about no service.
    service: Str,
    pub(super) subset: Subset,
}

// === impl Slice ===

impl Slice {
    /// Reads a slice. Endpoints that are names and not addresses are left out, as are ports without a number, which
    /// stand for all.
    #[must_use]
    pub fn new(slice: &v1::EndpointSlice) -> Self {
        let metadata = &slice.metadata;
        let namespace: Str = metadata.namespace.as_deref().unwrap_or_default().into();
        let labels = metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get(SERVICE_NAME));
        let ports = slice.ports.iter().flatten();
        let subset = Subset {
            addresses: slice
                .endpoints
                .iter()
                .flat_map(|endpoint| listed(&namespace, endpoint))
                .collect(),
            ports: ports
                .filter_map(|port| {
                    let name = port.name.as_deref().unwrap_or_default().into();
                    Some((name, number(port.port?)?))
                })
                .collect(),
        };
        Self {
            service: service.map(String::as_str).unwrap_or_default().into(),
            namespace,
            subset,
        }
    }

    /// The service that it is about.
    pub(super) fn service(&self) -> Option<ObjectName> {
        (!self.service.is_empty()).then(|| (self.namespace.clone(), self.service.clone()))
    }
}

/// The addresses of one endpoint: all that it has lead to the same pod.
fn listed(namespace: &Str, endpoint: &v1::Endpoint) -> impl Iterator<Item = Listed> {
    let pod = endpoint.target_ref.as_ref().and_then(|target| {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        pod(
            namespace,
            &text(&target.kind),
            &text(&target.namespace),
            &text(&target.name),
        )
    });
    let zone: Str = endpoint.zone.as_deref().unwrap_or_default().into();
    let condition = condition(endpoint.conditions.as_ref());
    let addresses = endpoint.addresses.iter();
    addresses.filter_map(move |address| {
        Some(Listed {
            ip: address.parse().ok()?,
            pod: pod.clone(),
            zone: zone.clone(),
            condition,
        })
    })
}

/// What nobody knows is taken for good: an endpoint is ready unless the slice says that it is not.
fn condition(conditions: Option<&v1::EndpointConditions>) -> Condition {
    let Some(conditions) = conditions else {
        return Condition::Ready;
    };
    if conditions.ready.unwrap_or(true) {
        Condition::Ready
    } else if conditions.serving == Some(true) && conditions.terminating == Some(true) {
        Condition::Draining
    } else {
        Condition::NotReady
    }
}
