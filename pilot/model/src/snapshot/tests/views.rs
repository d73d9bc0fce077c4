//! Who sees what.

use std::collections::BTreeSet;

use mesh_api::istio::networking::v1alpha3::{L4MatchAttributes, TcpRoute};
use mesh_config::{Kind, Labels};

use super::mesh::*;
use crate::{Builder, Change, ConfigSpec, ScopedView, Service};

fn published(changes: Vec<Change>) -> Builder {
    let mut builder = builder();
    apply(&mut builder, changes);
    builder
}

fn service_names(view: &ScopedView) -> Vec<String> {
    view.services()
        .map(|service| format!("{}/{}", service.id.namespace, service.id.name))
        .collect()
}

fn rule_names(view: &ScopedView, service: &Service) -> Vec<String> {
    let chain = view.rules(service).into_iter().flat_map(|chain| chain.iter());
    chain.map(|rule| rule.key.resource_name()).collect()
}

fn strings(hosts: &BTreeSet<mesh_config::Host>) -> Vec<&str> {
    hosts.iter().map(mesh_config::Host::as_str).collect()
}

#[test]
fn p15_1_services_of_the_own_namespace_come_first_then_the_oldest() {
    let mut builder = published(vec![
        added(service("a", "young", 9)),
        added(service("b", "old", 1)),
        added(private(service("a", "own", 5))),
        added(private(service("b", "hidden", 2))),
    ]);
    let snapshot = builder.publish().snapshot;
    assert_eq!(service_names(&snapshot.view("a")), ["a/own", "b/old", "a/young"]);
    assert_eq!(
        service_names(&snapshot.view("b")),
        ["b/hidden", "b/old", "a/young"]
    );
    assert_eq!(service_names(&snapshot.view("c")), ["b/old", "a/young"]);
}

#[test]
fn a_host_means_the_private_service_of_the_namespace_then_the_oldest_public_one() {
    let external =
        |namespace: &str, created| with_host(service(namespace, "entry", created), "api.example.com");
    let mut builder = published(vec![
        added(external("a", 5)),
        added(external("b", 3)),
        added(private(external("c", 9))),
    ]);
    let snapshot = builder.publish().snapshot;
    let owner = |namespace: &str| {
        let view = snapshot.view(namespace);
        view.service("api.example.com")
            .map(|service| service.id.namespace.to_string())
    };
    for (namespace, expected) in [("a", "b"), ("b", "b"), ("c", "c"), ("d", "b")] {
        assert_eq!(
            owner(namespace).as_deref(),
            Some(expected),
            "seen from {namespace}"
        );
    }
    let view = snapshot.view("c");
    let all: Vec<_> = view
        .services_of("api.example.com")
        .map(|service| service.id.namespace.to_string())
        .collect();
    assert_eq!(all, ["c", "b", "a"]);
    assert!(view.service("unknown.example.com").is_none());
    assert_eq!(snapshot.view("a").http_services(80).count(), 2);
}

#[test]
fn r_dr_10_rules_are_looked_up_in_the_clients_then_the_services_then_the_root_namespace() {
    let called = service("services", "forecast", 1);
    let own = || destination_rule("clients", "own", "forecast.services.svc.cluster.local", ".");
    let exported = || destination_rule("services", "exported", "forecast", "");
    let hidden = || destination_rule("services", "hidden", "forecast", ".");
    let root = || destination_rule("istio-system", "root", "*.svc.cluster.local", "");
    let cases: [(&str, Vec<Change>, &str, &[&str]); 9] = [
        ("no rule", vec![], "clients", &[]),
        (
            "the client's own",
            vec![own(), exported(), root()],
            "clients",
            &["clients/own"],
        ),
        (
            "another client",
            vec![own(), exported(), root()],
            "others",
            &["services/exported"],
        ),
        (
            "the root's",
            vec![own(), root()],
            "others",
            &["istio-system/root"],
        ),
        (
            "not exported",
            vec![hidden(), root()],
            "others",
            &["istio-system/root"],
        ),
        (
            "not exported, own",
            vec![hidden(), root()],
            "services",
            &["services/hidden"],
        ),
        (
            "hits are not merged",
            vec![hidden(), exported()],
            "others",
            &["services/exported"],
        ),
        (
            "the root namespace has no rules of its own",
            vec![
                destination_rule(
                    "istio-system",
                    "private",
                    "forecast.services.svc.cluster.local",
                    ".",
                ),
                exported(),
            ],
            "istio-system",
            &["services/exported"],
        ),
        (
            "the most specific host of a namespace",
            vec![
                destination_rule("clients", "all", "*", ""),
                destination_rule("clients", "domain", "*.svc.cluster.local", ""),
                destination_rule("clients", "namespace", "*.services.svc.cluster.local", ""),
            ],
            "clients",
            &["clients/namespace"],
        ),
    ];
    for (case, mut changes, client, expected) in cases {
        changes.push(added(called.clone()));
        let snapshot = published(changes).publish().snapshot;
        assert_eq!(rule_names(&snapshot.view(client), &called), expected, "{case}");
    }
}

