//! Gateways and L4 rules that no validation has seen.

use mesh_api::istio::networking::v1alpha3::port_selector;
use mesh_api::istio::networking::v1alpha3::server::TlsOptions;
use mesh_api::istio::networking::v1alpha3::{
    Destination, Gateway, HttpRedirect, HttpRoute, L4MatchAttributes, Port, PortSelector, RouteDestination,
    Server, TcpRoute, TlsMatchAttributes, TlsRoute, VirtualService,
};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

/// How many Gateways the rules know.
pub(crate) const GATEWAYS: usize = 40;

/// Any content that decodes.
pub(crate) fn gateway() -> impl Strategy<Value = Gateway> {
    vec(server(), 0..4).prop_map(|servers| Gateway {
        servers,
        ..Gateway::default()
    })
}

/// Rules for connections, bound to some of the Gateways.
pub(crate) fn l4_rules() -> impl Strategy<Value = VirtualService> {
    let gateways = (0..GATEWAYS).prop_map(|index| format!("weather/gateway-{index}"));
    let http = HttpRoute {
        redirect: Some(HttpRedirect {
            uri: "/there".to_owned(),
            ..HttpRedirect::default()
        }),
        ..HttpRoute::default()
    };
    (
        vec(host(), 1..4),
        vec(gateways, 1..8),
        vec(tls_route(), 0..3),
        vec(tcp_route(), 0..3),
        any::<bool>(),
    )
        .prop_map(move |(hosts, gateways, tls, tcp, has_http)| VirtualService {
            hosts,
            gateways,
            tls,
            tcp,
            http: has_http.then(|| http.clone()).into_iter().collect(),
            ..VirtualService::default()
        })
}

fn server() -> impl Strategy<Value = Server> {
    let protocols = select(vec![
        "HTTP", "HTTPS", "HTTPS", "TLS", "TCP", "MONGO", "GRPC", "UDP", "x",
    ]);
    let binds = select(vec!["", "", "", "", "127.0.0.1", "::1", "unix:///tmp/x", "x"]);
    (
        weighted(0.97, (number(), protocols, "[a-c]{0,2}")),
        binds,
        vec(host(), 0..4),
        weighted(0.8, tls()),
    )
        .prop_map(|(port, bind, hosts, tls)| Server {
            port: port.map(|(number, protocol, name)| Port {
                number,
                protocol: protocol.to_owned(),
                name,
            }),
            bind: bind.to_owned(),
            hosts,
            tls,
            ..Server::default()
        })
}

fn number() -> impl Strategy<Value = u32> {
    // Few, so that servers meet.
    select(vec![80, 443, 443, 443, 8443, 31400, 15090, 0, 70_000])
}

fn tls() -> impl Strategy<Value = TlsOptions> {
    let text = |texts: &'static [&'static str]| select(texts).prop_map(str::to_owned);
    let files = (
        text(&["", "/etc/certs/tls.crt", "/etc/certs/tls.crt"]),
        text(&["", "/etc/certs/tls.key", "/etc/certs/tls.key"]),
        text(&["", "/etc/certs/ca.crt"]),
        text(&["", "", "credential", "a b"]),
    );
    let names = text(&["client.example.com", "spiffe://x/y", "10.0.0.1", "a@b.c", "", "ü"]);
    let suites = text(&[
        "ECDHE-RSA-AES256-GCM-SHA384",
        "AES128-SHA",
        "TLS_AES_128_GCM_SHA256",
        "RC4",
        "",
    ]);
    (
        any::<bool>(),
        -1..6_i32,
        files,
        vec(names, 0..3),
        (-1..7_i32, -1..7_i32),
        vec(suites, 0..3),
    )
        .prop_map(|(https_redirect, mode, files, names, versions, suites)| {
            let (server_certificate, private_key, ca_certificates, credential_name) = files;
            TlsOptions {
                https_redirect,
                mode,
                server_certificate,
                private_key,
                ca_certificates,
                credential_name,
                subject_alt_names: names,
                min_protocol_version: versions.0,
                max_protocol_version: versions.1,
                cipher_suites: suites,
            }
        })
}

fn host() -> impl Strategy<Value = String> {
    let known = select(vec![
        "*",
        "*",
        "a.example.com",
        "A.Example.com",
        "b.example.com",
        "*.example.com",
        "*.com",
        "*-x.example.com",
        "other/*",
        "./a.example.com",
        "*/b.example.com",
        "10.0.0.1",
        "fd00::1",
        "",
        "/",
        "a b",
        "ü.com",
        "**",
    ]);
    prop_oneof![
        4 => known.prop_map(str::to_owned),
        1 => "[a-d]\\.example\\.com",
    ]
}

fn destination() -> impl Strategy<Value = RouteDestination> {
    let hosts = select(vec!["web", "api", "nobody", ""]);
    (hosts, weighted(0.5, 0..70_000_u32), -1..3_i32).prop_map(|(host, port, weight)| RouteDestination {
        destination: Some(Destination {
            host: host.to_owned(),
            port: port.map(|number| PortSelector {
                port: Some(port_selector::Port::Number(number)),
            }),
            ..Destination::default()
        }),
        weight,
    })
}

fn subnets() -> impl Strategy<Value = Vec<String>> {
    let subnet = select(vec!["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "fd00::/8", "x"]);
    prop_oneof![
        3 => Just(Vec::new()),
        1 => vec(subnet.prop_map(str::to_owned), 1..3),
    ]
}

fn tls_route() -> impl Strategy<Value = TlsRoute> {
    let matches =
        (vec(host(), 0..4), subnets()).prop_map(|(sni_hosts, destination_subnets)| TlsMatchAttributes {
            sni_hosts,
            destination_subnets,
            ..TlsMatchAttributes::default()
        });
    (vec(matches, 0..3), vec(destination(), 0..3)).prop_map(|(r#match, route)| TlsRoute { r#match, route })
}

fn tcp_route() -> impl Strategy<Value = TcpRoute> {
    let matches =
        (subnets(), weighted(0.3, number())).prop_map(|(destination_subnets, port)| L4MatchAttributes {
            destination_subnets,
            port: port.unwrap_or_default(),
            ..L4MatchAttributes::default()
        });
    (vec(matches, 0..3), vec(destination(), 0..3)).prop_map(|(r#match, route)| TcpRoute { r#match, route })
}
