use mesh_api::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy,
};
use mesh_api::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use mesh_api::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use mesh_api::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use mesh_api::istio::networking::v1alpha3::connection_pool_settings::{HttpSettings, TcpSettings};
use mesh_api::istio::networking::v1alpha3::load_balancer_settings::{
    ConsistentHashLb, LbPolicy as Policy, SimpleLb,
};
use mesh_api::istio::networking::v1alpha3::{
    ConnectionPoolSettings, LoadBalancerSettings, OutlierDetection, TrafficPolicy,
};
use pilot_model::{EndpointAddress, InterceptionMode, ProxyType, Resolution, WarningKind};

use super::*;
use crate::Plan;
use crate::fixture::{Mesh, created, endpoint, port, proxy, rule, seconds, service, subset, workload};

mod tls;
mod vantage;

fn names(plan: &Plan<ClusterKey>) -> Vec<&str> {
    plan.keys.iter().map(Clusters::name).collect()
}

fn build(plan: &Plan<ClusterKey>, name: &str) -> Built<Cluster> {
    let key = plan.keys.iter().find(|key| Clusters::name(key) == name);
    Clusters::build(key.unwrap_or_else(|| panic!("no cluster {name} among {:?}", names(plan))))
}

/// The cluster of `forecast:80` under a policy.
fn under(policy: TrafficPolicy) -> Cluster {
    let mut rule = rule("forecast");
    rule.traffic_policy = Some(policy);
    let mesh = Mesh::new()
        .service(service("forecast", "10.96.0.1", &[("http", 80)]))
        .rule("default", "forecast", rule);
    build(
        &outbound(&mesh.view("default"), &Vantage::of_role(ProxyType::Sidecar)),
        "outbound|80||forecast.default.svc.cluster.local",
    )
    .message
}

fn discovery_type(cluster: &Cluster) -> DiscoveryType {
    match cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => kind.try_into().expect("a known type"),
        _ => panic!("no type"),
    }
}

fn http_options(cluster: &Cluster) -> Option<HttpProtocolOptions> {
    let any = cluster.typed_extension_protocol_options.values().next()?;
    Some(any.unpack().expect("http options"))
}

#[test]
fn r_dr_9_every_port_and_every_subset_of_a_service_is_a_cluster() {
    let mut rule = rule("forecast");
    rule.subsets = vec![
        subset("v2", &[("version", "v2")]),
        subset("v1", &[("version", "v1")]),
    ];
    let mut forecast = service("forecast", "10.96.0.1", &[("http", 80), ("grpc", 90)]);
    forecast.ports.push(mesh_config::Port {
        protocol: Protocol::Udp,
        ..port("dns", 53)
    });
    let view = Mesh::new()
        .service(forecast)
        .rule("default", "forecast", rule)
        .view("default");

    let plan = outbound(&view, &Vantage::of_role(ProxyType::Sidecar));
    assert_eq!(
        names(&plan),
        [
            "BlackHoleCluster",
            "InboundPassthroughCluster",
            "PassthroughCluster",
            "outbound|80|v1|forecast.default.svc.cluster.local",
            "outbound|80|v2|forecast.default.svc.cluster.local",
            "outbound|80||forecast.default.svc.cluster.local",
            "outbound|90|v1|forecast.default.svc.cluster.local",
            "outbound|90|v2|forecast.default.svc.cluster.local",
            "outbound|90||forecast.default.svc.cluster.local",
        ]
    );
    assert!(
        !names(&outbound(&view, &Vantage::of_role(ProxyType::Router))).contains(&"InboundPassthroughCluster")
    );

    let cluster = build(&plan, "outbound|80|v1|forecast.default.svc.cluster.local").message;
    assert_eq!(discovery_type(&cluster), DiscoveryType::Eds);
    assert_eq!(
        cluster.eds_cluster_config.expect("eds").service_name,
        cluster.name
    );
    let metadata = &cluster.metadata.expect("metadata").filter_metadata["istio"].fields["config"];
    let path = "/apis/networking.istio.io/v1alpha3/namespaces/default/destination-rule/forecast";
    assert_eq!(
        metadata.kind,
        Some(prost_types::value::Kind::StringValue(path.to_owned()))
    );
}

