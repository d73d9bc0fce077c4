//! Which ports a Sidecar gives to a workload.

use mesh_api::istio::networking::v1alpha3::{
    CaptureMode, IstioEgressListener, IstioIngressListener, Port, Sidecar,
};
use pilot_model::{InterceptionMode, WarningKind};

use super::*;
use crate::fixture::{Mesh, proxy, service, workload};

fn ingress(number: u32, protocol: &str, name: &str, endpoint: &str) -> IstioIngressListener {
    IstioIngressListener {
        port: Some(Port {
            number,
            protocol: protocol.to_owned(),
            name: name.to_owned(),
        }),
        default_endpoint: endpoint.to_owned(),
        ..IstioIngressListener::default()
    }
}

fn bound(listener: IstioIngressListener) -> IstioIngressListener {
    IstioIngressListener {
        capture_mode: CaptureMode::None.into(),
        ..listener
    }
}

fn at(bind: &str, listener: IstioIngressListener) -> IstioIngressListener {
    IstioIngressListener {
        bind: bind.to_owned(),
        ..listener
    }
}

/// What is served, and the kinds of the warnings.
fn of(listeners: Vec<IstioIngressListener>, proxy: &Proxy) -> (Vec<String>, Vec<WarningKind>) {
    let sidecar = Sidecar {
        ingress: listeners,
        egress: vec![IstioEgressListener {
            hosts: vec!["./*".to_owned()],
            ..IstioEgressListener::default()
        }],
        ..Sidecar::default()
    };
    let workload = workload(&[
        ("forecast", "http", 80, 3002),
        ("forecast", "http-admin", 81, 3003),
    ]);
    let published = Mesh::new()
        .service(service(
            "forecast",
            "10.96.0.1",
            &[("http", 80), ("http-admin", 81)],
        ))
        .service(service("frontend", "10.96.0.2", &[("http", 5000)]))
        .sidecar("default", "forecast", sidecar)
        .publish();
    let view = published.snapshot.view_of(proxy, &workload);
    let served = served(&view, proxy, &workload);
    let ports = served.ports.iter().map(|port| {
        let listen = match &port.listen {
            Listen::Captured { port } => format!("captured {port}"),
            Listen::Bound { address, port } => format!("bound {address}:{port}"),
            Listen::Socket(path) => format!("socket {path}"),
        };
        let to = port
            .destination
            .map_or_else(String::new, |ip| format!(" to {ip}"));
        let endpoint = match &port.endpoint {
            LocalEndpoint::Port(port) => port.to_string(),
            LocalEndpoint::Unix(path) => path.to_string(),
        };
        format!("{listen}{to} -> {endpoint} {}", port.cluster)
    });
    (
        ports.collect(),
        served.warnings.iter().map(|warning| warning.kind).collect(),
    )
}

const HOST: &str = "forecast.default.svc.cluster.local";

#[test]
fn r_sc_3_the_listeners_of_a_sidecar_replace_the_ports_of_services() {
    let served = of(
        vec![ingress(3002, "HTTP", "http", "127.0.0.1:3012")],
        &proxy(InterceptionMode::Redirect),
    );
    assert_eq!(
        served,
        (
            vec![format!("captured 3002 -> 3012 inbound|3002|http|{HOST}")],
            vec![]
        )
    );
}

#[test]
fn r_sc_6_a_listener_belongs_to_the_service_that_has_its_port_by_number_or_name() {
    let redirect = proxy(InterceptionMode::Redirect);
    for (listener, expected) in [
        (
            ingress(3003, "HTTP", "x", ":1"),
            Some("captured 3003 -> 1 inbound|3003|x|"),
        ),
        (
            ingress(81, "HTTP", "x", ":1"),
            Some("captured 81 -> 1 inbound|81|x|"),
        ),
        (
            ingress(9999, "TCP", "http-admin", ":1"),
            Some("captured 9999 -> 1 inbound|9999|http-admin|"),
        ),
        (ingress(9999, "TCP", "x", ":1"), None),
        (ingress(9999, "TCP", "", ":1"), None),
    ] {
        let (ports, warnings) = of(vec![listener], &redirect);
        let expected: Vec<_> = expected.map(|text| format!("{text}{HOST}")).into_iter().collect();
        assert_eq!(ports, expected);
        let expected: &[WarningKind] = if expected.is_empty() {
            &[WarningKind::UnknownPort]
        } else {
            &[]
        };
        assert_eq!(warnings, expected);
    }
}

