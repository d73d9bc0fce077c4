//! Behaviour of ServiceEntries.

use std::collections::BTreeSet;

use mesh_config::Kind;

use crate::fixture::{World, describe_endpoint, service_entry};

const HTTP: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";

fn entry(spec: &str) -> World {
    World::of([service_entry("entry", &format!("{{{spec}}}"))])
}

#[test]
fn p4_5_a_service_for_each_host_and_address() {
    for (spec, expected) in [
        (
            format!("hosts: [api.example.com], resolution: DNS, {HTTP}"),
            vec!["api.example.com - Dns http:80/HTTP"],
        ),
        (
            format!("hosts: [a.example.com, b.example.com], addresses: [10.9.0.1, 10.9.1.7/24], resolution: STATIC, {HTTP}"),
            vec![
                "a.example.com 10.9.0.1 ClientSide http:80/HTTP",
                "a.example.com 10.9.1.0/24 ClientSide http:80/HTTP",
                "b.example.com 10.9.0.1 ClientSide http:80/HTTP",
                "b.example.com 10.9.1.0/24 ClientSide http:80/HTTP",
            ],
        ),
        (
            format!("hosts: [a.example.com], addresses: [10.9.0.1/32, 'fd00::1/128'], resolution: NONE, {HTTP}"),
            vec![
                "a.example.com 10.9.0.1 Passthrough http:80/HTTP",
                "a.example.com fd00::1 Passthrough http:80/HTTP",
            ],
        ),
        (
            "hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: TLS}, {number: 27017, name: db, protocol: MONGO}]"
                .to_owned(),
            vec!["*.example.com - Passthrough tls:443/TLS,db:27017/Mongo"],
        ),
    ] {
        assert_eq!(entry(&spec).services(), expected, "{spec}");
    }
}

#[test]
fn p4_5_endpoints_are_those_of_the_entry_for_each_port() {
    let ports =
        "ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: https, protocol: HTTPS}]";
    let mut world = entry(&format!(
        "hosts: [api.example.com], location: MESH_EXTERNAL, resolution: STATIC, {ports},
         endpoints: [{{address: 10.9.9.1, ports: {{http: 8080}}, labels: {{version: v1}}, weight: 5, locality: r/z/s, network: net-2}},
                     {{address: 'unix:///var/run/api.sock'}}]"
    ));
    assert_eq!(
        world.endpoints("api.example.com").expect("known"),
        [
            "https 10.9.9.1:443 version=v1",
            "http 10.9.9.1:8080 version=v1",
            "http unix:/var/run/api.sock -",
            "https unix:/var/run/api.sock -",
        ]
    );
    let published = world.published();
    let known = published.endpoints.get("api.example.com").expect("known");
    let first = known.iter().next().expect("one");
    assert_eq!((first.weight, &*first.network), (5, "net-2"));
    assert_eq!(
        [
            &*first.locality.region,
            &*first.locality.zone,
            &*first.locality.sub_zone
        ],
        ["r", "z", "s"]
    );
    assert_eq!(known.iter().last().expect("one").weight, 1);
    assert!(
        published.workloads.iter().next().is_none(),
        "it is outside the mesh"
    );
}

#[test]
fn p4_5_names_that_the_proxy_resolves_are_part_of_the_service() {
    for (hosts, endpoints, expected) in [
        ("api.example.com", "", vec!["http api.example.com:80 -"]),
        (
            "api.example.com",
            "endpoints: [{address: us.example.com, ports: {http: 8080}}, {address: eu.example.com}]",
            vec!["http us.example.com:8080 -", "http eu.example.com:80 -"],
        ),
        ("'*.example.com'", "", vec![]),
    ] {
        let mut world = entry(&format!("hosts: [{hosts}], resolution: DNS, {HTTP}, {endpoints}"));
        let service = world.service("entry");
        let own: Vec<String> = service.endpoints.iter().map(describe_endpoint).collect();
        assert_eq!(own, expected, "{hosts} {endpoints}");
        assert_eq!(world.endpoints(service.id.host.as_str()), None);
    }
}

#[test]
fn p4_5_without_resolution_there_are_no_endpoints() {
    let mut world = entry(&format!("hosts: [api.example.com], resolution: NONE, {HTTP}"));
    assert!(world.service("entry").endpoints.is_empty());
    assert_eq!(world.endpoints("api.example.com"), None);
}

