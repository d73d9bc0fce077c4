use mesh_api::istio::networking::v1alpha3::load_balancer_settings::{LbPolicy, SimpleLb};
use mesh_api::istio::networking::v1alpha3::traffic_policy::PortTrafficPolicy;
use mesh_api::istio::networking::v1alpha3::{PortSelector, connection_pool_settings};
use pilot_model::RuleChain;

use super::*;
use crate::fixture::{Mesh, rule, service, subset};

/// A policy whose load balancer and connection limit can be recognised; `None` leaves a component out.
fn traffic_policy(simple: Option<SimpleLb>, max_connections: Option<i32>) -> TrafficPolicy {
    TrafficPolicy {
        load_balancer: simple.map(|simple| LoadBalancerSettings {
            lb_policy: Some(LbPolicy::Simple(simple.into())),
        }),
        connection_pool: max_connections.map(|max_connections| ConnectionPoolSettings {
            tcp: Some(connection_pool_settings::TcpSettings {
                max_connections,
                ..Default::default()
            }),
            http: None,
        }),
        ..TrafficPolicy::default()
    }
}

fn for_port(policy: TrafficPolicy, number: u32, settings: TrafficPolicy) -> TrafficPolicy {
    let settings = PortTrafficPolicy {
        port: Some(PortSelector {
            port: Some(port_selector::Port::Number(number)),
        }),
        load_balancer: settings.load_balancer,
        connection_pool: settings.connection_pool,
        outlier_detection: settings.outlier_detection,
        tls: settings.tls,
    };
    TrafficPolicy {
        port_level_settings: vec![settings],
        ..policy
    }
}

fn chain(
    rules: impl IntoIterator<Item = mesh_api::istio::networking::v1alpha3::DestinationRule>,
) -> RuleChain {
    let mut mesh = Mesh::new().service(service("forecast", "10.96.0.1", &[("http", 80)]));
    for (position, rule) in rules.into_iter().enumerate() {
        mesh = mesh.rule("default", &format!("rule-{position}"), rule);
    }
    let view = mesh.view("default");
    let service = view.services().next().expect("one service");
    view.rules(service).expect("rules for it").clone()
}

/// The load balancer and the connection limit in force.
fn in_force(rules: &RuleChain, subset: Option<&str>, port: u16) -> (Option<SimpleLb>, Option<i32>) {
    let subset = subset.map(|name| {
        find_subset(rules, name)
            .expect("declared")
            .get(rules)
            .expect("there")
    });
    let policy = policy(rules, subset, port);
    let simple = policy
        .load_balancer
        .and_then(|settings| match settings.lb_policy {
            Some(LbPolicy::Simple(simple)) => SimpleLb::try_from(simple).ok(),
            _ => None,
        });
    let limit = policy
        .connection_pool
        .and_then(|pool| pool.tcp.as_ref())
        .map(|tcp| tcp.max_connections);
    (simple, limit)
}

/// `R-DR-3`, `R-DR-4`, `R-DR-5`, `R-DR-15`.
/// R-DR-1, R-DR-3, R-DR-4, R-DR-5; A-8: a port replaces all components; A-22: a subset replaces whole components only.
#[test]
fn r_dr_2_to_5_port_of_subset_then_subset_then_port_of_service_then_service() {
    use SimpleLb::{LeastConn, Random, RoundRobin};
    let service = for_port(
        traffic_policy(Some(RoundRobin), Some(100)),
        8080,
        traffic_policy(Some(LeastConn), None),
    );
    let v2 = for_port(
        traffic_policy(None, Some(80)),
        9090,
        traffic_policy(Some(Random), None),
    );
    let mut rule = rule("forecast");
    rule.traffic_policy = Some(service);
    rule.subsets = vec![
        subset("v1", &[("version", "v1")]),
        Subset {
            traffic_policy: Some(v2),
            ..subset("v2", &[("version", "v2")])
        },
    ];
    let rules = chain([rule]);

    for (subset, port, expected, why) in [
        (
            None,
            80,
            (Some(RoundRobin), Some(100)),
            "the service's own values",
        ),
        (
            None,
            8080,
            (Some(LeastConn), None),
            "what the port does not mention is the default, not the service's",
        ),
        (
            Some("v1"),
            80,
            (Some(RoundRobin), Some(100)),
            "a subset without policy follows the service",
        ),
        (Some("v1"), 8080, (Some(LeastConn), None), "and its ports"),
        (
            Some("v2"),
            80,
            (Some(RoundRobin), Some(80)),
            "what the subset does not mention is the service's",
        ),
        (
            Some("v2"),
            8080,
            (Some(LeastConn), Some(80)),
            "the subset wins over the port of the service",
        ),
        (
            Some("v2"),
            9090,
            (Some(Random), Some(100)),
            "the port of the subset falls back to the service, not the subset",
        ),
    ] {
        assert_eq!(
            in_force(&rules, subset, port),
            expected,
            "{subset:?} {port}: {why}"
        );
    }
}

/// the second rule gives the policy when the first has none.
#[test]
fn r_dr_11_rules_for_one_host_share_their_subsets_and_the_first_policy() {
    let mut without_policy = rule("forecast");
    without_policy.subsets = vec![subset("v1", &[("version", "v1")])];
    let mut first_policy = rule("forecast");
    first_policy.traffic_policy = Some(traffic_policy(None, Some(1)));
    first_policy.subsets = vec![
        subset("v1", &[("version", "other")]),
        subset("v2", &[("version", "v2")]),
    ];
    let mut second_policy = rule("forecast");
    second_policy.traffic_policy = Some(traffic_policy(None, Some(2)));
    let rules = chain([without_policy, first_policy, second_policy]);

    assert_eq!(in_force(&rules, None, 80), (None, Some(1)));
    let names: Vec<_> = subsets(&rules)
        .map(|(_, subset)| (&*subset.name, &*subset.labels["version"]))
        .collect();
    assert_eq!(names, [("v1", "v1"), ("v2", "v2")]);
    let warnings = duplicate_subsets(&rules);
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].kind, WarningKind::DuplicateSubset);
    assert_eq!(&*warnings[0].object.name, "rule-1");
}

#[test]
fn no_rule_means_defaults() {
    assert_eq!(policy(&[], None, 80), Policy::default());
    assert!(find_subset(&[], "v1").is_none());
}