/// `R-OB-1`.
/// R-OB-1, A-11.
#[test]
fn section_9_clusters_for_unknown_traffic_are_out_of_reach_of_any_policy() {
    let mesh = MeshConfig {
        connect_timeout: Some(seconds(10)),
        ..MeshConfig::default()
    };
    let plan = outbound(
        &Mesh::with(mesh).view("default"),
        &Vantage::of_role(ProxyType::Sidecar),
    );

    let black_hole = build(&plan, "BlackHoleCluster").message;
    assert_eq!(discovery_type(&black_hole), DiscoveryType::Static);
    assert_eq!(black_hole.connect_timeout, Some(seconds(10)));
    assert_eq!(black_hole.load_assignment, None);

    let passthrough = build(&plan, "PassthroughCluster").message;
    assert_eq!(discovery_type(&passthrough), DiscoveryType::OriginalDst);
    assert_eq!(passthrough.lb_policy(), LbPolicy::ClusterProvided);
    let limits = &passthrough.circuit_breakers.expect("limits").thresholds[0];
    let limits = [
        limits.max_connections,
        limits.max_pending_requests,
        limits.max_requests,
        limits.max_retries,
    ];
    assert_eq!(limits, [Some(4_294_967_295); 4]);
}

#[test]
fn p11_1_the_resolution_of_a_service_decides_the_type() {
    let mut dns = service("dns", "10.96.0.1", &[("http", 80), ("tcp", 90)]);
    dns.resolution = Resolution::Dns;
    dns.endpoints = vec![
        pilot_model::Endpoint {
            address: EndpointAddress::Dns("b.example.com".into(), 8080),
            ..endpoint("1.1.1.1:1", "http", "v1")
        },
        endpoint("1.1.1.1:8080", "http", "v2"),
        endpoint("1.1.1.1:9090", "tcp", "v2"),
    ];
    let mut rule = rule("dns");
    rule.subsets = vec![subset("v2", &[("version", "v2")])];
    let mesh = Mesh::new()
        .service(dns)
        .service(service("headless", "", &[("http", 80)]))
        .rule("default", "dns", rule);
    let view = mesh.view("default");
    let plan = outbound(&view, &Vantage::of_role(ProxyType::Sidecar));

    let headless = build(&plan, "outbound|80||headless.default.svc.cluster.local").message;
    assert_eq!(discovery_type(&headless), DiscoveryType::OriginalDst);
    // Who calls a gateway asked for the address of the gateway.
    let at_gateway = outbound(&view, &Vantage::of_role(ProxyType::Router));
    let headless = build(&at_gateway, "outbound|80||headless.default.svc.cluster.local").message;
    assert_eq!(discovery_type(&headless), DiscoveryType::Eds);

    for (name, addresses) in [
        ("outbound|80||dns.default.svc.cluster.local", 2),
        ("outbound|80|v2|dns.default.svc.cluster.local", 1),
        ("outbound|90||dns.default.svc.cluster.local", 1),
    ] {
        let cluster = build(&plan, name).message;
        assert_eq!(discovery_type(&cluster), DiscoveryType::StrictDns, "{name}");
        let assignment = cluster.load_assignment.expect("endpoints");
        let count: usize = assignment
            .endpoints
            .iter()
            .map(|locality| locality.lb_endpoints.len())
            .sum();
        assert_eq!(count, addresses, "{name}");
    }
}

