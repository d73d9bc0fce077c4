mod authentication;

use mesh_api::envoy::config::core::v3::{TrafficDirection, address, socket_address};
use mesh_api::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;
use mesh_api::envoy::config::listener::v3::{FilterChain, filter};
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use mesh_api::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use mesh_api::istio::mesh::v1alpha1::mesh_config::OutboundTrafficPolicy;
use mesh_api::istio::mesh::v1alpha1::mesh_config::outbound_traffic_policy::Mode;
use pilot_model::{Resolution, ScopedView, Service, WarningKind, Workload};

use super::*;
use crate::Plan;
use crate::fixture::{Mesh, created, proxy, service, workload};

pub(super) fn names(plan: &Plan<ListenerKey>) -> Vec<&str> {
    plan.keys.iter().map(Listeners::name).collect()
}

pub(super) fn build(plan: &Plan<ListenerKey>, name: &str) -> Listener {
    let key = plan.keys.iter().find(|key| Listeners::name(key) == name);
    Listeners::build(key.unwrap_or_else(|| panic!("no listener {name} among {:?}", names(plan)))).message
}

/// What a chain does, in a word: the route configuration or the cluster, and `local` for what stays in the pod.
fn leads_to(chain: &FilterChain) -> String {
    let any = |position: usize| match &chain.filters[position].config_type {
        Some(filter::ConfigType::TypedConfig(any)) => any,
        _ => panic!("no config"),
    };
    if let Ok(manager) = any(0).unpack::<HttpConnectionManager>() {
        return match manager.route_specifier {
            Some(RouteSpecifier::Rds(rds)) => format!("routes {}", rds.route_config_name),
            Some(RouteSpecifier::RouteConfig(routes)) => format!("inline {}", routes.virtual_hosts[0].name),
            _ => panic!("no routes"),
        };
    }
    let proxy: TcpProxy = any(chain.filters.len() - 1).unpack().expect("a tcp proxy");
    let Some(tcp_proxy::ClusterSpecifier::Cluster(cluster)) = proxy.cluster_specifier else {
        panic!("no cluster")
    };
    if chain.filters.len() == 2 {
        format!("local {cluster}")
    } else {
        cluster
    }
}

/// What a listener does: condition of each chain and where it leads.
pub(super) fn chains(listener: &Listener) -> Vec<(String, String)> {
    let condition = |chain: &FilterChain| {
        let Some(matches) = &chain.filter_chain_match else {
            return String::new();
        };
        let mut parts = Vec::new();
        parts.extend(matches.destination_port.map(|port| format!(":{port}")));
        parts.extend(matches.prefix_ranges.iter().map(|range| {
            format!(
                "{}/{}",
                range.address_prefix,
                range.prefix_len.unwrap_or_default()
            )
        }));
        parts.extend(matches.server_names.iter().cloned());
        parts.extend(Some(matches.transport_protocol.clone()).filter(|name| !name.is_empty()));
        parts.extend(
            matches
                .application_protocols
                .iter()
                .map(|name| format!("alpn {name}")),
        );
        if matches.source_type() == ConnectionSourceType::SameIpOrLoopback {
            parts.push("self".to_owned());
        }
        parts.join(" ")
    };
    listener
        .filter_chains
        .iter()
        .map(|chain| (condition(chain), leads_to(chain)))
        .collect()
}

pub(super) fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(condition, target)| ((*condition).to_owned(), (*target).to_owned()))
        .collect()
}

