//! Small questions about services.

use mesh_config::ConfigKey;
use pilot_model::{ScopedView, Service, ServiceInstance, Versioned};

/// The object that defines a service, for findings.
pub(crate) fn object(service: &Service) -> ConfigKey {
    service.object()
}

/// The service that a workload serves. `None` when the view does not show it.
pub(crate) fn of_instance<'a>(
    view: &'a ScopedView,
    instance: &ServiceInstance,
) -> Option<&'a Versioned<Service>> {
    view.services_of(instance.host.as_str())
        .find(|service| service.id.namespace == instance.namespace)
}