#[test]
fn r_sc_6_without_capture_the_proxy_binds() {
    let http = || ingress(3002, "HTTP", "http", "127.0.0.1:3012");
    let (redirect, none) = (proxy(InterceptionMode::Redirect), proxy(InterceptionMode::None));
    for (proxy, listener, expected) in [
        (&redirect, bound(http()), "bound 10.1.0.7:3002"),
        (&redirect, at("0.0.0.0", bound(http())), "bound 10.1.0.7:3002"),
        (
            &redirect,
            at("10.1.0.8", bound(http())),
            "bound 10.1.0.8:3002 to 10.1.0.8",
        ),
        (&redirect, at("10.1.0.8", http()), "captured 3002 to 10.1.0.8"),
        (&none, http(), "bound 0.0.0.0:3002"),
        (&none, bound(http()), "bound 0.0.0.0:3002"),
        (&none, at("10.1.0.7", http()), "bound 10.1.0.7:3002 to 10.1.0.7"),
        (
            &none,
            at("127.0.0.1", http()),
            "bound 127.0.0.1:3002 to 127.0.0.1",
        ),
    ] {
        let (ports, warnings) = of(vec![listener], proxy);
        assert_eq!(ports, [format!("{expected} -> 3012 inbound|3002|http|{HOST}")]);
        assert_eq!(warnings, []);
    }
}

#[test]
fn r_sc_6_sockets_on_either_side() {
    let listeners = vec![
        at("unix:///run/in", ingress(0, "HTTP", "http", "127.0.0.1:3012")),
        ingress(3003, "TCP", "tcp", "unix:///run/app"),
    ];
    let (ports, warnings) = of(listeners, &proxy(InterceptionMode::Redirect));
    assert_eq!(
        ports,
        [
            format!("socket /run/in -> 3012 inbound|0|http|{HOST}"),
            format!("captured 3003 -> /run/app inbound|3003|tcp|{HOST}")
        ]
    );
    assert_eq!(warnings, []);
}

#[test]
fn r_sc_6_what_the_proxy_cannot_open_is_named_and_left_out() {
    let (redirect, none) = (proxy(InterceptionMode::Redirect), proxy(InterceptionMode::None));
    let mut root = proxy(InterceptionMode::None);
    root.metadata.insert("SIDECAR_UID".into(), "0".into());
    let low = || ingress(80, "HTTP", "http", ":3012");
    let named = |number, bind| at(bind, bound(ingress(number, "HTTP", "http", ":3012")));
    for (proxy, listener, is_served) in [
        (&redirect, low(), true),
        (&redirect, bound(low()), false),
        (&none, low(), false),
        (&root, low(), true),
        // The proxy's own.
        (&none, named(15001, ""), false),
        (&redirect, named(15006, ""), false),
        (&none, named(15090, ""), false),
        (&redirect, named(15000, ""), false),
        (&none, named(15020, ""), false),
        (&none, named(15002, "127.0.0.1"), false),
        // Where the workload would find the frontend: what a Sidecar asks for goes first.
        (&none, named(5000, "127.0.0.1"), true),
        (&redirect, named(5000, "127.0.0.1"), true),
        (&none, named(5000, ""), true),
    ] {
        let about = format!("{listener:?} {:?}", proxy.interception);
        let (ports, warnings) = of(vec![listener], proxy);
        assert_eq!(ports.len(), usize::from(is_served), "{about}");
        let expected: &[WarningKind] = if is_served {
            &[]
        } else {
            &[WarningKind::InboundListener]
        };
        assert_eq!(warnings, expected, "{about}");
    }
}