/// the smallest ring is 1024 unless a rule says otherwise.
#[test]
fn section_6_3_load_balancers() {
    let simple = |simple: SimpleLb| TrafficPolicy {
        load_balancer: Some(LoadBalancerSettings {
            lb_policy: Some(Policy::Simple(simple.into())),
        }),
        ..TrafficPolicy::default()
    };
    for (policy, expected) in [
        (SimpleLb::RoundRobin, LbPolicy::RoundRobin),
        (SimpleLb::LeastConn, LbPolicy::LeastRequest),
        (SimpleLb::Random, LbPolicy::Random),
        (SimpleLb::Passthrough, LbPolicy::ClusterProvided),
    ] {
        assert_eq!(under(simple(policy)).lb_policy(), expected);
    }
    let passthrough = under(simple(SimpleLb::Passthrough));
    assert_eq!(discovery_type(&passthrough), DiscoveryType::OriginalDst);
    assert_eq!(passthrough.eds_cluster_config, None);

    for (configured, expected) in [(0, 1024), (4096, 4096), (u64::MAX, 8_388_608)] {
        let hash = ConsistentHashLb {
            minimum_ring_size: configured,
            hash_key: None,
        };
        let cluster = under(TrafficPolicy {
            load_balancer: Some(LoadBalancerSettings {
                lb_policy: Some(Policy::ConsistentHash(hash)),
            }),
            ..TrafficPolicy::default()
        });
        assert_eq!(cluster.lb_policy(), LbPolicy::RingHash);
        let Some(LbConfig::RingHashLbConfig(ring)) = cluster.lb_config else {
            panic!("no ring")
        };
        assert_eq!(ring.minimum_ring_size, Some(expected));
    }
}

#[test]
fn r_dr_14_a_cluster_for_original_destinations_ignores_load_balancers() {
    let mut rule = rule("headless");
    rule.traffic_policy = Some(TrafficPolicy {
        load_balancer: Some(LoadBalancerSettings {
            lb_policy: Some(Policy::Simple(SimpleLb::Random.into())),
        }),
        ..TrafficPolicy::default()
    });
    let mesh = Mesh::new()
        .service(service("headless", "", &[("tcp", 80)]))
        .rule("default", "headless", rule);
    let plan = outbound(&mesh.view("default"), &Vantage::of_role(ProxyType::Sidecar));
    let cluster = build(&plan, "outbound|80||headless.default.svc.cluster.local").message;
    assert_eq!(cluster.lb_policy(), LbPolicy::ClusterProvided);
}

/// `R-DR-16`.
/// R-DR-16, R-DR-17, A-1, A-21.
/// `R-VS-22`.
#[test]
fn section_6_4_connection_pools() {
    let defaults = under(TrafficPolicy::default());
    assert_eq!(defaults.connect_timeout, Some(seconds(1)));
    let limits = &defaults.circuit_breakers.expect("limits").thresholds;
    assert_eq!(
        (limits.len(), limits[0].max_retries, limits[0].max_connections),
        (1, Some(1024), None)
    );
    assert!(defaults.typed_extension_protocol_options.is_empty());
    assert_eq!(defaults.upstream_connection_options, None);

    let pool = ConnectionPoolSettings {
        tcp: Some(TcpSettings {
            max_connections: 10,
            connect_timeout: Some(seconds(3)),
            tcp_keepalive: Some(Default::default()),
        }),
        http: Some(HttpSettings {
            http1_max_pending_requests: 11,
            http2_max_requests: 12,
            max_requests_per_connection: 13,
            max_retries: 14,
            idle_timeout: Some(seconds(15)),
        }),
    };
    let cluster = under(TrafficPolicy {
        connection_pool: Some(pool),
        ..TrafficPolicy::default()
    });
    assert_eq!(cluster.connect_timeout, Some(seconds(3)));
    let limits = &cluster.circuit_breakers.as_ref().expect("limits").thresholds[0];
    let limits = [
        limits.max_connections,
        limits.max_pending_requests,
        limits.max_requests,
        limits.max_retries,
    ];
    assert_eq!(limits, [10, 11, 12, 14].map(Some));
    let keepalive = cluster
        .upstream_connection_options
        .as_ref()
        .and_then(|options| options.tcp_keepalive);
    assert_eq!(
        keepalive,
        Some(Default::default()),
        "R-DR-16: an empty message switches keepalive on"
    );
    let common = http_options(&cluster)
        .expect("options")
        .common_http_protocol_options
        .expect("common options");
    assert_eq!(
        (common.max_requests_per_connection, common.idle_timeout),
        (Some(13), Some(seconds(15)))
    );
}

