//! Clusters that depend on who asks (P10.6, P11.1, P11.3).

use mesh_api::istio::mesh::v1alpha1::LocalityLoadBalancerSetting;
use mesh_api::istio::mesh::v1alpha1::locality_load_balancer_setting::{Distribute, Failover};
use mesh_api::istio::networking::v1alpha3::TlsSettings;
use mesh_api::istio::networking::v1alpha3::tls_settings::TlSmode;
use pilot_model::{Endpoint, Locality, Proxy, ScopedView, Workload};

use super::*;
use crate::Features;

const FORECAST: &str = "outbound|80||forecast.default.svc.cluster.local";

fn vantage(view: &ScopedView, proxy: &Proxy) -> Vantage {
    Vantage::new(view, proxy, &Workload::default(), &Features::default())
}

fn router(mode: &str) -> Proxy {
    let mut proxy = proxy(InterceptionMode::Redirect);
    proxy.proxy_type = ProxyType::Router;
    proxy.metadata.insert("ROUTER_MODE".into(), mode.into());
    proxy
}

#[test]
fn a_20_a_router_by_server_name_has_every_cluster_once_more_without_tls() {
    let mut rule = rule("forecast");
    rule.subsets = vec![subset("v1", &[("version", "v1")])];
    rule.traffic_policy = Some(TrafficPolicy {
        tls: Some(TlsSettings {
            mode: TlSmode::IstioMutual.into(),
            ..TlsSettings::default()
        }),
        ..TrafficPolicy::default()
    });
    let view = Mesh::new()
        .service(service("forecast", "10.96.0.1", &[("http2", 80)]))
        .rule("default", "forecast", rule)
        .view("default");

    let plan = outbound(&view, &vantage(&view, &router("sni-dnat")));
    let expected = [
        "BlackHoleCluster",
        "PassthroughCluster",
        "outbound_.80_._.forecast.default.svc.cluster.local",
        "outbound_.80_.v1_.forecast.default.svc.cluster.local",
        "outbound|80|v1|forecast.default.svc.cluster.local",
        "outbound|80||forecast.default.svc.cluster.local",
    ];
    assert_eq!(names(&plan), expected);
    let handed_on = build(&plan, "outbound_.80_.v1_.forecast.default.svc.cluster.local").message;
    assert_eq!(discovery_type(&handed_on), DiscoveryType::Eds);
    assert_eq!(handed_on.transport_socket, None);
    assert!(handed_on.typed_extension_protocol_options.is_empty());
    let originated = build(&plan, "outbound|80|v1|forecast.default.svc.cluster.local").message;
    assert!(originated.transport_socket.is_some());

    for proxy in [router("standard"), proxy(InterceptionMode::Redirect)] {
        let plan = outbound(&view, &vantage(&view, &proxy));
        assert!(names(&plan).iter().all(|name| !name.starts_with("outbound_.")));
    }
    let mut sidecar = router("sni-dnat");
    sidecar.proxy_type = ProxyType::Sidecar;
    assert_eq!(vantage(&view, &sidecar), Vantage::of_role(ProxyType::Sidecar));
}

#[test]
fn p11_3_reports_stay_with_one_telemetry_pod() {
    let mesh = |enabled| {
        let config = MeshConfig {
            mixer_report_server: "telemetry.default.svc.cluster.local:9091".to_owned(),
            sidecar_to_telemetry_session_affinity: enabled,
            ..MeshConfig::default()
        };
        Mesh::with(config)
            .service(service("telemetry", "10.96.0.9", &[("grpc-mixer", 9091)]))
            .service(service("forecast", "10.96.0.1", &[("http", 80)]))
            .view("default")
    };
    let telemetry = "outbound|9091||telemetry.default.svc.cluster.local";
    for (enabled, expected) in [(true, DiscoveryType::StrictDns), (false, DiscoveryType::Eds)] {
        let plan = outbound(&mesh(enabled), &Vantage::of_role(ProxyType::Sidecar));
        let cluster = build(&plan, telemetry).message;
        assert_eq!(discovery_type(&cluster), expected);
        let text = format!("{:?}", cluster.load_assignment);
        assert_eq!(
            text.contains("10.96.0.9") && text.contains("9091"),
            enabled,
            "{text}"
        );
        assert_eq!(
            discovery_type(&build(&plan, FORECAST).message),
            DiscoveryType::Eds
        );
    }
}

fn under_outlier_detection(setting: Option<LocalityLoadBalancerSetting>) -> Mesh {
    let named = |name: &str, locality: &str| Endpoint {
        address: EndpointAddress::Dns(name.into(), 80),
        locality: Locality::parse(locality),
        ..endpoint("10.0.0.1:1", "http", "v1")
    };
    let mut dns = service("dns", "10.96.0.2", &[("http", 80)]);
    dns.resolution = Resolution::Dns;
    dns.endpoints = vec![named("a.example.com", "eu/a"), named("b.example.com", "us/a")];
    let mut policy = rule("forecast");
    policy.traffic_policy = Some(TrafficPolicy {
        outlier_detection: Some(OutlierDetection {
            min_health_percent: 40,
            ..OutlierDetection::default()
        }),
        ..TrafficPolicy::default()
    });
    let mut of_dns = policy.clone();
    of_dns.host = "dns.default.svc.cluster.local".to_owned();
    Mesh::with(MeshConfig {
        locality_lb_setting: setting,
        ..MeshConfig::default()
    })
    .service(service("forecast", "10.96.0.1", &[("http", 80)]))
    .service(service("headless", "", &[("http", 80)]))
    .service(dns)
    .rule("default", "forecast", policy)
    .rule("default", "dns", of_dns)
}

