//! DestinationRules and ServiceEntries that no validation has seen: a proxy accepts what becomes of them.

use libtest_mimic::Failed;
use mesh_api::Any;
use mesh_api::istio::networking::v1alpha3::connection_pool_settings::tcp_settings::TcpKeepalive;
use mesh_api::istio::networking::v1alpha3::connection_pool_settings::{HttpSettings, TcpSettings};
use mesh_api::istio::networking::v1alpha3::load_balancer_settings::consistent_hash_lb::{
    HashKey, HttpCookie,
};
use mesh_api::istio::networking::v1alpha3::load_balancer_settings::{ConsistentHashLb, LbPolicy};
use mesh_api::istio::networking::v1alpha3::port_selector::Port;
use mesh_api::istio::networking::v1alpha3::traffic_policy::PortTrafficPolicy;
use mesh_api::istio::networking::v1alpha3::{
    ConnectionPoolSettings, DestinationRule, LoadBalancerSettings, OutlierDetection, PortSelector, Subset,
    TlsSettings, TrafficPolicy,
};
use mesh_config::Kind;
use mesh_testing::Envoy;
use pilot_model::{Change, ConfigSpec};
use proptest::collection::{btree_map, vec};
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost_types::Duration;

use crate::acceptance::report;
use crate::world::{World, age, meta};

/// Services of every resolution that rules can be about.
const SERVICES: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: web, namespace: weather},
   spec: {clusterIP: 10.96.0.20, ports: [{name: http, port: 80, protocol: TCP}, {name: grpc, port: 81, protocol: TCP}]}}
- {apiVersion: v1, kind: Service, metadata: {name: db, namespace: weather},
   spec: {clusterIP: 10.96.0.21, ports: [{name: mongo, port: 80, protocol: TCP}, {name: tls, port: 81, protocol: TCP}]}}
- {apiVersion: v1, kind: Service, metadata: {name: headless, namespace: weather},
   spec: {clusterIP: None, ports: [{name: http2, port: 80, protocol: TCP}]}}
- {apiVersion: v1, kind: Service, metadata: {name: elsewhere, namespace: weather},
   spec: {type: ExternalName, externalName: www.example.com, ports: [{name: http, port: 80, protocol: TCP}]}}
";
const PROXIES: &str = "
localityLoadBalancing: true
proxies:
- {name: web, namespace: weather, ip: 10.1.0.1, locality: us/a/1, metadata: {NETWORK: n1}}
- {name: edge, type: router, namespace: weather, ip: 10.1.0.2, metadata: {ROUTER_MODE: sni-dnat}}
";
/// Worlds, each of which is judged at once.
const WORLDS: usize = 8;
/// Rules in a world, of which the oldest for a host counts for most.
const RULES: usize = 24;

/// Whatever DestinationRules and ServiceEntries say, an Envoy accepts what its proxy gets.
pub(crate) fn envoy_accepts(envoy: &Envoy) -> Result<(), Failed> {
    let mut runner = TestRunner::deterministic();
    let mut all: Vec<(String, Vec<Any>)> = Vec::new();
    for round in 0..WORLDS {
        let rules = vec(destination_rule(), RULES).new_tree(&mut runner)?.current();
        let entries = vec(service_entry(), 12).new_tree(&mut runner)?.current();
        let documents = entries.iter().enumerate().map(|(index, spec)| {
            format!(
                "---\n{{apiVersion: networking.istio.io/v1alpha3, kind: ServiceEntry, \
                 metadata: {{name: entry-{index}, namespace: weather}}, spec: {spec}}}\n"
            )
        });
        let objects = format!("{SERVICES}{}", documents.collect::<String>());
        let world = World::new(&objects, PROXIES, changes(rules, round))?;
        let resources = world.resources().into_iter();
        all.extend(resources.map(|(proxy, resources)| (format!("round {round}, {proxy}"), resources)));
    }
    report(envoy.validate_all(&all))
}

/// One rule for each host in most rounds, so that each counts.
fn changes(rules: Vec<DestinationRule>, round: usize) -> Vec<Change> {
    let numbered = rules.into_iter().enumerate();
    numbered
        .map(|(index, spec)| {
            let name = format!("rule-{round}-{index}");
            let meta = meta(Kind::DestinationRule, "weather", &name, age(index));
            Change::Config(meta, ConfigSpec::DestinationRule(Box::new(spec)))
        })
        .collect()
}

