//! Which listeners a sidecar gets for the connections that others open to its workload (P12.2).

use std::net::{IpAddr, Ipv4Addr};

use pilot_model::{InterceptionMode, Proxy, ScopedView, Workload};

use super::{InboundPort, ListenerKey, Spec};
use crate::envoy::loopback;
use crate::{Plan, instance, name, ports};

/// The listeners for connections that others open to the workload of a sidecar.
///
/// `virtualInbound` takes what the network delivers. It holds the ports of the workload itself and does not hand over by
/// destination as `virtualOutbound` does: an outbound listener on all addresses of the same port would otherwise get
/// connections that are meant for this pod. The listeners by address beside it serve what the pod sends to itself,
/// which is captured on the way out.
pub fn inbound(view: &ScopedView, proxy: &Proxy, workload: &Workload) -> Plan<ListenerKey> {
    let Some(&ip) = proxy.ips.first() else {
        return Plan::default();
    };
    // Nothing is captured: the application itself listens on its ports.
    if proxy.interception == InterceptionMode::None {
        return Plan::default();
    }
    let view = view.whole();
    let mesh = view.mesh();
    let served = instance::served(view, workload);
    let ports: Vec<InboundPort> = served
        .instances
        .into_iter()
        .map(|instance| {
            let port = &instance.service_port;
            InboundPort {
                target_port: instance.target_port,
                service_port: port.number,
                host: instance.host.clone(),
                protocol: port.protocol,
                cluster: name::inbound_cluster(port.number, &port.name, &instance.host).into(),
            }
        })
        .collect();

    let mut keys: Vec<ListenerKey> = ports
        .iter()
        .map(|port| ListenerKey {
            name: name::listener(ip, port.target_port).into(),
            mesh: mesh.clone(),
            address: ip,
            port: port.target_port,
            spec: Spec::Inbound(port.clone()),
        })
        .collect();
    // With both captures on one port, `virtualOutbound` serves both and hands over by address.
    if ports::outbound(mesh) != name::INBOUND_PORT {
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
        });
    }
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    Plan {
        keys,
        warnings: served.warnings,
    }
}