#[test]
fn r_dr_27_a_17_weights_of_localities_and_the_panic_threshold_survive_together() {
    let view = under_outlier_detection(None).view("default");
    let plan = outbound(&view, &Vantage::of_role(ProxyType::Sidecar));
    let common = build(&plan, FORECAST).message.common_lb_config.expect("settings");
    assert!(common.locality_config_specifier.is_some());
    assert_eq!(
        common.healthy_panic_threshold.map(|percent| percent.value),
        Some(40.0)
    );
    let headless = build(&plan, "outbound|80||headless.default.svc.cluster.local").message;
    assert_eq!(headless.common_lb_config, None);
}

#[test]
fn p10_6_resolved_names_are_balanced_by_locality_without_a_switch() {
    let setting = LocalityLoadBalancerSetting {
        failover: vec![Failover {
            from: "us".to_owned(),
            to: "eu".to_owned(),
        }],
        ..LocalityLoadBalancerSetting::default()
    };
    let dns = "outbound|80||dns.default.svc.cluster.local";
    let priorities = |setting: Option<LocalityLoadBalancerSetting>, locality: &str| -> Vec<u32> {
        let view = under_outlier_detection(setting).view("default");
        let mut proxy = proxy(InterceptionMode::Redirect);
        proxy.locality = Locality::parse(locality);
        let cluster = build(&outbound(&view, &vantage(&view, &proxy)), dns).message;
        let groups = cluster.load_assignment.expect("endpoints").endpoints;
        groups.iter().map(|group| group.priority).collect()
    };
    assert_eq!(priorities(Some(setting.clone()), "us/a"), [1, 0]);
    assert_eq!(priorities(Some(setting.clone()), "eu/a"), [0, 1]);
    assert_eq!(priorities(Some(setting), ""), [0, 0]);
    assert_eq!(priorities(None, "us/a"), [0, 0]);
}

/// P10.4: proxies share what is made for them unless the setting is about each.
#[test]
fn p10_6_where_a_proxy_runs_makes_no_difference_unless_somebody_asks() {
    let mut here = proxy(InterceptionMode::Redirect);
    here.locality = Locality::parse("us/a");
    let nowhere = proxy(InterceptionMode::Redirect);
    let view = Mesh::new().view("default");
    assert_eq!(vantage(&view, &here), vantage(&view, &nowhere));

    let setting = LocalityLoadBalancerSetting {
        distribute: vec![Distribute::default()],
        ..LocalityLoadBalancerSetting::default()
    };
    let view = under_outlier_detection(Some(setting)).view("default");
    assert_ne!(vantage(&view, &here), vantage(&view, &nowhere));
    let [a, b] = [&here, &nowhere].map(|proxy| outbound(&view, &vantage(&view, proxy)));
    let differing: Vec<_> = a.keys.iter().zip(&b.keys).filter(|(a, b)| a != b).collect();
    assert_eq!(
        differing.len(),
        1,
        "only the cluster that holds its endpoints: {differing:?}"
    );
}

/// MC-20: sidecars see the egress gateway, and the egress gateway sees what is behind it.
#[test]
fn p8_4_proxies_resolve_the_endpoints_of_the_networks_that_they_ask_for() {
    let endpoint = |name: &str, network: &str| Endpoint {
        address: EndpointAddress::Dns(name.into(), 443),
        network: network.into(),
        ..endpoint("10.0.0.1:443", "http", "v1")
    };
    let mut external = service("api", "10.96.0.1", &[("http", 80)]);
    external.resolution = Resolution::Dns;
    external.endpoints = vec![
        endpoint("api.example.com", "external"),
        endpoint("egress.local", ""),
        endpoint("n1.local", "n1"),
    ];
    let view = Mesh::new().service(external).view("default");
    let cluster = "outbound|80||api.default.svc.cluster.local";
    for (metadata, expected) in [
        (None, &["egress.local"][..]),
        (Some(("REQUESTED_NETWORK_VIEW", "external")), &["api.example.com"]),
        (
            Some(("REQUESTED_NETWORK_VIEW", "n1, external")),
            &["api.example.com", "n1.local"],
        ),
        // Its own network is within reach.
        (Some(("NETWORK", "n1")), &["egress.local", "n1.local"]),
    ] {
        let mut proxy = proxy(InterceptionMode::Redirect);
        let metadata = metadata.into_iter();
        proxy
            .metadata
            .extend(metadata.map(|(name, value)| (name.into(), value.into())));
        let plan = outbound(&view, &vantage(&view, &proxy));
        let message = build(&plan, cluster).message;
        let assignment = message.load_assignment.expect("resolved by the proxy");
        let members = assignment.endpoints.iter().flat_map(|group| &group.lb_endpoints);
        let text = members.map(|member| format!("{member:?}")).collect::<String>();
        for name in ["api.example.com", "egress.local", "n1.local"] {
            assert_eq!(text.contains(name), expected.contains(&name), "{name}: {text}");
        }
    }
}
