//! The ports that services say a workload has.

use pilot_model::{
    InterceptionMode, LocalEndpoint, Proxy, ScopedView, ServiceInstance, Warning, WarningKind, Workload,
};

use super::{Listen, Served, ServedPort, object};
use crate::{name, ports};

/// Chooses among the service ports that lead to the same port of the workload: the oldest service wins, then the lower
/// port. `instances` come in that order.
pub(super) fn served<'a>(
    view: &ScopedView,
    proxy: &Proxy,
    workload: &Workload,
    mut instances: Vec<&'a ServiceInstance>,
) -> Served<'a> {
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
    // Without capture, probes find the application itself.
    let probed = workload
        .management_ports
        .iter()
        .filter(|_| proxy.interception != InterceptionMode::None);
    let management_ports = probed
        .copied()
        .filter(|port| {
            let is_served = instances.iter().any(|instance| instance.target_port == *port);
            !is_served && !closed.contains(port) && !ports::is_bound(view.mesh(), *port)
        })
        .collect();
    let ports = instances.into_iter().map(|instance| {
        let port = &instance.service_port;
        ServedPort {
            instance,
            listen: Listen::Captured {
                port: instance.target_port,
            },
            destination: None,
            protocol: port.protocol,
            endpoint: LocalEndpoint::Port(instance.target_port),
            cluster: name::inbound_cluster(port.number, &port.name, &instance.host).into(),
        }
    });
    Served {
        ports: ports.collect(),
        management_ports,
        warnings,
    }
}
