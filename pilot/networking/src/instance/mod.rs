//! The ports on which a sidecar takes connections for its workload.

mod automatic;
mod ingress;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh_config::{ConfigKey, Kind, Protocol, Str};
use pilot_model::{LocalEndpoint, Proxy, ScopedView, ServiceInstance, Warning, Workload};

use crate::service;

/// The ports of a workload.
#[derive(Debug)]
pub(crate) struct Served<'a> {
    /// In a stable order; no two of them listen in the same place.
    pub(crate) ports: Vec<ServedPort<'a>>,
    /// Ports that no service has and that probes ask, in ascending order.
    pub(crate) management_ports: Vec<u16>,
    /// Ports that are served as something else than their service says, or not at all.
    pub(crate) warnings: Vec<Warning>,
}

/// A port of a workload.
#[derive(Debug)]
pub(crate) struct ServedPort<'a> {
    /// The service port behind which it stands.
    pub(crate) instance: &'a ServiceInstance,
    pub(crate) listen: Listen,
    /// The address that connections are opened to; `None` means all of the workload.
    pub(crate) destination: Option<IpAddr>,
    pub(crate) protocol: Protocol,
    /// Where the application listens.
    pub(crate) endpoint: LocalEndpoint,
    /// The cluster that leads there.
    pub(crate) cluster: Str,
}

/// Where connections are taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Listen {
    /// Wherever the network delivers them, as far as they are captured.
    Captured { port: u16 },
    /// On a port of the proxy itself.
    Bound { address: IpAddr, port: u16 },
    /// On a Unix socket, given by its path.
    Socket(Str),
}

/// The ports of a workload: those that its Sidecar names (`R-SC-3`), else those of its services (P11.2, P12.2).
pub(crate) fn served<'a>(view: &ScopedView, proxy: &Proxy, workload: &'a Workload) -> Served<'a> {
    let instances = by_age(view.whole(), workload);
    let sidecar = view.sidecar();
    match sidecar.and_then(|sidecar| Some((sidecar, sidecar.ingress.as_ref()?))) {
        Some((sidecar, listeners)) => ingress::served(view, proxy, &instances, &sidecar.key, listeners),
        None => automatic::served(view.whole(), proxy, workload, instances),
    }
}

/// The ports of the pod that are somebody's already, so that the proxy can open none of them for callers inside of the pod:
/// those of the application, and those that a Sidecar gives to the workload on the loopback address.
///
/// An application has the ports that its services, probes and containers name. Where a Sidecar puts a listener before it,
/// it has the port behind that instead.
pub(crate) fn taken_ports(view: &ScopedView, proxy: &Proxy, workload: &Workload) -> BTreeSet<u16> {
    let served = served(view, proxy, workload);
    let targets = workload.instances.iter().map(|instance| instance.target_port);
    let probed = workload.management_ports.iter().copied();
    let declared = workload.container_ports.iter().copied();
    let mut taken: BTreeSet<u16> = targets.chain(probed).chain(declared).collect();
    for port in &served.ports {
        match port.listen {
            Listen::Captured { port } | Listen::Bound { port, .. } => taken.remove(&port),
            Listen::Socket(_) => false,
        };
    }
    for port in &served.ports {
        if let LocalEndpoint::Port(number) = port.endpoint {
            taken.insert(number);
        }
        if let Listen::Bound { address, port } = port.listen
            && address.is_loopback()
        {
            taken.insert(port);
        }
    }
    taken
}

/// The service ports that a proxy can serve, by target port; of those with the same one the oldest service's first,
/// then the lower port.
fn by_age<'a>(view: &ScopedView, workload: &'a Workload) -> Vec<&'a ServiceInstance> {
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
    instances
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