#[test]
fn p4_5_location_visibility_and_identities_are_those_of_the_entry() {
    for (spec, external) in [
        ("location: MESH_EXTERNAL, ", true),
        ("location: MESH_INTERNAL, ", false),
        ("", true),
    ] {
        let mut world = entry(&format!(
            "{spec}hosts: [api.example.com], exportTo: ['.'], subjectAltNames: ['spiffe://x/ns/y/sa/z'], {HTTP}"
        ));
        let service = world.service("entry");
        assert_eq!(service.mesh_external, external, "{spec}");
        assert_eq!(service.export_to, pilot_model::Visibility::Private);
        assert_eq!(
            service.service_accounts,
            BTreeSet::from(["spiffe://x/ns/y/sa/z".into()])
        );
    }
}

#[test]
fn an_endpoint_inside_the_mesh_is_a_workload_of_all_entries_that_name_it() {
    let internal = |name: &str, host: &str, port: u16| {
        service_entry(
            name,
            &format!(
                "{{hosts: [{host}], location: MESH_INTERNAL, resolution: STATIC,
                  ports: [{{number: {port}, name: http, protocol: HTTP}}],
                  endpoints: [{{address: 172.16.0.1, ports: {{http: 8080}}, labels: {{app: vm}}}}]}}"
            ),
        )
    };
    let mut world = World::of([
        internal("one", "one.example.com", 80),
        internal("two", "two.example.com", 81),
    ]);
    assert_eq!(
        world.workload("172.16.0.1").expect("known"),
        [
            "weather/ app=vm",
            "one.example.com:80->8080",
            "two.example.com:81->8080"
        ]
    );
    world.remove(Kind::ServiceEntry, "one");
    assert_eq!(
        world.workload("172.16.0.1").expect("known"),
        ["weather/ app=vm", "two.example.com:81->8080"]
    );
    world.remove(Kind::ServiceEntry, "two");
    assert_eq!(world.workload("172.16.0.1"), None);
}

#[test]
fn an_edit_of_the_endpoints_alone_is_no_new_service() {
    let with = |endpoints: &str| {
        service_entry(
            "entry",
            &format!(
                "{{hosts: [api.example.com], location: MESH_INTERNAL, resolution: STATIC, {HTTP}, endpoints: [{endpoints}]}}"
            ),
        )
    };
    let mut world = World::of([with("{address: 172.16.0.1}")]);
    world.set(&with("{address: 172.16.0.1}, {address: 172.16.0.2}"));
    let changes = world.publish();
    assert!(changes.is_incremental(), "{changes:?}");
    assert_eq!(changes.endpoints.len(), 1);
    assert_eq!(
        changes.workloads,
        BTreeSet::from(["172.16.0.2".parse().expect("an address")])
    );

    world.set(&with("{address: 172.16.0.2}, {address: 172.16.0.1}"));
    assert!(world.publish().is_empty(), "the order of endpoints means nothing");

    world.set(&with(""));
    let changes = world.publish();
    assert!(changes.is_incremental());
    assert_eq!(changes.workloads.len(), 2);
    assert_eq!(world.endpoints("api.example.com"), Some(vec![]));
}

#[test]
fn p9_4_entries_for_the_same_host_keep_their_endpoints_apart() {
    let with = |name: &str, address: &str| {
        service_entry(
            name,
            &format!(
                "{{hosts: [api.example.com], resolution: STATIC, {HTTP}, endpoints: [{{address: {address}}}]}}"
            ),
        )
    };
    let mut world = World::of([with("one", "172.16.0.1"), with("two", "172.16.0.2")]);
    let both = ["http 172.16.0.1:80 -", "http 172.16.0.2:80 -"];
    assert_eq!(world.endpoints("api.example.com").expect("known"), both);
    world.remove(Kind::ServiceEntry, "one");
    assert_eq!(world.endpoints("api.example.com").expect("known"), both[1..]);
    world.remove(Kind::ServiceEntry, "two");
    assert_eq!(world.endpoints("api.example.com"), None);
    assert_eq!(world.services(), Vec::<String>::new());
}
