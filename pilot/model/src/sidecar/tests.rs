//! What Sidecars say.

use mesh_config::Kind;

use super::*;

fn sidecar(spec: v1alpha3::Sidecar) -> Sidecar {
    let meta = Meta {
        key: ConfigKey::new(Kind::Sidecar, "weather", "default"),
        labels: [].into(),
        annotations: [].into(),
        created: Timestamp::default(),
        version: String::new(),
    };
    Sidecar::new(&meta, spec)
}

fn port(number: u32, protocol: &str) -> Option<PortSpec> {
    Some(PortSpec {
        number,
        protocol: protocol.to_owned(),
        name: "a".to_owned(),
    })
}

fn egress(port: Option<PortSpec>, bind: &str, hosts: &[&str]) -> IstioEgressListener {
    IstioEgressListener {
        port,
        bind: bind.to_owned(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        ..IstioEgressListener::default()
    }
}

fn ingress(port: Option<PortSpec>, bind: &str, endpoint: &str) -> IstioIngressListener {
    IstioIngressListener {
        port,
        bind: bind.to_owned(),
        default_endpoint: endpoint.to_owned(),
        ..IstioIngressListener::default()
    }
}

#[test]
fn a_14_the_listener_without_port_may_stand_anywhere_and_goes_last() {
    let read = sidecar(v1alpha3::Sidecar {
        egress: vec![
            egress(None, "", &["istio-system/*"]),
            egress(port(3002, "HTTP"), "", &["weather/*"]),
            egress(port(0, "http"), "unix:///run/a", &["~/*"]),
        ],
        ..Default::default()
    });
    let ports: Vec<_> = read
        .egress
        .unwrap()
        .into_iter()
        .map(|listener| listener.port.map(|port| port.number))
        .collect();
    assert_eq!(ports, [Some(3002), Some(0), None]);
    assert!(read.problems.is_empty());
}

#[test]
fn a_16_no_egress_is_not_an_egress_of_which_nothing_is_left() {
    assert_eq!(sidecar(v1alpha3::Sidecar::default()).egress, None);
    let faulty = sidecar(v1alpha3::Sidecar {
        egress: vec![egress(port(70_000, "HTTP"), "", &["*/*"])],
        ..Default::default()
    });
    assert_eq!(faulty.egress, Some(vec![]));
}

#[test]
fn r_n_13_what_no_validation_has_seen_is_left_out_and_named() {
    let read = sidecar(v1alpha3::Sidecar {
        egress: vec![
            egress(port(70_000, "HTTP"), "", &["*/*"]),
            egress(port(80, "SCTP"), "", &["*/*"]),
            egress(port(80, "UDP"), "", &["*/*"]),
            egress(port(0, "HTTP"), "", &["*/*"]),
            egress(port(80, "HTTP"), "unix:///run/a", &["*/*"]),
            egress(port(80, "HTTP"), "nowhere", &["*/*"]),
            egress(port(0, "HTTP"), "unix://run", &["*/*"]),
            egress(None, "unix:///run/a", &["*/*"]),
            egress(port(80, "HTTP"), "", &["weather", "/x", "x/", "*/a"]),
            egress(port(80, "HTTP"), "127.0.0.1", &["*/*"]),
            egress(None, "", &["*/*"]),
            egress(None, "", &["*/*"]),
        ],
        ingress: vec![
            ingress(None, "", "127.0.0.1:1"),
            ingress(port(80, "HTTP"), "", "10.0.0.1:1"),
            ingress(port(80, "HTTP"), "", "127.0.0.1:0"),
            ingress(port(80, "HTTP"), "", "1"),
            ingress(port(80, "HTTP"), "", ":8080"),
            ingress(port(80, "TCP"), "", "unix:///run/app"),
        ],
        ..Default::default()
    });
    assert_eq!(read.egress.map(|listeners| listeners.len()), Some(2));
    let endpoints: Vec<_> = read
        .ingress
        .into_iter()
        .flatten()
        .map(|listener| listener.endpoint)
        .collect();
    assert_eq!(endpoints, [LocalEndpoint::Port(8080)]);
    assert_eq!(
        read.problems,
        [
            "egress[0].port.number: 70000 is not a port number, the listener is left out",
            "egress[1].port.protocol: unsupported protocol \"SCTP\", the listener is left out",
            "egress[2].port.protocol: UDP does not pass the proxy, the listener is left out",
            "egress[3].bind: port 0 needs the path of a Unix socket, the listener is left out",
            "egress[4].port.number: a Unix socket has no port, the listener is left out",
            "egress[5].bind: \"nowhere\" is neither an address nor unix://PATH, the listener is left out",
            "egress[6].bind: \"run\" is not the path of a Unix socket, the listener is left out",
            "egress[7].bind: a Unix socket needs a port 0, the listener is left out",
            "egress[8].hosts[0]: \"weather\" is not of the form namespace/name, it is left out",
            "egress[8].hosts[1]: \"/x\" is not of the form namespace/name, it is left out",
            "egress[8].hosts[2]: \"x/\" is not of the form namespace/name, it is left out",
            "egress[9].port: another listener has 80, the listener is left out",
            "egress[11].port: only one listener may have none, the listener is left out",
            "ingress[0].port: missing, the listener is left out",
            "ingress[1].defaultEndpoint: \"10.0.0.1:1\" is neither 127.0.0.1:PORT nor unix://PATH, the listener is left out",
            "ingress[2].defaultEndpoint: \"127.0.0.1:0\" is neither 127.0.0.1:PORT nor unix://PATH, the listener is left out",
            "ingress[3].defaultEndpoint: \"1\" is neither 127.0.0.1:PORT nor unix://PATH, the listener is left out",
            "ingress[5].port: another listener has 80, the listener is left out",
        ]
    );
}

#[test]
fn r_sc_1_hosts_are_imported_by_namespace_and_name() {
    let imports = |hosts: &[&str]| {
        let hosts: Vec<_> = hosts.iter().filter_map(|host| read_host(host).unwrap()).collect();
        let mut imports = Imports::default();
        ImportedHosts(hosts).resolve(&"weather".into(), &mut imports);
        imports
    };
    let forecast = Host::from("forecast.weather.svc.cluster.local");
    for (hosts, namespace, expected) in [
        (&["weather/*"][..], "weather", true),
        (&["weather/*"], "news", false),
        (&["./*"], "weather", true),
        (&["./*"], "news", false),
        (&["*/*"], "news", true),
        (&["~/*"], "weather", false),
        (&["*/*.weather.svc.cluster.local"], "news", true),
        (&["weather/*.svc.cluster.local"], "weather", true),
        (&["weather/forecast.weather.svc.cluster.local"], "weather", true),
        (&["weather/frontend.weather.svc.cluster.local"], "weather", false),
        (
            &["news/*", "weather/forecast.weather.svc.cluster.local"],
            "weather",
            true,
        ),
    ] {
        assert_eq!(
            imports(hosts).contains(namespace, &forecast),
            expected,
            "{hosts:?} {namespace}"
        );
    }
    // A service with a wildcard host is one of the hosts that it covers.
    assert!(imports(&["*/en.example.com"]).contains("any", &Host::from("*.example.com")));
    assert_eq!(imports(&["a/*", "./*"]).namespaces().unwrap().count(), 2);
    assert!(imports(&["a/*", "*/x.com"]).namespaces().is_none());
}
