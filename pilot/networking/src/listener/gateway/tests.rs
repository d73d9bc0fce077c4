use mesh_api::istio::networking::v1alpha3::server::TlsOptions;
use mesh_api::istio::networking::v1alpha3::server::tls_options::TlSmode;
use mesh_api::istio::networking::v1alpha3::{Gateway, Port, Server};
use mesh_config::Labels;
use pilot_model::{InterceptionMode, Proxy};

use super::super::tests::{build, chains, names, pairs};
use super::*;
use crate::fixture::{Mesh, proxy, workload};

fn server(port: &str, protocol: &str, number: u32) -> Server {
    Server {
        port: Some(Port {
            number,
            protocol: protocol.to_owned(),
            name: port.to_owned(),
        }),
        hosts: vec!["*".to_owned()],
        ..Server::default()
    }
}

/// A server for a host on port 443.
fn tls_server(port: &str, protocol: &str, host: &str, mode: TlSmode) -> Server {
    Server {
        hosts: vec![host.to_owned()],
        tls: Some(TlsOptions {
            mode: mode.into(),
            server_certificate: "/etc/certs/tls.crt".to_owned(),
            private_key: "/etc/certs/tls.key".to_owned(),
            ca_certificates: "/etc/certs/ca.crt".to_owned(),
            ..TlsOptions::default()
        }),
        ..server(port, protocol, 443)
    }
}

fn https(port: &str, host: &str) -> Server {
    tls_server(port, "HTTPS", host, TlSmode::Simple)
}

fn router(metadata: &[(&str, &str)]) -> Proxy {
    let metadata = metadata
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()));
    Proxy {
        metadata: metadata.collect(),
        ..proxy(InterceptionMode::Redirect)
    }
}

fn gateway_listeners(servers: Vec<Server>) -> Plan<ListenerKey> {
    listeners_of(servers, &[])
}

fn listeners_of(servers: Vec<Server>, metadata: &[(&str, &str)]) -> Plan<ListenerKey> {
    let workload = Workload {
        labels: [("istio", "ingressgateway"), ("app", "x")].into_iter().collect(),
        ..workload(&[("istio-ingressgateway", "http2", 80, 8080)])
    };
    let selector = [("istio".to_owned(), "ingressgateway".to_owned())].into();
    let mesh = Mesh::new().gateway("istio-system", "weather", Gateway { servers, selector });
    gateway(
        &mesh.view("istio-system"),
        &router(metadata),
        &workload,
        &Features::default(),
    )
}

#[test]
fn section_7_4_http_servers_of_a_port_share_a_listener_on_the_target_port() {
    let plan = gateway_listeners(vec![
        server("a", "HTTP", 80),
        server("b", "HTTP2", 80),
        server("c", "http", 8888),
    ]);
    assert_eq!(names(&plan), ["0.0.0.0_8080", "0.0.0.0_8888"]);
    assert_eq!(plan.warnings, []);
    let listener = build(&plan, "0.0.0.0_8080");
    assert_eq!(listener.bind_to_port, None);
    assert_eq!(chains(&listener), pairs(&[("", "routes http.80")]));
}

#[test]
fn r_g_0_without_a_gateway_a_router_listens_on_nothing() {
    let view = Mesh::new().view("istio-system");
    let plan = gateway(&view, &router(&[]), &Workload::default(), &Features::default());
    assert!(plan.keys.is_empty() && plan.warnings.is_empty());
    let workload = Workload {
        labels: Labels::default(),
        ..Workload::default()
    };
    assert!(
        gateway(&view, &router(&[]), &workload, &Features::default())
            .keys
            .is_empty()
    );
}

#[test]
fn p14_servers_that_end_tls_are_told_apart_by_server_name() {
    let plan = gateway_listeners(vec![
        https("a", "a.weather.com"),
        https("b", "weather/*.B.com"),
        https("c", "*"),
    ]);
    assert_eq!(plan.warnings, []);
    let listener = build(&plan, "0.0.0.0_443");
    let found: Vec<(Vec<String>, bool)> = listener
        .filter_chains
        .iter()
        .map(|chain| {
            let names = chain
                .filter_chain_match
                .as_ref()
                .map(|matches| matches.server_names.clone());
            (names.unwrap_or_default(), chain.transport_socket.is_some())
        })
        .collect();
    let names = |name: &str| vec![name.to_owned()];
    assert_eq!(
        found,
        [
            (names("a.weather.com"), true),
            (names("*.b.com"), true),
            (vec![], true)
        ]
    );
    assert_eq!(
        chains(&listener)
            .iter()
            .map(|(_, to)| to.as_str())
            .collect::<Vec<_>>(),
        [
            "routes https.443.a.weather.istio-system",
            "routes https.443.b.weather.istio-system",
            "routes https.443.c.weather.istio-system"
        ]
    );
    assert_eq!(
        listener.listener_filters[0].name,
        "envoy.filters.listener.tls_inspector"
    );
}