/// R-DR-23: five errors where the rule gives no number.
#[test]
fn invalid_values_count_as_not_given() {
    let pool = ConnectionPoolSettings {
        tcp: Some(TcpSettings {
            max_connections: -1,
            connect_timeout: Some(seconds(-1)),
            tcp_keepalive: None,
        }),
        http: None,
    };
    let outlier = OutlierDetection {
        consecutive_errors: -1,
        interval: Some(seconds(0)),
        max_ejection_percent: 300,
        ..OutlierDetection::default()
    };
    let cluster = under(TrafficPolicy {
        connection_pool: Some(pool),
        outlier_detection: Some(outlier),
        ..TrafficPolicy::default()
    });
    assert_eq!(cluster.connect_timeout, Some(seconds(1)));
    assert_eq!(
        cluster.circuit_breakers.expect("limits").thresholds[0].max_connections,
        None
    );
    let outlier = cluster.outlier_detection.expect("outlier detection");
    assert_eq!(outlier.interval, None);
    assert_eq!(outlier.consecutive_gateway_failure, Some(5));
    assert_eq!(outlier.max_ejection_percent, Some(100));
}

/// `R-DR-23`, `R-DR-25`, `R-DR-26`.
/// R-DR-25, R-DR-26; A-2: only gateway errors count.
#[test]
fn section_6_5_outlier_detection_counts_gateway_failures_and_ejects_at_least_one() {
    let settings = OutlierDetection {
        consecutive_errors: 3,
        interval: Some(seconds(10)),
        base_ejection_time: Some(seconds(600)),
        max_ejection_percent: 20,
        min_health_percent: 40,
    };
    let cluster = under(TrafficPolicy {
        outlier_detection: Some(settings),
        ..TrafficPolicy::default()
    });
    let outlier = cluster.outlier_detection.expect("outlier detection");
    assert_eq!(outlier.consecutive_gateway_failure, Some(3));
    assert_eq!(outlier.enforcing_consecutive_gateway_failure, Some(100));
    assert_eq!(outlier.enforcing_consecutive_5xx, Some(0));
    assert_eq!(
        (outlier.interval, outlier.base_ejection_time),
        (Some(seconds(10)), Some(seconds(600)))
    );
    assert_eq!(
        (outlier.max_ejection_percent, outlier.always_eject_one_host),
        (Some(20), Some(true))
    );
    assert_eq!(outlier.max_ejection_time, Some(seconds(86400)), "R-DR-25");
    let threshold = cluster
        .common_lb_config
        .and_then(|config| config.healthy_panic_threshold);
    assert_eq!(threshold.map(|percent| percent.value), Some(40.0));
}

#[test]
fn p3_1_http2_upstreams_are_those_whose_port_says_so() {
    let ports = [
        ("http", 1),
        ("http2", 2),
        ("grpc", 3),
        ("grpc-web", 4),
        ("tcp", 5),
        ("https", 6),
    ];
    let plan = outbound(
        &Mesh::new()
            .service(service("a", "10.96.0.1", &ports))
            .view("default"),
        &Vantage::of_role(ProxyType::Sidecar),
    );
    for (number, expected) in [
        (1, false),
        (2, true),
        (3, true),
        (4, true),
        (5, false),
        (6, false),
    ] {
        let cluster = build(&plan, &format!("outbound|{number}||a.default.svc.cluster.local")).message;
        let explicit = http_options(&cluster).and_then(|options| options.upstream_protocol_options);
        let http2 = match explicit {
            Some(UpstreamProtocolOptions::ExplicitHttpConfig(config)) => {
                matches!(
                    config.protocol_config,
                    Some(ProtocolConfig::Http2ProtocolOptions(_))
                )
            }
            _ => false,
        };
        assert_eq!(http2, expected, "port {number}");
    }
}