fn destination_rule() -> impl Strategy<Value = DestinationRule> {
    let hosts = select(vec![
        "web",
        "db",
        "headless",
        "elsewhere",
        "*.weather.svc.cluster.local",
        "*",
        "a.example.com",
        "b.example.com",
        "*.example.com",
        "",
    ]);
    let subset = (
        select(vec!["v1", "v2", "", "V 3|x", "_."]),
        labels(),
        weighted(0.6, policy()),
    );
    let subset = subset.prop_map(|(name, labels, traffic_policy)| Subset {
        name: name.to_owned(),
        labels,
        traffic_policy,
    });
    (hosts, weighted(0.8, policy()), vec(subset, 0..3)).prop_map(|(host, traffic_policy, subsets)| {
        DestinationRule {
            host: host.to_owned(),
            traffic_policy,
            subsets,
            ..DestinationRule::default()
        }
    })
}

fn labels() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    let word = select(vec!["version", "v1", "v2", ""]).prop_map(str::to_owned);
    btree_map(word.clone(), word, 0..2)
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    let port = prop_oneof![
        select(vec![0, 80, 81, u32::MAX]).prop_map(Port::Number),
        Just(Port::Name("http".to_owned())),
    ];
    let settings = (weighted(0.9, port), components()).prop_map(|(port, components)| PortTrafficPolicy {
        port: Some(PortSelector { port }),
        load_balancer: components.load_balancer,
        connection_pool: components.connection_pool,
        outlier_detection: components.outlier_detection,
        tls: components.tls,
    });
    (components(), vec(settings, 0..2)).prop_map(|(components, port_level_settings)| TrafficPolicy {
        port_level_settings,
        ..components
    })
}

/// The components of a policy, without its ports.
fn components() -> impl Strategy<Value = TrafficPolicy> {
    (
        weighted(0.5, load_balancer()),
        weighted(0.5, connection_pool()),
        weighted(0.5, outlier_detection()),
        weighted(0.5, tls()),
    )
        .prop_map(
            |(load_balancer, connection_pool, outlier_detection, tls)| TrafficPolicy {
                load_balancer,
                connection_pool,
                outlier_detection,
                tls,
                ..TrafficPolicy::default()
            },
        )
}

fn load_balancer() -> impl Strategy<Value = LoadBalancerSettings> {
    let cookie = (text(), text(), weighted(0.8, duration())).prop_map(|(name, path, ttl)| HttpCookie {
        name,
        path,
        ttl,
    });
    let key = prop_oneof![
        text().prop_map(HashKey::HttpHeaderName),
        cookie.prop_map(HashKey::HttpCookie),
        any::<bool>().prop_map(HashKey::UseSourceIp),
    ];
    let hash = (weighted(0.9, key), select(vec![0, 1, 1024, 8_388_608, u64::MAX]));
    let hash = hash.prop_map(|(hash_key, minimum_ring_size)| ConsistentHashLb {
        minimum_ring_size,
        hash_key,
    });
    let policy = prop_oneof![
        (-1..6_i32).prop_map(LbPolicy::Simple),
        hash.prop_map(LbPolicy::ConsistentHash),
    ];
    weighted(0.9, policy).prop_map(|lb_policy| LoadBalancerSettings { lb_policy })
}

fn connection_pool() -> impl Strategy<Value = ConnectionPoolSettings> {
    let keepalive = (
        select(vec![0, 1, u32::MAX]),
        weighted(0.7, duration()),
        weighted(0.7, duration()),
    );
    let keepalive = keepalive.prop_map(|(probes, time, interval)| TcpKeepalive {
        probes,
        time,
        interval,
    });
    let tcp = (number(), weighted(0.7, duration()), weighted(0.7, keepalive));
    let tcp = tcp.prop_map(|(max_connections, connect_timeout, tcp_keepalive)| TcpSettings {
        max_connections,
        connect_timeout,
        tcp_keepalive,
    });
    let http = (number(), number(), number(), number(), weighted(0.7, duration()));
    let http = http.prop_map(
        |(pending, requests, per_connection, max_retries, idle_timeout)| HttpSettings {
            http1_max_pending_requests: pending,
            http2_max_requests: requests,
            max_requests_per_connection: per_connection,
            max_retries,
            idle_timeout,
        },
    );
    (weighted(0.8, tcp), weighted(0.8, http)).prop_map(|(tcp, http)| ConnectionPoolSettings { tcp, http })
}