#[test]
fn p14_a_credential_works_where_the_gateway_asks_for_secrets() {
    let server = || Server {
        tls: Some(TlsOptions {
            mode: TlSmode::Simple.into(),
            credential_name: "weather-credential".to_owned(),
            ..TlsOptions::default()
        }),
        ..https("https", "*")
    };
    assert_eq!(names(&gateway_listeners(vec![server()])), [""; 0]);
    assert_eq!(
        names(&listeners_of(vec![server()], &[("USER_SDS", "false")])),
        [""; 0]
    );
    assert_eq!(
        names(&listeners_of(vec![server()], &[("USER_SDS", "true")])),
        ["0.0.0.0_443"]
    );
}

#[test]
fn p14_servers_that_cannot_be_served_are_named_and_left_out() {
    use WarningKind::{GatewayServer, Unsupported};
    let bound = |server: Server, bind: &str| Server {
        bind: bind.to_owned(),
        ..server
    };
    let without_tls = |server: Server| Server { tls: None, ..server };
    let hosts = |server: Server, hosts: &[&str]| Server {
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        ..server
    };
    let none: Vec<&str> = vec![];
    for (servers, listeners, kind) in [
        (vec![server("x", "SCTP", 80)], none.clone(), Unsupported),
        (vec![server("x", "UDP", 80)], none.clone(), Unsupported),
        (vec![server("x", "HTTP", 0)], none.clone(), Unsupported),
        (vec![server("x", "HTTP", 70_000)], none.clone(), Unsupported),
        (vec![Server::default()], none.clone(), Unsupported),
        (
            vec![bound(server("x", "HTTP", 80), "unix:///x")],
            none.clone(),
            Unsupported,
        ),
        (
            vec![tls_server("x", "HTTP", "*", TlSmode::Simple)],
            none.clone(),
            Unsupported,
        ),
        (vec![without_tls(https("x", "*"))], none.clone(), Unsupported),
        (vec![hosts(https("x", "*"), &[])], none.clone(), Unsupported),
        (
            vec![server("a", "HTTP", 80), server("b", "HTTP", 8080)],
            vec!["0.0.0.0_8080"],
            GatewayServer,
        ),
        (
            vec![
                bound(server("a", "HTTP", 81), "10.0.0.1"),
                server("b", "HTTP", 81),
            ],
            vec!["10.0.0.1_81"],
            GatewayServer,
        ),
        // Those of the proxy itself: its statistics, its status, its administration.
        (vec![server("a", "HTTP", 15090)], none.clone(), GatewayServer),
        (vec![server("a", "TCP", 15020)], none.clone(), GatewayServer),
        (vec![server("a", "HTTP", 15000)], none.clone(), GatewayServer),
        (
            vec![server("a", "HTTP", 443), https("b", "*")],
            vec!["0.0.0.0_443"],
            GatewayServer,
        ),
        (
            vec![https("a", "*"), server("b", "HTTP", 443)],
            vec!["0.0.0.0_443"],
            GatewayServer,
        ),
        (
            vec![https("a", "*"), server("b", "TCP", 443)],
            vec!["0.0.0.0_443"],
            GatewayServer,
        ),
        (
            vec![https("a", "*"), https("b", "ns/*")],
            vec!["0.0.0.0_443"],
            GatewayServer,
        ),
        (
            vec![
                hosts(https("a", ""), &["a.com", "b.com"]),
                hosts(https("b", ""), &["c.com", "B.com"]),
            ],
            vec!["0.0.0.0_443"],
            GatewayServer,
        ),
        (
            vec![https("a", "a.com"), https("a", "b.com")],
            vec!["0.0.0.0_443"],
            GatewayServer,
        ),
    ] {
        let plan = gateway_listeners(servers.clone());
        let kinds: Vec<_> = plan.warnings.iter().map(|warning| warning.kind).collect();
        assert_eq!(
            (names(&plan), kinds),
            (listeners, vec![kind]),
            "{servers:?}: {:?}",
            plan.warnings
        );
    }
}

/// what nobody checks yet is not let in at the edge either; certificates of the mesh are not asked for there.
#[test]
fn p16_1_a_gateway_refuses_requests_whose_tokens_nobody_checks() {
    use mesh_api::istio::authentication::v1alpha1::{
        Jwt, OriginAuthenticationMethod, PeerAuthenticationMethod, Policy,
    };

    let of_origins = Policy {
        origins: vec![OriginAuthenticationMethod {
            jwt: Some(Jwt::default()),
        }],
        ..Policy::default()
    };
    let of_peers = Policy {
        peers: vec![PeerAuthenticationMethod::default()],
        ..Policy::default()
    };
    for (policy, expected) in [(of_origins, "inline refused"), (of_peers, "routes http.80")] {
        let published = Mesh::new()
            .gateway(
                "default",
                "edge",
                Gateway {
                    servers: vec![server("http", "HTTP", 80)],
                    ..Gateway::default()
                },
            )
            .mesh_policy(policy)
            .publish();
        let workload = workload(&[("ingress", "http", 80, 8080)]);
        let plan = gateway(
            &published.snapshot.view("default"),
            &router(&[]),
            &workload,
            &Features::default(),
        );
        let found = chains(&build(&plan, names(&plan)[0]));
        assert_eq!(found, pairs(&[("", expected)]));
        let tls = build(&plan, names(&plan)[0]).filter_chains[0]
            .transport_socket
            .clone();
        assert_eq!(tls, None);
        assert_eq!(plan.warnings.len(), usize::from(expected.starts_with("inline")));
    }
}
