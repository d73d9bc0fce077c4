//! Small questions about services.

use mesh_config::ConfigKey;
use pilot_model::{Resolution, ScopedView, Service, ServiceAddress, ServiceInstance, Versioned};

/// The object that defines a service, for findings.
pub(crate) fn object(service: &Service) -> ConfigKey {
    service.object()
}

/// Whether clients reach the pods of a service by addresses and names of their own: `clusterIP: None`.
pub(crate) fn is_headless(view: &ScopedView, service: &Service) -> bool {
    service.resolution == Resolution::Passthrough
        && service.address == ServiceAddress::Unspecified
        && name_in_cluster(view, service).is_some()
}

/// `name.namespace` of a service that the cluster knows, from its host `name.namespace.svc.domain`.
pub(crate) fn name_in_cluster<'a>(view: &ScopedView, service: &'a Service) -> Option<&'a str> {
    let name = service.id.host.as_str().strip_suffix(&**view.domain())?;
    name.strip_suffix(".svc.").filter(|name| !name.starts_with('*'))
}

/// The service that a workload serves. `None` when the view does not show it.
pub(crate) fn of_instance<'a>(
    view: &'a ScopedView,
    instance: &ServiceInstance,
) -> Option<&'a Versioned<Service>> {
    view.services_of(instance.host.as_str())
        .find(|service| service.id.namespace == instance.namespace)
}
