//! Where a workload finds the services that the egress listeners of its Sidecar import (`R-SC-2`, `R-SC-6`, P12.4).

use std::net::{IpAddr, Ipv4Addr};

use mesh_config::Str;
use pilot_model::{Bind, EgressListener, ScopedView};

use crate::name;

/// Where applications open connections to the proxy itself, unless a Sidecar says otherwise.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What requests of one route configuration can reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach<'a> {
    pub(crate) view: &'a ScopedView,
    pub(crate) ports: Ports,
}

/// The service ports that requests can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    One(u16),
    /// All: the request says which, or means this one.
    All {
        unnamed: u16,
    },
}

/// The port that callers of an HTTP proxy need not write.
const HTTP_PORT: u16 = 80;

/// The address of a listener, when the Sidecar gives one.
pub(crate) fn address(listener: &EgressListener) -> Option<IpAddr> {
    let address = listener.bind.as_ref().and_then(Bind::ip);
    address.filter(|ip| !ip.is_unspecified())
}

/// The one address at which a listener takes connections; `None` where that is a socket, or wherever services are.
pub(crate) fn own_address(listener: &EgressListener, captured: bool) -> Option<IpAddr> {
    if matches!(listener.bind, Some(Bind::Unix(_))) {
        return None;
    }
    let is_opened = !captured || listener.binds;
    address(listener).or(is_opened.then_some(LOOPBACK))
}

/// The name of the route configuration for a port of an egress listener.
///
/// It is the port, as without a Sidecar, unless the listener is in a place of its own: another listener may serve other
/// services on the same port.
pub(crate) fn routes(listener: &EgressListener, port: u16) -> Str {
    match (&listener.bind, address(listener)) {
        (Some(Bind::Unix(path)), _) => name::socket(path).into(),
        (_, Some(ip)) => name::listener(ip, port).into(),
        _ if listener.binds => name::listener(LOOPBACK, port).into(),
        _ => port.to_string().into(),
    }
}

/// What the requests of a route configuration can reach, by its name; `None` when no listener uses the name.
pub(crate) fn reach<'a>(view: &'a ScopedView, routes_name: &str) -> Option<Reach<'a>> {
    if routes_name == name::HTTP_PROXY_ROUTES {
        let ports = Ports::All { unnamed: HTTP_PORT };
        return Some(Reach { view, ports });
    }
    // The port stands behind the address.
    let digits = routes_name.rsplit('_').next().unwrap_or_default();
    let port = digits.parse::<u16>().ok().filter(|port| *port != 0);
    let Some(listeners) = view.egress() else {
        let ports = Ports::One(port.filter(|port| port.to_string() == routes_name)?);
        return Some(Reach { view, ports });
    };
    // Listeners for a port go before the one for all others.
    listeners.iter().find_map(|egress| {
        let view = &*egress.view;
        let (number, ports) = match &egress.listener.port {
            Some(port) => (port.number, all_ports(view, port.number)),
            None => (port?, Ports::One(port?)),
        };
        (*routes(&egress.listener, number) == *routes_name).then_some(Reach { view, ports })
    })
}

/// A listener with a port of its own is a proxy for all imported services, whatever their ports. Requests that do not
/// say which one mean its own where some service has it.
fn all_ports(view: &ScopedView, own: u16) -> Ports {
    let unnamed = if view.http_services(own).next().is_some() {
        own
    } else {
        HTTP_PORT
    };
    Ports::All { unnamed }
}

#[cfg(test)]
mod tests {
    use mesh_api::istio::networking::v1alpha3::{CaptureMode, IstioEgressListener, Port, Sidecar};
    use pilot_model::{InterceptionMode, Workload};

    use super::*;
    use crate::fixture::{Mesh, proxy, service};

    fn listener(
        number: Option<u32>,
        bind: &str,
        capture_mode: CaptureMode,
        host: &str,
    ) -> IstioEgressListener {
        IstioEgressListener {
            port: number.map(|number| Port {
                number,
                protocol: "HTTP".to_owned(),
                name: "http".to_owned(),
            }),
            bind: bind.to_owned(),
            capture_mode: capture_mode.into(),
            hosts: vec![host.to_owned()],
        }
    }

    #[test]
    fn p13_2_route_configurations_belong_to_listeners() {
        use CaptureMode::{Default, None as Bound};
        let a = "*/a.default.svc.cluster.local";
        let b = "*/b.default.svc.cluster.local";
        let sidecar = Sidecar {
            egress: vec![
                listener(None, "", Default, b),
                listener(Some(80), "", Default, a),
                listener(Some(8080), "", Bound, a),
                listener(Some(8081), "10.0.0.1", Default, a),
                listener(Some(0), "unix:///run/http", Default, a),
            ],
            ..Sidecar::default()
        };
        let published = Mesh::new()
            .service(service("a", "10.96.0.1", &[("http", 80)]))
            .service(service("b", "10.96.0.2", &[("http", 80), ("http-b", 8080)]))
            .sidecar("default", "default", sidecar)
            .publish();
        let redirect = proxy(InterceptionMode::Redirect);
        let view = published.snapshot.view_of(&redirect, &Workload::default());
        let all = |unnamed| Some(Ports::All { unnamed });
        for (name, host, ports) in [
            ("80", "a", all(80)),
            ("127.0.0.1_8080", "a", all(80)),
            ("10.0.0.1_8081", "a", all(80)),
            ("unix:///run/http", "a", all(80)),
            ("8080", "b", Some(Ports::One(8080))),
            ("127.0.0.1_80", "", None),
            ("0", "", None),
            ("080", "", None),
            ("", "", None),
            ("x", "", None),
        ] {
            let reach = reach(&view, name);
            assert_eq!(reach.map(|reach| reach.ports), ports, "{name:?}");
            let hosts: Vec<_> = reach
                .iter()
                .flat_map(|reach| reach.view.services())
                .map(|service| &*service.id.name)
                .collect();
            assert_eq!(hosts.join(" "), host, "{name:?}");
        }
        let proxy = reach(&view, "http_proxy").expect("known");
        assert_eq!(
            (proxy.ports, proxy.view.services().count()),
            (Ports::All { unnamed: 80 }, 2)
        );
    }

    #[test]
    fn r_sc_6_requests_without_a_port_mean_that_of_the_listener_where_some_service_has_it() {
        let sidecar = Sidecar {
            egress: vec![listener(Some(3002), "", CaptureMode::Default, "./*")],
            ..Sidecar::default()
        };
        let published = Mesh::new()
            .service(service("a", "10.96.0.1", &[("http", 3002)]))
            .sidecar("default", "default", sidecar)
            .publish();
        let view = published
            .snapshot
            .view_of(&proxy(InterceptionMode::Redirect), &Workload::default());
        let found = reach(&view, "3002").map(|reach| reach.ports);
        assert_eq!(found, Some(Ports::All { unnamed: 3002 }));
    }
}