fn bound_port(listener: &Listener) -> (String, u32) {
    let Some(address::Address::SocketAddress(socket)) =
        listener.address.as_ref().and_then(|it| it.address.as_ref())
    else {
        panic!("no address");
    };
    let Some(socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier else {
        panic!("no port")
    };
    (socket.address.clone(), port)
}

fn outbound(view: &ScopedView, interception: InterceptionMode) -> Plan<ListenerKey> {
    let scope = OutboundScope::new(
        view,
        &proxy(interception),
        &Workload::default(),
        &Features::default(),
    );
    super::outbound(view, &scope)
}

fn outbound_of(services: impl IntoIterator<Item = Service>) -> Plan<ListenerKey> {
    let mesh = services.into_iter().fold(Mesh::new(), Mesh::service);
    outbound(&mesh.view("default"), InterceptionMode::Redirect)
}

#[test]
fn p12_2_http_shares_a_listener_for_each_port_and_tcp_has_one_for_each_address() {
    let plan = outbound_of([
        service("forecast", "10.96.0.1", &[("http", 80), ("tcp", 90), ("udp", 53)]),
        service("frontend", "10.96.0.2", &[("http", 80), ("https", 443)]),
        service("cassandra", "", &[("tcp", 9042)]),
    ]);
    assert_eq!(
        names(&plan),
        [
            "0.0.0.0_80",
            "0.0.0.0_9042",
            "10.96.0.1_53",
            "10.96.0.1_90",
            "10.96.0.2_443",
            "virtualOutbound"
        ]
    );
    assert_eq!(plan.warnings, []);

    let http = build(&plan, "0.0.0.0_80");
    assert_eq!(http.bind_to_port, Some(false));
    assert_eq!(http.traffic_direction(), TrafficDirection::Outbound);
    assert_eq!(bound_port(&http), ("0.0.0.0".to_owned(), 80));
    assert_eq!(
        chains(&http),
        pairs(&[("", "routes 80"), ("self", "local InboundPassthroughCluster")])
    );

    let tcp = build(&plan, "10.96.0.2_443");
    assert_eq!(
        chains(&tcp),
        pairs(&[("", "outbound|443||frontend.default.svc.cluster.local")])
    );

    let headless = build(&plan, "0.0.0.0_9042");
    assert_eq!(
        chains(&headless),
        pairs(&[
            ("", "outbound|9042||cassandra.default.svc.cluster.local"),
            ("self", "local InboundPassthroughCluster"),
        ])
    );
}

#[test]
fn p12_3_the_oldest_service_decides_what_a_listener_speaks() {
    use WarningKind::{HttpOverTcp, TcpOverHttp, TcpOverTcp};
    let tcp = |seconds, name: &str| created(seconds, service(name, "", &[("tcp", 80)]));
    let http = |seconds, name: &str| created(seconds, service(name, "10.96.0.1", &[("http", 80)]));
    for (first, second, expected) in [
        (http(1, "a"), http(2, "b"), None),
        (http(1, "a"), tcp(2, "b"), Some(TcpOverHttp)),
        (tcp(1, "a"), http(2, "b"), Some(HttpOverTcp)),
        (tcp(1, "a"), tcp(2, "b"), Some(TcpOverTcp)),
    ] {
        for services in [[first.clone(), second.clone()], [second, first]] {
            let plan = outbound_of(services);
            assert_eq!(names(&plan), ["0.0.0.0_80", "virtualOutbound"]);
            let found: Vec<_> = plan
                .warnings
                .iter()
                .map(|warning| (warning.kind, &*warning.object.name))
                .collect();
            assert_eq!(
                found,
                expected.map(|kind| (kind, "b")).into_iter().collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn section_8_1_ranges_and_server_names_share_a_port() {
    let external = |name: &str, address: &str, port: &str| {
        let mut service = service(name, address, &[(port, 443)]);
        service.id.host = format!("{name}.example.com").into();
        service.resolution = Resolution::Passthrough;
        service
    };
    let mut wildcard = external("x", "", "tls");
    wildcard.id.host = "*.example.org".into();
    let mut partial = external("y", "", "tls");
    partial.id.host = "*-y.example.org".into();
    let mut second_address = external("a", "10.9.0.0/16", "https");
    second_address.id.index = 1;
    let plan = outbound_of([
        created(1, external("a", "", "https")),
        created(1, second_address),
        created(2, external("b", "10.0.0.0/8", "tcp")),
        created(3, wildcard),
        created(5, partial),
    ]);
    let listener = build(&plan, "0.0.0.0_443");
    assert_eq!(
        chains(&listener),
        pairs(&[
            ("10.0.0.0/8", "outbound|443||b.example.com"),
            ("*.example.org", "outbound|443||*.example.org"),
            ("a.example.com", "outbound|443||a.example.com"),
            ("", "PassthroughCluster"),
            ("10.0.0.0/8 self", "local InboundPassthroughCluster"),
            ("*.example.org self", "local InboundPassthroughCluster"),
            ("a.example.com self", "local InboundPassthroughCluster"),
            ("self", "local InboundPassthroughCluster"),
        ])
    );
    assert_eq!(
        listener.listener_filters[0].name,
        "envoy.filters.listener.tls_inspector"
    );
    assert!(listener.continue_on_listener_filters_timeout);
    let kinds: Vec<_> = plan.warnings.iter().map(|warning| warning.kind).collect();
    assert_eq!(kinds, [WarningKind::Unsupported]);
}

#[test]
fn ports_of_the_proxy_itself_are_not_listened_on_twice() {
    let plan = outbound_of([service(
        "a",
        "10.96.0.1",
        &[("http", 15001), ("http-b", 15006), ("http-c", 15090)],
    )]);
    assert_eq!(names(&plan), ["virtualOutbound"]);
    assert_eq!(plan.warnings.len(), 3);
    // A TCP service on its own address does no harm.
    assert_eq!(
        outbound_of([service("a", "10.96.0.1", &[("tcp", 15001)])]).warnings,
        []
    );
}

#[test]
fn ipt_32_captured_connections_to_unknown_destinations_follow_the_policy() {
    for (mode, expected) in [
        (Mode::AllowAny, "PassthroughCluster"),
        (Mode::RegistryOnly, "BlackHoleCluster"),
    ] {
        let config = MeshConfig {
            outbound_traffic_policy: Some(OutboundTrafficPolicy { mode: mode.into() }),
            ..MeshConfig::default()
        };
        let view = Mesh::with(config).view("default");
        let listener = build(&outbound(&view, InterceptionMode::Redirect), "virtualOutbound");
        assert_eq!(bound_port(&listener), ("0.0.0.0".to_owned(), 15001));
        assert_eq!(
            (listener.use_original_dst, listener.transparent),
            (Some(true), None)
        );
        assert_eq!(
            chains(&listener),
            pairs(&[
                ("", expected),
                ("self", "local InboundPassthroughCluster"),
                (":15001", "BlackHoleCluster")
            ])
        );
        let tproxy = build(&outbound(&view, InterceptionMode::Tproxy), "virtualOutbound");
        assert_eq!(tproxy.transparent, Some(true));
    }
}

#[test]
fn p12_2_without_capture_applications_talk_to_the_proxy_on_the_loopback_address() {
    let mesh = Mesh::new()
        .service(service(
            "forecast",
            "10.96.0.1",
            &[("http", 8080), ("http-low", 80)],
        ))
        .service(service("db", "10.96.0.2", &[("tcp", 3306)]));
    let view = mesh.view("default");
    let plan = outbound(&view, InterceptionMode::None);
    assert_eq!(
        names(&plan),
        ["127.0.0.1_15002", "127.0.0.1_3306", "127.0.0.1_8080"]
    );
    for name in names(&plan) {
        let listener = build(&plan, name);
        assert_eq!(
            (listener.bind_to_port, listener.filter_chains.len()),
            (None, 1),
            "{name}"
        );
    }
    assert_eq!(
        chains(&build(&plan, "127.0.0.1_15002")),
        pairs(&[("", "routes http_proxy")])
    );

    let workload = workload(&[("forecast", "http", 8080, 3002)]);
    assert!(
        inbound(
            &view,
            &proxy(InterceptionMode::None),
            &workload,
            &Features::default()
        )
        .keys
        .is_empty()
    );
}

/// Envoy rejects a listener whose port the application has.
#[test]
fn p12_4_without_capture_no_port_of_the_application_is_asked_for() {
    let mesh = Mesh::new()
        .service(service(
            "forecast",
            "10.96.0.1",
            &[("http", 8080), ("http-b", 3002)],
        ))
        .service(service("frontend", "10.96.0.2", &[("http", 3002), ("tcp", 3003)]))
        .service(service("db", "10.96.0.3", &[("tcp", 3306), ("tcp-b", 9100)]));
    let view = mesh.view("default");
    let workload = Workload {
        management_ports: [9100].into(),
        container_ports: [3003].into(),
        ..workload(&[("forecast", "http", 8080, 3002)])
    };
    let plan = |interception| {
        let scope = OutboundScope::new(&view, &proxy(interception), &workload, &Features::default());
        super::outbound(&view, &scope)
    };
    let none = plan(InterceptionMode::None);
    assert_eq!(
        names(&none),
        ["127.0.0.1_15002", "127.0.0.1_3306", "127.0.0.1_8080"]
    );
    let about: Vec<_> = none
        .warnings
        .iter()
        .map(|warning| &*warning.object.name)
        .collect();
    assert_eq!(about, ["db", "forecast", "frontend", "frontend"]);
    assert!(none.warnings[0].reason.contains("no listener for port 9100"));
    assert_eq!(plan(InterceptionMode::Redirect).warnings, []);
}

#[test]
fn an_http_proxy_port_of_the_mesh_is_offered_beside_capture() {
    let config = MeshConfig {
        proxy_http_port: 15099,
        ..MeshConfig::default()
    };
    let plan = outbound(&Mesh::with(config).view("default"), InterceptionMode::Redirect);
    assert_eq!(names(&plan), ["127.0.0.1_15099", "virtualOutbound"]);
}

#[test]
fn p12_2_every_port_of_the_workload_has_a_listener_and_a_chain_in_the_capturing_one() {
    let mesh = Mesh::new().service(service("forecast", "10.96.0.1", &[("http", 80), ("tcp", 90)]));
    let workload = workload(&[("forecast", "http", 80, 3002), ("forecast", "tcp", 90, 9000)]);
    let plan = inbound(
        &mesh.view("default"),
        &proxy(InterceptionMode::Redirect),
        &workload,
        &Features::default(),
    );
    assert_eq!(names(&plan), ["10.1.0.7_3002", "10.1.0.7_9000", "virtualInbound"]);
    assert_eq!(plan.warnings, []);

    let http = build(&plan, "10.1.0.7_3002");
    assert_eq!(http.bind_to_port, Some(false));
    assert_eq!(http.traffic_direction(), TrafficDirection::Inbound);
    assert_eq!(chains(&http), pairs(&[("", "inline inbound|http|80")]));
    let tcp = build(&plan, "10.1.0.7_9000");
    assert_eq!(
        chains(&tcp),
        pairs(&[("", "inbound|90|tcp|forecast.default.svc.cluster.local")])
    );

    let capturing = build(&plan, "virtualInbound");
    assert_eq!(bound_port(&capturing), ("0.0.0.0".to_owned(), 15006));
    assert_eq!(capturing.use_original_dst, None);
    assert_eq!(
        capturing.listener_filters[0].name,
        "envoy.filters.listener.original_dst"
    );
    assert_eq!(
        chains(&capturing),
        pairs(&[
            (":3002", "inline inbound|http|80"),
            (":9000", "inbound|90|tcp|forecast.default.svc.cluster.local"),
            (":15000", "BlackHoleCluster"),
            (":15001", "BlackHoleCluster"),
            (":15002", "BlackHoleCluster"),
            (":15006", "BlackHoleCluster"),
            ("", "local InboundPassthroughCluster"),
        ])
    );
}

#[test]
fn p12_2_of_two_services_on_one_port_of_the_workload_the_older_wins() {
    let mesh = Mesh::new()
        .service(created(2, service("a", "10.96.0.1", &[("tcp", 80)])))
        .service(created(
            1,
            service("b", "10.96.0.2", &[("http", 80), ("http-alt", 81)]),
        ));
    let workload = workload(&[
        ("a", "tcp", 80, 3002),
        ("b", "http", 80, 3002),
        ("b", "http-alt", 81, 3002),
    ]);
    let plan = inbound(
        &mesh.view("default"),
        &proxy(InterceptionMode::Redirect),
        &workload,
        &Features::default(),
    );
    assert_eq!(names(&plan), ["10.1.0.7_3002", "virtualInbound"]);
    assert_eq!(
        chains(&build(&plan, "10.1.0.7_3002")),
        pairs(&[("", "inline inbound|http|80")])
    );
    let found: Vec<_> = plan
        .warnings
        .iter()
        .map(|warning| (warning.kind, &*warning.object.name))
        .collect();
    assert_eq!(
        found,
        [(WarningKind::InboundListener, "a")],
        "the same protocol twice is no conflict"
    );
}

#[test]
fn the_ports_of_the_proxy_cannot_be_served_by_the_workload() {
    let workload = workload(&[("a", "http", 80, 15006)]);
    let plan = inbound(
        &Mesh::new().view("default"),
        &proxy(InterceptionMode::Redirect),
        &workload,
        &Features::default(),
    );
    assert_eq!(names(&plan), ["virtualInbound"]);
    let found: Vec<_> = plan
        .warnings
        .iter()
        .map(|warning| (warning.kind, warning.object.to_string()))
        .collect();
    assert_eq!(
        found,
        [(WarningKind::InboundListener, "Service default/a".to_owned())]
    );
}

#[test]
fn one_port_can_capture_both_directions() {
    let config = MeshConfig {
        proxy_listen_port: 15006,
        ..MeshConfig::default()
    };
    let workload = workload(&[("a", "http", 80, 3002)]);
    let plan = inbound(
        &Mesh::with(config).view("default"),
        &proxy(InterceptionMode::Redirect),
        &workload,
        &Features::default(),
    );
    assert_eq!(names(&plan), ["10.1.0.7_3002"]);
}
