//! Which service ports the workload of a sidecar serves.

use mesh_config::{ConfigKey, Kind, Protocol};
use pilot_model::{ScopedView, ServiceInstance, Warning, WarningKind, Workload};

use crate::{ports, service};

/// The service ports of a workload, one for each port that it listens on.
#[derive(Debug)]
pub(crate) struct Served<'a> {
    /// Sorted by target port; target ports are unique.
    pub(crate) instances: Vec<&'a ServiceInstance>,
    /// Ports that are served as something else than their service says, or not at all.
    pub(crate) warnings: Vec<Warning>,
}

/// Chooses among the service ports that lead to the same port of the workload: the oldest service wins, then the lower
/// port (P11.2, P12.2).
pub(crate) fn served<'a>(view: &ScopedView, workload: &'a Workload) -> Served<'a> {
    let created =
        |instance: &ServiceInstance| service::of_instance(view, instance).map(|service| service.created);
    let mut instances: Vec<_> = workload
        .instances
        .iter()
        .filter(|instance| instance.service_port.protocol != Protocol::Udp)
        .collect();
    // Services that the view does not show come last: `None` sorts first, hence the leading flag.
    instances.sort_by_cached_key(|instance| {
        let created = created(instance);
        (instance.target_port, created.is_none(), created, *instance)
    });

    let mut warnings = Vec::new();
    let closed = ports::closed(view.mesh());
    instances.retain(|instance| {
        let reserved = closed.contains(&instance.target_port);
        if reserved {
            warnings.push(Warning {
                object: object(view, instance),
                kind: WarningKind::InboundListener,
                reason: format!(
                    "port {} of the workload belongs to the proxy; it is not served",
                    instance.target_port
                ),
            });
        }
        !reserved
    });
    instances.dedup_by(|later, first| {
        let same_port = later.target_port == first.target_port;
        if same_port && later.service_port.protocol != first.service_port.protocol {
            warnings.push(Warning {
                object: object(view, later),
                kind: WarningKind::InboundListener,
                reason: format!(
                    "port {} of the workload is served as {} for {}:{}, not as {} for {}:{}",
                    first.target_port,
                    first.service_port.protocol,
                    first.host,
                    first.service_port.number,
                    later.service_port.protocol,
                    later.host,
                    later.service_port.number,
                ),
            });
        }
        same_port
    });
    Served { instances, warnings }
}

fn object(view: &ScopedView, instance: &ServiceInstance) -> ConfigKey {
    match service::of_instance(view, instance) {
        Some(service) => service::object(service),
        None => {
            let name = instance.host.as_str().split('.').next().unwrap_or_default();
            ConfigKey::new(Kind::Service, instance.namespace.clone(), name)
        }
    }
}
