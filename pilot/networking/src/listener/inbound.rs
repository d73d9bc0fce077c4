//! Which listeners a sidecar gets for the connections that others open to its workload (P12.2).

use std::net::{IpAddr, Ipv4Addr};

use mesh_api::istio::networking::v1alpha3::envoy_filter::listener_match::ListenerType;
use mesh_config::Protocol;
use pilot_model::{InterceptionMode, Proxy, ScopedView, Workload};

use super::{Access, At, Families, InboundPort, ListenerKey, Spec};
use crate::authentication::{self, Authentication};
use crate::envoy::loopback;
use crate::envoy_filter::{Chains, Selected, Target, UserFilters};
use crate::filter::HttpSettings;
use crate::instance::{Listen, ServedPort};
use crate::{Features, Plan, instance, name, ports, service};

/// The listeners for connections that others open to the workload of a sidecar.
///
/// `virtualInbound` takes what the network delivers. It holds the ports of the workload itself and does not hand over by
/// destination as `virtualOutbound` does: an outbound listener on all addresses of the same port would otherwise get
/// connections that are meant for this pod. The listeners by address beside it serve what the pod sends to itself,
/// which is captured on the way out, and what is opened to the proxy itself because a Sidecar says so.
pub fn inbound(
    view: &ScopedView,
    proxy: &Proxy,
    workload: &Workload,
    features: &Features,
) -> Plan<ListenerKey> {
    let Some(&ip) = proxy.ips.first() else {
        return Plan::default();
    };
    let mesh = view.mesh();
    let http = HttpSettings::of(proxy, features);
    let captured = proxy.interception != InterceptionMode::None;
    let served = instance::served(view, proxy, workload);
    let is_asked_for = view.sidecar().is_some_and(|sidecar| sidecar.ingress.is_some());
    let mut envoy_filters = Selected::new(view, &workload.labels);
    let mut policy_warnings = Vec::new();
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
        let (at, access) = match listen {
            // Nothing is captured: the application itself listens on its ports.
            Listen::Captured { .. } if !captured => {
                authentication::warn_of_uncaptured(view, instance, &mut policy_warnings);
                continue;
            }
            Listen::Captured { port } => (At::Port(destination.unwrap_or(ip), port), Access::Captured),
            Listen::Bound { address, port } => (At::Port(address, port), Access::Bound),
            Listen::Socket(path) => (At::Socket(path), Access::Bound),
        };
        let user_filters = envoy_filters.on(Target {
            listener_type: ListenerType::SidecarInbound,
            port: instance.service_port.number,
            port_name: &instance.service_port.name,
            address: at.ip(),
            chains: Chains::of(protocol.is_http()),
        });
        let port = InboundPort {
            address: destination,
            port: at.port(),
            service_port: instance.service_port.number,
            host: instance.host.clone(),
            service: service::of_instance(view.whole(), instance).and_then(|service| service.definition()),
            protocol,
            http,
            authentication: authentication::of_port(view, proxy, instance, protocol, &mut policy_warnings),
            cluster,
            user_filters,
        };
        if captured && matches!(at, At::Port(..)) {
            ports.push(port.clone());
        }
        keys.push(ListenerKey {
            name: at.listener_name(captured, access),
            mesh: mesh.clone(),
            at,
            families: Families::of(proxy),
            http,
            sidecar: view
                .sidecar()
                .filter(|_| is_asked_for)
                .map(|sidecar| sidecar.key.clone()),
            spec: Spec::Inbound { port, access },
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
            service: None,
            protocol: Protocol::Tcp,
            http: HttpSettings::default(),
            authentication: Authentication::default(),
            cluster: name::management_cluster(number).into(),
            user_filters: UserFilters::default(),
        };
        ports.push(port.clone());
        keys.push(ListenerKey {
            name: name::listener(ip, number).into(),
            mesh: mesh.clone(),
            at: At::Port(ip, number),
            families: Families::of(proxy),
            http,
            sidecar: None,
            spec: Spec::Inbound {
                port,
                access: Access::Captured,
            },
            user_filters: UserFilters::default(),
        });
    }
    // With both captures on one port, `virtualOutbound` serves both and hands over by address.
    if captured && ports::outbound(mesh) != name::INBOUND_PORT {
        keys.push(ListenerKey {
            name: name::VIRTUAL_INBOUND_LISTENER.into(),
            mesh: mesh.clone(),
            at: At::Port(IpAddr::V4(Ipv4Addr::UNSPECIFIED), name::INBOUND_PORT),
            families: Families::of(proxy),
            http,
            sidecar: None,
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
    warnings.extend(policy_warnings);
    Plan { keys, warnings }
}