fn outlier_detection() -> impl Strategy<Value = OutlierDetection> {
    let durations = (weighted(0.7, duration()), weighted(0.7, duration()));
    (number(), durations, number(), number()).prop_map(
        |(consecutive_errors, (interval, base_ejection_time), max_ejection_percent, min_health_percent)| {
            OutlierDetection {
                consecutive_errors,
                interval,
                base_ejection_time,
                max_ejection_percent,
                min_health_percent,
            }
        },
    )
}

fn tls() -> impl Strategy<Value = TlsSettings> {
    let file = || select(vec!["", "/etc/certs/x.pem"]).prop_map(str::to_owned);
    (-1..6_i32, file(), file(), file(), vec(text(), 0..3), text()).prop_map(
        |(mode, client_certificate, private_key, ca_certificates, subject_alt_names, sni)| TlsSettings {
            mode,
            client_certificate,
            private_key,
            ca_certificates,
            subject_alt_names,
            sni,
        },
    )
}

fn number() -> impl Strategy<Value = i32> {
    select(vec![i32::MIN, -1, 0, 1, 10, 100, 101, i32::MAX])
}

fn duration() -> impl Strategy<Value = Duration> {
    let seconds = select(vec![i64::MIN, -1, 0, 0, 1, 60, 86_400, 315_576_000_000, i64::MAX]);
    let nanos = select(vec![i32::MIN, -1, 0, 1, 1_000_000, 999_999_999, i32::MAX]);
    (seconds, nanos).prop_map(|(seconds, nanos)| Duration { seconds, nanos })
}

fn text() -> impl Strategy<Value = String> {
    let long = "x".repeat(300);
    select(vec![
        String::new(),
        "location".to_owned(),
        "www.example.com".to_owned(),
        "*.example.com".to_owned(),
        "spiffe://cluster.local/ns/x/sa/y".to_owned(),
        "10.0.0.1".to_owned(),
        "a b\r\n\u{0}".to_owned(),
        "ü/".to_owned(),
        long,
    ])
}

/// The content of a ServiceEntry, as YAML.
fn service_entry() -> impl Strategy<Value = String> {
    let host = select(vec![
        "a.example.com",
        "b.example.com",
        "*.example.com",
        "web.weather.svc.cluster.local",
    ]);
    let addresses = select(vec![
        "",
        "240.0.0.1",
        "240.0.0.0/8, 240.0.0.2/32",
        "'fd00::1'",
        "nonsense",
    ]);
    let port = (
        select(vec![80, 81, 443, 3306, 0, 70_000]),
        select(vec!["http", "tls", "", "HTTP 2"]),
        select(vec![
            "HTTP", "GRPC", "TLS", "TCP", "HTTPS", "MONGO", "UDP", "nonsense",
        ]),
    );
    let port = port.prop_map(|(number, name, protocol)| {
        format!("{{number: {number}, name: '{name}', protocol: {protocol}}}")
    });
    let endpoint = (
        select(vec![
            "10.2.0.1",
            "10.2.0.2",
            "'fd00::2'",
            "db.example.com",
            "unix:///var/run/x.sock",
            "unix://@abstract",
            "''",
            "'not a name'",
        ]),
        select(vec!["", ", weight: 4294967295", ", weight: 129", ", weight: 0"]),
        select(vec![
            "",
            ", locality: us/a/1",
            ", locality: eu",
            ", locality: ///",
            ", locality: a.b.c.d",
        ]),
        select(vec![
            "",
            ", ports: {http: 8080}",
            ", ports: {http: 0, tls: 70000}",
        ]),
        select(vec!["", ", network: n1", ", network: n2"]),
    );
    let endpoint = endpoint.prop_map(|(address, weight, locality, ports, network)| {
        format!("{{address: {address}{weight}{locality}{ports}{network}}}")
    });
    (
        vec(host, 1..3),
        addresses,
        vec(port, 0..3),
        select(vec!["NONE", "STATIC", "DNS"]),
        select(vec!["MESH_EXTERNAL", "MESH_INTERNAL"]),
        vec(endpoint, 0..5),
    )
        .prop_map(|(hosts, addresses, ports, resolution, location, endpoints)| {
            format!(
                "{{hosts: ['{}'], addresses: [{addresses}], ports: [{}], resolution: {resolution}, \
                 location: {location}, endpoints: [{}]}}",
                hosts.join("', '"),
                ports.join(", "),
                endpoints.join(", ")
            )
        })
}
