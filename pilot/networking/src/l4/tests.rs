use mesh_api::istio::networking::v1alpha3::port_selector::Port as Selector;
use mesh_api::istio::networking::v1alpha3::{
    Destination, L4MatchAttributes, PortSelector, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute,
    VirtualService,
};
use mesh_config::{Host, Labels};
use pilot_model::{MESH_GATEWAY, WarningKind};
use proptest::prelude::*;

use super::first_match::Slot;
use super::select::Selected;
use super::*;
use crate::fixture::{Mesh, service};
use crate::target::Place;

fn to(host: &str, port: u32, weight: i32) -> RouteDestination {
    RouteDestination {
        destination: Some(Destination {
            host: host.to_owned(),
            port: (port != 0).then_some(PortSelector {
                port: Some(Selector::Number(port)),
            }),
            ..Destination::default()
        }),
        weight,
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

fn select(object: VirtualService, place: Place<'_>) -> [Selected; 2] {
    let published = Mesh::new()
        .service(service("forecast", "10.96.0.1", &[("tcp", 23003)]))
        .service(service("inner", "10.96.0.2", &[("tcp", 3003), ("tls", 443)]))
        .service(service("headless", "", &[("tcp", 9042)]))
        .virtual_service("default", "rules", object)
        .publish();
    let view = published.snapshot.view("default");
    let object = published.snapshot.virtual_services.iter().next().expect("one");
    [tls_rules(&view, object, place), tcp_rules(&view, object, place)]
}

fn place(port: u16) -> Place<'static> {
    Place {
        gateway: MESH_GATEWAY,
        port,
        source_selectors: &[],
    }
}

fn clusters(selected: &Selected) -> Vec<Vec<(&str, u32)>> {
    selected
        .rules
        .iter()
        .map(|rule| {
            rule.route
                .clusters
                .iter()
                .map(|cluster| (&*cluster.name, cluster.weight))
                .collect()
        })
        .collect()
}

fn tcp(matches: Vec<L4MatchAttributes>, route: Vec<RouteDestination>) -> TcpRoute {
    TcpRoute {
        r#match: matches,
        route,
    }
}

fn forecast(tcp: Vec<TcpRoute>) -> VirtualService {
    VirtualService {
        hosts: vec!["forecast".to_owned()],
        tcp,
        ..VirtualService::default()
    }
}

#[test]
fn ex_26_a_tcp_rule_leads_to_another_service_and_port() {
    let on_port = L4MatchAttributes {
        port: 23003,
        ..L4MatchAttributes::default()
    };
    let object = forecast(vec![tcp(vec![on_port], vec![to("inner", 3003, 0)])]);
    let [tls, tcp] = select(object.clone(), place(23003));
    assert!(tls.rules.is_empty() && !tls.is_meant);
    assert_eq!(
        clusters(&tcp),
        [[("outbound|3003||inner.default.svc.cluster.local", 100)]]
    );
    assert!(tcp.rules[0].catches_all());
    assert_eq!(tcp.warnings, []);
    assert!(!select(object, place(9000))[1].is_meant);
}

#[test]
fn ex_27_source_labels_and_gateways_both_count() {
    let source = L4MatchAttributes {
        source_labels: [("app".to_owned(), "frontend".to_owned())].into(),
        ..L4MatchAttributes::default()
    };
    let of_gateway = L4MatchAttributes {
        gateways: vec!["edge".to_owned()],
        ..L4MatchAttributes::default()
    };
    let rules = vec![
        tcp(vec![source], vec![to("inner", 3003, 0)]),
        tcp(vec![of_gateway], vec![to("headless", 9042, 0)]),
    ];
    let object = VirtualService {
        gateways: vec!["mesh".to_owned(), "edge".to_owned()],
        ..forecast(rules)
    };
    let frontend = [labels(&[("app", "frontend")])];
    let inner = [[("outbound|3003||inner.default.svc.cluster.local", 100)]];
    let headless = [[("outbound|9042||headless.default.svc.cluster.local", 100)]];

    let [_, diverted] = select(
        object.clone(),
        Place {
            source_selectors: &frontend,
            ..place(23003)
        },
    );
    assert_eq!(clusters(&diverted), inner);
    assert!(!diverted.rules[0].route.is_passthrough);
    assert!(select(object.clone(), place(23003))[1].rules.is_empty());
    let [_, at_gateway] = select(
        object,
        Place {
            gateway: "default/edge",
            ..place(23003)
        },
    );
    assert_eq!(clusters(&at_gateway), headless);
    assert!(at_gateway.rules[0].route.is_passthrough);
}

#[test]
fn r_vs_7_nothing_follows_a_rule_without_conditions() {
    let subnet = |subnets: &[&str]| L4MatchAttributes {
        destination_subnets: subnets.iter().map(|subnet| (*subnet).to_owned()).collect(),
        ..L4MatchAttributes::default()
    };
    let object = forecast(vec![
        tcp(
            vec![subnet(&["10.1.2.3/16", "10.9.9.9"])],
            vec![to("inner", 3003, 0)],
        ),
        tcp(Vec::new(), vec![to("forecast", 0, 80), to("inner", 3003, 20)]),
        tcp(Vec::new(), vec![to("unreachable", 0, 0)]),
    ]);
    let [_, selected] = select(object, place(23003));
    assert_eq!(
        clusters(&selected)[1],
        [
            ("outbound|23003||forecast.default.svc.cluster.local", 80),
            ("outbound|3003||inner.default.svc.cluster.local", 20),
        ]
    );
    assert_eq!(selected.rules.len(), 2);
    let ranges: Vec<String> = selected.rules[0].ranges.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["10.1.0.0/16", "10.9.9.9/32"]);
    assert_eq!(selected.warnings, [], "what cannot be reached is not looked at");
}

