//! The ports that a Sidecar gives to a workload (`R-SC-3`, `R-SC-6`).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use mesh_config::ConfigKey;
use pilot_model::{
    Bind, Egress, IngressListener, InterceptionMode, Proxy, ScopedView, ServiceInstance, Warning, WarningKind,
};

use super::{Listen, Served, ServedPort};
use crate::egress::{self, LOOPBACK};
use crate::{name, ports};

/// The listeners of a Sidecar that can be served. `instances` come by age.
pub(super) fn served<'a>(
    view: &ScopedView,
    proxy: &Proxy,
    instances: &[&'a ServiceInstance],
    sidecar: &ConfigKey,
    listeners: &[IngressListener],
) -> Served<'a> {
    let mut served = Served {
        ports: Vec::with_capacity(listeners.len()),
        management_ports: Vec::new(),
        warnings: Vec::new(),
    };
    let mut clusters = BTreeSet::new();
    for listener in listeners {
        match serve(view, proxy, instances, listener) {
            Ok(port) if clusters.insert(port.cluster.clone()) => served.ports.push(port),
            Ok(_) => served.warn(
                sidecar,
                listener,
                WarningKind::InboundListener,
                "another listener has its name",
            ),
            Err((kind, reason)) => served.warn(sidecar, listener, kind, &reason),
        }
    }
    served
}

fn serve<'a>(
    view: &ScopedView,
    proxy: &Proxy,
    instances: &[&'a ServiceInstance],
    listener: &IngressListener,
) -> Result<ServedPort<'a>, (WarningKind, String)> {
    let instance = instance(instances, listener).ok_or_else(|| {
        let reason = "no service of the workload has the port, neither by number nor by name".to_owned();
        (WarningKind::UnknownPort, reason)
    })?;
    let port = &listener.port;
    Ok(ServedPort {
        instance,
        listen: listen(view, proxy, listener).map_err(|reason| (WarningKind::InboundListener, reason))?,
        destination: address(listener),
        protocol: port.protocol,
        endpoint: listener.endpoint.clone(),
        cluster: name::inbound_cluster(port.number, &port.name, &instance.host).into(),
    })
}

/// The service port behind which a listener stands: by the port on which others find the workload, by the port of the
/// service, then by name.
fn instance<'a>(
    instances: &[&'a ServiceInstance],
    listener: &IngressListener,
) -> Option<&'a ServiceInstance> {
    let (number, name) = (listener.port.number, &listener.port.name);
    let find =
        |is_it: &dyn Fn(&ServiceInstance) -> bool| instances.iter().find(|instance| is_it(instance)).copied();
    find(&|instance| instance.target_port == number)
        .or_else(|| find(&|instance| instance.service_port.number == number))
        .or_else(|| find(&|instance| !name.is_empty() && instance.service_port.name == *name))
}

/// The address that a listener is about; `None` means all.
fn address(listener: &IngressListener) -> Option<IpAddr> {
    let address = listener.bind.as_ref().and_then(Bind::ip);
    address.filter(|ip| !ip.is_unspecified())
}

fn listen(view: &ScopedView, proxy: &Proxy, listener: &IngressListener) -> Result<Listen, String> {
    if let Some(Bind::Unix(path)) = &listener.bind {
        return Ok(Listen::Socket(path.clone()));
    }
    let (mesh, port) = (view.mesh(), listener.port.number);
    if ports::is_taken(mesh, port) {
        return Err("the port belongs to the proxy".to_owned());
    }
    let captured = proxy.interception != InterceptionMode::None;
    if let Some(address) = address(listener)
        && is_egress(view, captured, address, port)
    {
        return Err("an egress listener has the address".to_owned());
    }
    if captured && !listener.binds {
        return Ok(Listen::Captured { port });
    }

    if ports::is_privileged(port) && !ports::is_root(proxy) {
        return Err("a proxy that is not root cannot bind the port".to_owned());
    }
    let address = match (address(listener), proxy.ips.first()) {
        (Some(address), _) => address,
        // All addresses of the port may be those of captured outbound connections. Who comes from elsewhere says this
        // one, and the pod itself has the application.
        (None, Some(ip)) if captured => *ip,
        (None, _) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    Ok(Listen::Bound { address, port })
}

/// Whether an outbound listener is asked for at an address by name. Those of services give way.
fn is_egress(view: &ScopedView, captured: bool, address: IpAddr, port: u16) -> bool {
    let explicit = |egress: &Egress| {
        let listener = &egress.listener;
        let has_port = listener.port.as_ref().is_some_and(|own| own.number == port);
        has_port && egress::own_address(listener, captured) == Some(address)
    };
    let is_proxy = address == LOOPBACK && ports::http_proxy(view.mesh()) == Some(port);
    is_proxy || view.egress().into_iter().flatten().any(explicit)
}

// === impl Served ===

impl Served<'_> {
    fn warn(&mut self, sidecar: &ConfigKey, listener: &IngressListener, kind: WarningKind, reason: &str) {
        self.warnings.push(Warning {
            object: sidecar.clone(),
            kind,
            reason: format!(
                "ingress listener {:?} on port {} is left out: {reason}",
                &*listener.port.name, listener.port.number
            ),
        });
    }
}