#[test]
fn r_dr_11_rules_for_the_same_host_form_a_chain_oldest_first() {
    let called = service("services", "forecast", 1);
    let mut builder = published(vec![
        added(called.clone()),
        created(3, destination_rule("services", "a", "forecast", "")),
        created(
            1,
            destination_rule("services", "c", "forecast.services.svc.cluster.local", ""),
        ),
        created(2, destination_rule("services", "b", "forecast", ".")),
    ]);
    let snapshot = builder.publish().snapshot;
    assert_eq!(
        rule_names(&snapshot.view("services"), &called),
        ["services/c", "services/b", "services/a"]
    );
    assert_eq!(
        rule_names(&snapshot.view("clients"), &called),
        ["services/c", "services/a"]
    );
}

#[test]
fn hosts_differ_only_where_the_namespace_sees_something_else() {
    let mut builder = published(vec![
        added(service("b", "plain", 1)),
        added(service("b", "ruled", 1)),
        added(service("b", "covered", 1)),
        added(private(service("a", "own", 1))),
        destination_rule("a", "exact", "ruled.b.svc.cluster.local", "."),
        destination_rule("a", "nobody", "nobody.example.com", "."),
        destination_rule("c", "wildcard", "*.b.svc.cluster.local", ""),
        // A rule that the service's own namespace exports is what everybody follows.
        destination_rule("b", "exported", "plain", ""),
        destination_rule("istio-system", "root", "*.svc.cluster.local", ""),
    ]);
    let snapshot = builder.publish().snapshot;
    let differing = |namespace: &str| {
        let view = snapshot.view(namespace);
        strings(view.differing_hosts())
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        differing("a"),
        ["own.a.svc.cluster.local", "ruled.b.svc.cluster.local"]
    );
    assert_eq!(differing("b"), Vec::<String>::new());
    assert_eq!(
        differing("c"),
        [
            "covered.b.svc.cluster.local",
            "plain.b.svc.cluster.local",
            "ruled.b.svc.cluster.local"
        ]
    );
    assert_eq!(differing("istio-system"), Vec::<String>::new());
    assert_eq!(differing("elsewhere"), Vec::<String>::new());
}

#[test]
fn r_n_6_virtual_services_are_seen_where_they_are_exported_to_own_ones_first() {
    let mut builder = published(vec![
        created(1, virtual_service("b", "public", &["reviews.b"], &[], "")),
        created(2, virtual_service("a", "own", &["reviews.b"], &[], ".")),
        created(
            3,
            virtual_service("a", "public", &["reviews.b"], &["mesh", "edge"], "*"),
        ),
        created(4, virtual_service("a", "edge", &["reviews.b"], &["edge"], ".")),
    ]);
    let snapshot = builder.publish().snapshot;
    let seen = |namespace: &str| {
        let view = snapshot.view(namespace);
        view.mesh_virtual_services()
            .map(|object| object.key.resource_name())
            .collect::<Vec<_>>()
    };
    assert_eq!(seen("a"), ["a/own", "b/public", "a/public"]);
    assert_eq!(seen("b"), ["b/public", "a/public"]);
    let view = snapshot.view("a");
    let rules: Vec<_> = view
        .mesh_http_rules(&host("reviews.b"))
        .into_iter()
        .map(|object| object.key.resource_name())
        .collect();
    assert_eq!(rules, ["a/own", "b/public", "a/public"]);
    assert!(view.has_own_virtual_services());
    assert!(!snapshot.view("b").has_own_virtual_services());
}

#[test]
fn r_n_7_a_gateway_binds_what_is_exported_to_its_namespace() {
    let mut builder = published(vec![
        gateway("edge", "main", &[("istio", "ingressgateway")]),
        gateway("edge", "everywhere", &[]),
        virtual_service("edge", "own", &["*"], &["main"], "."),
        virtual_service("apps", "public", &["*"], &["edge/main"], ""),
        virtual_service("apps", "hidden", &["*"], &["edge/main"], "."),
    ]);
    let snapshot = builder.publish().snapshot;
    let view = snapshot.view("edge");
    let ingress: Labels = [("istio", "ingressgateway"), ("app", "istio-ingressgateway")]
        .into_iter()
        .collect();
    let selected: Vec<_> = view
        .gateways(&ingress)
        .map(|gateway| gateway.name.to_string())
        .collect();
    assert_eq!(selected, ["edge/everywhere", "edge/main"]);
    let unlabelled: Vec<_> = view
        .gateways(&Labels::default())
        .map(|gateway| gateway.name.to_string())
        .collect();
    assert_eq!(unlabelled, ["edge/everywhere"]);

    let main = view
        .gateways(&ingress)
        .find(|gateway| &*gateway.name == "edge/main")
        .expect("exists");
    let bound: Vec<_> = view
        .bound_virtual_services(main)
        .map(|object| object.key.resource_name())
        .collect();
    assert_eq!(bound, ["apps/public", "edge/own"]);
    assert!(view.has_gateway("edge/main"));
    assert!(!view.has_gateway("apps/main"));
}