#[test]
fn r_n_12_of_two_services_with_the_same_cluster_the_older_wins() {
    let mut entry = created(5, service("forecast", "240.0.0.1", &[("http", 80)]));
    entry.id.name = "other".into();
    entry.id.registry = "ServiceEntry".into();
    let mut second_address = entry.clone();
    second_address.id.index = 1;
    let mesh = Mesh::new()
        .service(entry)
        .service(second_address)
        .service(created(2, service("forecast", "10.96.0.1", &[("http", 80)])));
    let plan = outbound(&mesh.view("default"), &Vantage::of_role(ProxyType::Router));
    assert_eq!(names(&plan).len(), 3);
    let key = plan
        .keys
        .iter()
        .find(|key| key.name.starts_with("outbound"))
        .expect("the cluster");
    let Target::Service(ServiceTarget { service, .. }) = &key.target else {
        panic!("another target")
    };
    assert_eq!(service.created.seconds, 2);
    assert_eq!(plan.warnings.len(), 2);
    for warning in &plan.warnings {
        assert_eq!(warning.kind, WarningKind::DuplicateCluster);
        assert_eq!(warning.object.to_string(), "ServiceEntry default/other");
    }
}

#[test]
fn the_addresses_of_one_service_entry_share_their_clusters() {
    let mut entry = service("forecast", "240.0.0.1", &[("http", 80)]);
    entry.id.registry = "ServiceEntry".into();
    let mut second_address = entry.clone();
    second_address.id.index = 1;
    let plan = outbound(
        &Mesh::new().service(entry).service(second_address).view("default"),
        &Vantage::of_role(ProxyType::Router),
    );
    assert_eq!(plan.warnings, []);
}

/// R-DR-19: the limits of the service hold at the callee as well.
#[test]
fn p11_2_inbound_clusters_lead_to_the_workload_itself() {
    let mut policy = rule("forecast");
    let pool = ConnectionPoolSettings {
        tcp: Some(TcpSettings {
            max_connections: 10,
            ..TcpSettings::default()
        }),
        http: None,
    };
    policy.traffic_policy = Some(TrafficPolicy {
        connection_pool: Some(pool),
        outlier_detection: Some(OutlierDetection::default()),
        ..TrafficPolicy::default()
    });
    let mesh = Mesh::new()
        .service(service("forecast", "10.96.0.1", &[("http", 80), ("grpc", 90)]))
        .rule("default", "forecast", policy);
    let workload = workload(&[("forecast", "http", 80, 3002), ("forecast", "grpc", 90, 9000)]);
    let plan = inbound(
        &mesh.view("default"),
        &proxy(InterceptionMode::Redirect),
        &workload,
    );
    assert_eq!(
        names(&plan),
        [
            "inbound|80|http|forecast.default.svc.cluster.local",
            "inbound|90|grpc|forecast.default.svc.cluster.local",
        ]
    );
    let cluster = build(&plan, "inbound|80|http|forecast.default.svc.cluster.local").message;
    assert_eq!(discovery_type(&cluster), DiscoveryType::Static);
    let text = format!("{:?}", cluster.load_assignment);
    assert!(text.contains("127.0.0.1") && text.contains("3002"), "{text}");
    let limits = &cluster
        .circuit_breakers
        .as_ref()
        .expect("R-DR-19: the callee's limit")
        .thresholds[0];
    assert_eq!((limits.max_connections, limits.max_retries), (Some(10), None));
    assert_eq!(cluster.outlier_detection, None);
    let grpc = build(&plan, "inbound|90|grpc|forecast.default.svc.cluster.local").message;
    assert!(http_options(&grpc).is_some());
}