#[test]
fn r_vs_12_to_14_weights_and_what_does_not_exist() {
    let object = forecast(vec![tcp(
        Vec::new(),
        vec![to("inner", 3003, 0), to("nowhere", 0, 50), to("inner", 1, 50)],
    )]);
    let [_, selected] = select(object, place(23003));
    assert_eq!(
        clusters(&selected),
        [[
            ("outbound|23003||nowhere.default.svc.cluster.local", 50),
            ("outbound|1||inner.default.svc.cluster.local", 50),
        ]]
    );
    let kinds: Vec<_> = selected.warnings.iter().map(|warning| warning.kind).collect();
    assert_eq!(kinds, [WarningKind::UnknownHost, WarningKind::UnknownPort]);
    assert!(selected.warnings[0].reason.ends_with("connections are closed"));
}

#[test]
fn section_5_13_tls_rules_match_names_of_their_own_hosts() {
    let names = |names: &[&str]| TlsMatchAttributes {
        sni_hosts: names.iter().map(|name| (*name).to_owned()).collect(),
        ..TlsMatchAttributes::default()
    };
    let object = VirtualService {
        hosts: vec!["*.weather.com".to_owned()],
        tls: vec![
            TlsRoute {
                r#match: vec![names(&["A.weather.com", "*.b.weather.com", "elsewhere.com"])],
                route: vec![to("inner", 443, 0)],
            },
            TlsRoute {
                r#match: vec![names(&["*-c.weather.com"]), names(&["*.weather.com"])],
                route: vec![to("headless", 9042, 0)],
            },
        ],
        ..VirtualService::default()
    };
    let [selected, _] = select(object, place(443));
    let matched: Vec<Vec<String>> = selected
        .rules
        .iter()
        .map(|rule| rule.server_names.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(
        matched,
        [vec!["*.b.weather.com", "a.weather.com"], vec!["*.weather.com"]]
    );
    let reasons: Vec<&str> = selected.warnings.iter().map(|warning| &*warning.reason).collect();
    assert_eq!(
        reasons,
        [
            "tls[0].match[0].sniHosts[2]: \"elsewhere.com\" is covered by no host of the virtual service, it is left out",
            "tls[1].match[0].sniHosts[0]: \"*-c.weather.com\" cannot be told from others by TLS server name, it is left out",
        ]
    );
}

#[test]
fn a_faulty_match_does_not_become_broader() {
    let faulty = L4MatchAttributes {
        destination_subnets: vec!["10.0.0.0/99".to_owned()],
        ..L4MatchAttributes::default()
    };
    let from = L4MatchAttributes {
        source_subnet: "10.0.0.0/8".to_owned(),
        ..L4MatchAttributes::default()
    };
    let [_, selected] = select(
        forecast(vec![tcp(vec![faulty, from], vec![to("inner", 3003, 0)])]),
        place(23003),
    );
    assert!(selected.rules.is_empty() && selected.is_meant);
    assert_eq!(selected.warnings.len(), 2);
}

#[test]
fn ports_that_matches_name_are_found_for_the_callers_they_are_meant_for() {
    let named = |port, app: &str| L4MatchAttributes {
        port,
        source_labels: [("app".to_owned(), app.to_owned())].into(),
        ..L4MatchAttributes::default()
    };
    let published = Mesh::new()
        .virtual_service(
            "default",
            "rules",
            forecast(vec![tcp(
                vec![named(1, "a"), named(2, "b"), named(0, "a")],
                Vec::new(),
            )]),
        )
        .publish();
    let object = published.snapshot.virtual_services.iter().next().expect("one");
    let satisfied = [labels(&[("app", "a")])];
    let place = Place {
        source_selectors: &satisfied,
        ..place(0)
    };
    assert_eq!(named_ports(object, place), [(1, false)].into());
}

fn rule(names: &[&str], ranges: &[&str]) -> Rule {
    Rule {
        server_names: names
            .iter()
            .map(|name| ServerName::new(name).expect("a name"))
            .collect(),
        ranges: ranges
            .iter()
            .map(|range| range.parse().expect("a range"))
            .collect(),
        route: Arc::new(Route::to_cluster("x".into(), false)),
    }
}

fn slots(rules: &[Rule]) -> Vec<(String, String, usize)> {
    first_match(rules)
        .into_iter()
        .map(|slot| {
            let range = slot.range.map_or_else(String::new, |range| range.to_string());
            let name = slot.server_name.map_or_else(String::new, |name| name.to_string());
            (range, name, slot.rule)
        })
        .collect()
}

#[test]
fn section_5_13_of_two_rules_with_the_same_match_only_the_first_counts() {
    let found = slots(&[rule(&["a", "b"], &[]), rule(&["b", "c"], &[]), rule(&["a"], &[])]);
    let expected = [("", "a", 0), ("", "b", 0), ("", "c", 1)];
    assert_eq!(found, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c)));
}