#[test]
fn hosts_without_service_are_reachable_on_the_http_ports_of_their_siblings_else_on_80() {
    let on_port = |port, mut service: Service| {
        service.ports[0].number = port;
        service
    };
    let mut builder = published(vec![
        added(on_port(3002, service("weather", "forecast", 1))),
        added(private(on_port(7000, service("weather", "secret", 1)))),
        virtual_service("weather", "alias", &["forecast", "weather.example.com"], &[], ""),
        virtual_service("weather", "alone", &["alone.example.com"], &[], ""),
        virtual_service("weather", "hidden", &["secret", "hidden.example.com"], &[], ""),
        virtual_service("weather", "own", &["own.example.com"], &[], "."),
    ]);
    let snapshot = builder.publish().snapshot;
    let found = |namespace: &str| {
        let view = snapshot.view(namespace);
        let hosts = view.serviceless_hosts();
        hosts
            .iter()
            .flat_map(|(port, hosts)| hosts.keys().map(move |host| format!("{host}:{port}")))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found("weather"),
        [
            "alone.example.com:80",
            "own.example.com:80",
            "weather.example.com:3002",
            "hidden.example.com:7000",
        ]
    );
    // Elsewhere the private service does not exist, so its name is a host without service as well.
    assert_eq!(
        found("other"),
        [
            "alone.example.com:80",
            "hidden.example.com:80",
            "secret.weather.svc.cluster.local:80",
            "weather.example.com:3002",
        ]
    );
}

#[test]
fn a_view_is_computed_once_and_only_for_its_snapshot() {
    let mut builder = published(vec![added(service("a", "one", 1))]);
    let first = builder.publish().snapshot;
    let view = first.view("a");
    assert!(std::sync::Arc::ptr_eq(&view, &first.view("a")));
    builder.apply(gone(Kind::Gateway, "a", "none"));
    builder.apply(added(service("a", "two", 1)));
    let second = builder.publish().snapshot;
    assert_ne!(view.revs(), second.view("a").revs());
    assert_eq!(service_names(&view), ["a/one"]);
    assert_eq!(service_names(&second.view("a")), ["a/one", "a/two"]);
}

#[test]
fn tls_and_tcp_rules_are_found_by_the_hosts_that_they_overlap_with() {
    let with_tcp = |name: &str, hosts: &[&str], gateways: &[&str], export_to: &str| {
        let change = virtual_service("a", name, hosts, gateways, export_to);
        let Change::Config(meta, ConfigSpec::VirtualService(mut spec)) = change else {
            unreachable!("it is one")
        };
        spec.http.clear();
        spec.tcp.push(TcpRoute {
            r#match: vec![L4MatchAttributes {
                source_labels: [("app".to_owned(), name.to_owned())].into(),
                ..L4MatchAttributes::default()
            }],
            ..TcpRoute::default()
        });
        Change::Config(meta, ConfigSpec::VirtualService(spec))
    };
    let mut builder = published(vec![
        with_tcp("exact", &["www.example.com"], &[], ""),
        with_tcp("wild", &["*.example.com"], &["mesh", "edge"], ""),
        with_tcp("private", &["*.com"], &[], "."),
        with_tcp("elsewhere", &["www.example.com"], &["edge"], ""),
        virtual_service("a", "http", &["www.example.com"], &[], ""),
    ]);
    let snapshot = builder.publish().snapshot;
    let found = |namespace: &str, host: &str| {
        let view = snapshot.view(namespace);
        let objects = view.mesh_l4_rules(&host.into());
        objects
            .iter()
            .map(|object| object.key.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("a", "www.example.com"), ["private", "exact", "wild"]);
    assert_eq!(found("b", "www.example.com"), ["exact", "wild"]);
    assert_eq!(found("b", "*.example.com"), ["exact", "wild"]);
    assert_eq!(found("b", "api.example.com"), ["wild"]);
    assert!(found("b", "example.org").is_empty());

    let view = snapshot.view("b");
    assert_eq!(view.mesh_l4_virtual_services().count(), 2);
    assert_eq!(view.l4_source_selectors().len(), 4);
    assert!(view.source_selectors().is_empty());
}
