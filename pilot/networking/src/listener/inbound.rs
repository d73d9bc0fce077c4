//! Which listeners a sidecar gets for the connections that others open to its workload (P12.2).

use std::net::{IpAddr, Ipv4Addr};

use mesh_api::istio::networking::v1alpha3::envoy_filter::listener_match::ListenerType;
use mesh_config::Protocol;
use pilot_model::{InterceptionMode, Proxy, ScopedView, Workload};

use super::{InboundPort, ListenerKey, Spec};
use crate::envoy::loopback;
use crate::envoy_filter::{Chains, Selected, Target, UserFilters};
use crate::instance::{Listen, ServedPort};
use crate::{Plan, instance, name, ports};

/// The listeners for connections that others open to the workload of a sidecar.
///
/// `virtualInbound` takes what the network delivers. It holds the ports of the workload itself and does not hand over by
/// destination as `virtualOutbound` does: an outbound listener on all addresses of the same port would otherwise get
/// connections that are meant for this pod. The listeners by address beside it serve what the pod sends to itself,
/// which is captured on the way out, and what is opened to the proxy itself because a Sidecar says so.
pub fn inbound(view: &ScopedView, proxy: &Proxy, workload: &Workload) -> Plan<ListenerKey> {
    let Some(&ip) = proxy.ips.first() else {
        return Plan::default();
    };
    let mesh = view.mesh();
    let captured = proxy.interception != InterceptionMode::None;
    let served = instance::served(view, proxy, workload);
    let mut envoy_filters = Selected::new(view, &workload.labels);
    let mut ports = Vec::with_capacity(served.ports.len());
    let mut keys = Vec::with_capacity(served.ports.len() + 1);
    for port in served.ports {
        let ServedPort {
            instance,
            listen,
            destination,
            protocol,
            cluster,
            ..
        } = port;
        let address = match listen {
            Listen::Bound { address, .. } => address,
            Listen::Captured { .. } | Listen::Socket(_) => destination.unwrap_or(ip),
        };
        let user_filters = envoy_filters.on(Target {
            listener_type: ListenerType::SidecarInbound,
            port: instance.service_port.number,
            port_name: &instance.service_port.name,
            address: listen.port().map(|_| address),
            chains: Chains::of(protocol.is_http()),
        });
        let port = InboundPort {
            address: destination,
            port: listen.port().unwrap_or_default(),
            service_port: instance.service_port.number,
            host: instance.host.clone(),
            protocol,
            cluster,
            user_filters,
        };
        let name = match &listen {
            // Nothing is captured: the application itself listens on its ports.
            Listen::Captured { .. } if !captured => continue,
            Listen::Socket(path) => name::socket(path),
            _ => name::listener(address, port.port),
        };
        if captured && listen.port().is_some() {
            ports.push(port.clone());
        }
        keys.push(ListenerKey {
            name: name.into(),
            mesh: mesh.clone(),
            address,
            port: port.port,
            spec: Spec::Inbound { port, listen },
            user_filters: UserFilters::default(),
        });
    }
    // Probes come from outside the mesh: their bytes are forwarded as they are, whatever the policy for others.
    for number in served.management_ports {
        let port = InboundPort {
            address: None,
            port: number,
            service_port: number,
            host: name::MANAGEMENT_HOST.into(),
            protocol: Protocol::Tcp,
            cluster: name::management_cluster(number).into(),
            user_filters: UserFilters::default(),
        };
        ports.push(port.clone());
        keys.push(ListenerKey {
            name: name::listener(ip, number).into(),
            mesh: mesh.clone(),
            address: ip,
            port: number,
            spec: Spec::Inbound {
                port,
                listen: Listen::Captured { port: number },
            },
            user_filters: UserFilters::default(),
        });
    }
    // With both captures on one port, `virtualOutbound` serves both and hands over by address.
    if captured && ports::outbound(mesh) != name::INBOUND_PORT {
        keys.push(ListenerKey {
            name: name::VIRTUAL_INBOUND_LISTENER.into(),
            mesh: mesh.clone(),
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: name::INBOUND_PORT,
            spec: Spec::VirtualInbound {
                transparent: proxy.interception == InterceptionMode::Tproxy,
                loopback: loopback(ip),
                ports: ports.into(),
            },
            user_filters: UserFilters::default(),
        });
    }
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    let mut warnings = served.warnings;
    warnings.extend(envoy_filters.warnings);
    Plan { keys, warnings }
}