#[test]
fn r_vs_6_a_wider_rule_before_a_narrower_one_wins() {
    let found = slots(&[
        rule(&["*.a.com"], &[]),
        rule(&["www.a.com"], &[]),
        rule(&[], &["10.0.0.0/8"]),
        rule(&["*.com"], &[]),
    ]);
    let expected = [
        ("", "*.a.com", 0),
        ("", "*.com", 3),
        ("10.0.0.0/8", "*.a.com", 0),
        ("10.0.0.0/8", "", 2),
    ];
    assert_eq!(found, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c)));
}

/// What Envoy does: the smallest range, then the longest name, and no way back.
fn envoy_chooses(slots: &[Slot], address: std::net::IpAddr, name: &ServerName) -> Option<usize> {
    let covers = |range: &Option<IpNet>| range.is_none_or(|range| range.contains(&address));
    let size = |range: &Option<IpNet>| range.map_or(-1, |range| i16::from(range.prefix_len()));
    let range = slots
        .iter()
        .map(|slot| slot.range)
        .filter(|range| covers(range))
        .max_by_key(size)?;
    let here = || slots.iter().filter(|slot| slot.range == range);
    let named = |name: &ServerName| here().find(|slot| slot.server_name.as_ref() == Some(name));
    let wildcard = || name.wider().find_map(|wider| named(&wider));
    named(name)
        .or_else(wildcard)
        .or_else(|| here().find(|slot| slot.server_name.is_none()))
        .map(|slot| slot.rule)
}

proptest! {
    /// R-VS-6: what Envoy chooses is the first rule that holds.
    #[test]
    fn r_vs_6_envoy_chooses_the_first_rule_that_holds(
        rules in proptest::collection::vec(
            (
                proptest::sample::subsequence(vec!["a.x.y", "*.x.y", "b.x.y", "*.y", "c.y"], 0..3),
                proptest::sample::subsequence(vec!["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "11.0.0.0/8"], 0..3),
            ),
            0..6,
        ),
        name in proptest::sample::select(vec!["a.x.y", "b.x.y", "d.x.y", "c.y", "z"]),
        address in proptest::sample::select(vec!["10.0.0.1", "10.1.0.1", "10.1.2.1", "11.0.0.1", "12.0.0.1"]),
    ) {
        let rules: Vec<Rule> = rules.iter().map(|(names, ranges)| rule(names, ranges)).collect();
        let name = ServerName::new(name).expect("a name");
        let address = address.parse().expect("an address");
        let holds = |rule: &Rule| {
            let by_name = rule.server_names.iter().any(|own| name.is_subset_of(&Host::new(own.to_string())));
            let by_address = rule.ranges.iter().any(|range| range.contains(&address));
            (rule.server_names.is_empty() || by_name) && (rule.ranges.is_empty() || by_address)
        };
        let slots = first_match(&rules);
        prop_assert_eq!(envoy_chooses(&slots, address, &name), rules.iter().position(holds));
        let mut places: Vec<_> = slots.iter().map(|slot| (slot.range, slot.server_name.clone())).collect();
        places.sort();
        places.dedup();
        prop_assert_eq!(places.len(), slots.len(), "no two chains have the same match");
    }
}
