//! Behaviour of the Consul registry: what an answer of the agent makes of the model.

mod agent;

use mesh_config::{Kind, Str};
use mesh_runtime::{Metrics, Spawner};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::decode;
use super::{Instance, Instances};
use crate::Platform;
use crate::fixture::{World, service_entry};

const FORECAST: &str = "forecast.service.consul";

fn decoded(entries: &[Value]) -> Instances {
    decode::instances(json!(entries).to_string().as_bytes()).expect("a list")
}

fn instances(entries: &[Value]) -> Vec<Instance> {
    let decoded = decoded(entries);
    assert_eq!(decoded.problems, Vec::<String>::new());
    decoded.instances
}

/// An instance as the agent gives it; `more` replaces fields of its service.
fn entry(id: &str, address: &str, port: u16, more: &Value) -> Value {
    let mut service = json!({
        "ID": id, "Service": "forecast", "Tags": null, "Address": address, "Meta": null, "Port": port,
        "Weights": {"Passing": 1, "Warning": 1},
    });
    for (key, value) in more.as_object().expect("fields") {
        service[key] = value.clone();
    }
    json!({ "Node": {"Node": "n1", "Address": "10.2.0.9", "Datacenter": "dc1"}, "Service": service, "Checks": [] })
}

fn world() -> World {
    World::of_platforms(&[Platform::Kubernetes, Platform::Consul])
}

#[test]
fn p4_4_a_service_has_the_ports_of_its_instances_and_their_protocols() {
    for (metas, expected) in [
        (&[(80, json!(null))][..], "http:80/HTTP"),
        (&[(80, json!({"protocol": "GRPC"}))], "grpc:80/GRPC"),
        (&[(80, json!({"protocol": "smtp"}))], "tcp:80/TCP"),
        (
            &[
                (81, json!({"protocol": "tcp"})),
                (80, json!({"protocol": "http2"})),
            ],
            "http2-80:80/HTTP2,tcp-81:81/TCP",
        ),
    ] {
        let entries: Vec<Value> = metas
            .iter()
            .map(|(port, meta)| entry("a", "10.2.0.1", *port, &json!({ "Meta": meta })))
            .collect();
        let mut world = world();
        world.set_consul("forecast", instances(&entries));
        assert_eq!(world.services(), [format!("{FORECAST} - ClientSide {expected}")]);
        let service = world.service("forecast");
        assert_eq!(
            service.service_accounts,
            [Str::from("spiffe://cluster.local/ns/default/sa/default")].into()
        );
        assert_eq!(&*service.id.registry, "Consul");
    }
}

#[test]
fn p4_4_labels_come_from_tags_with_a_bar_in_any_order() {
    let tags = ["version|v1", "plain", "zone|b|c", "|empty", "version|v0"];
    let reversed: Vec<&str> = tags.iter().rev().copied().collect();
    for tags in [json!(tags), json!(reversed)] {
        let mut world = world();
        world.set_consul(
            "forecast",
            instances(&[entry("a", "10.2.0.1", 80, &json!({ "Tags": tags }))]),
        );
        assert_eq!(
            world.endpoints(FORECAST).expect("known"),
            ["http 10.2.0.1:80 version=v1,zone=b"]
        );
    }
}

#[test]
fn p4_4_an_instance_without_an_address_has_that_of_its_node() {
    let mut world = world();
    world.set_consul("forecast", instances(&[entry("a", "", 80, &json!({}))]));
    assert_eq!(world.endpoints(FORECAST).expect("known"), ["http 10.2.0.9:80 -"]);
}

#[test]
fn p2_4_the_datacenter_is_the_region_unless_a_label_says_more() {
    for (tags, expected) in [
        (json!([]), ["dc1", "", ""]),
        (json!(["istio-locality|r.z.s"]), ["r", "z", "s"]),
    ] {
        let instances = instances(&[entry("a", "10.2.0.1", 80, &json!({ "Tags": tags }))]);
        let locality = &instances[0].locality;
        assert_eq!(
            [&*locality.region, &*locality.zone, &*locality.sub_zone],
            expected
        );
    }
}

#[test]
fn p4_4_the_meta_key_external_puts_a_service_outside_of_the_mesh() {
    let mut world = world();
    let external = entry(
        "a",
        "192.0.2.1",
        443,
        &json!({"Meta": {"external": "db.example.com", "protocol": "https"}}),
    );
    world.set_consul("forecast", instances(&[external]));
    assert!(world.service("forecast").mesh_external);
    assert_eq!(
        world.services(),
        [format!("{FORECAST} - Passthrough https:443/HTTPS")]
    );
}

#[test]
fn p4_4_critical_instances_get_no_requests_and_are_workloads_all_the_same() {
    let with_checks = |id: &str, address: &str, statuses: &[&str]| {
        let mut entry = entry(
            id,
            address,
            80,
            &json!({"Weights": {"Passing": 10, "Warning": 2}}),
        );
        let checks = statuses.iter().map(|status| json!({ "Status": status }));
        entry["Checks"] = checks.collect();
        entry
    };
    let mut world = world();
    world.set_consul(
        "forecast",
        instances(&[
            with_checks("a", "10.2.0.1", &["passing", "passing"]),
            with_checks("b", "10.2.0.2", &["passing", "warning"]),
            with_checks("c", "10.2.0.3", &["critical", "passing"]),
        ]),
    );
    let published = world.published();
    let known = published.endpoints.get(FORECAST).expect("known");
    let weights: Vec<u32> = known.iter().map(|endpoint| endpoint.weight).collect();
    assert_eq!(weights, [10, 2]);
    assert_eq!(
        world.workload("10.2.0.3").expect("known"),
        ["default/ -", "forecast.service.consul:80->80"]
    );
    // Its end is no news for the service itself.
    world.publish();
    world.set_consul(
        "forecast",
        instances(&[with_checks("c", "10.2.0.3", &["critical"])]),
    );
    assert!(world.publish().is_incremental());
    assert_eq!(world.endpoints(FORECAST), Some(vec![]));
}

#[test]
fn p4_4_an_instance_that_cannot_be_used_harms_only_itself_and_is_named_with_its_field() {
    let good = entry("good", "10.2.0.1", 80, &json!({}));
    let mut bad_check = entry("check", "10.2.0.2", 80, &json!({}));
    bad_check["Checks"] = json!([{"Status": "passing"}, {"Status": 1}]);
    for (bad, problem) in [
        (
            entry("a", "db.example.com", 80, &json!({})),
            "instance \"a\": Service.Address is not an IP address",
        ),
        (
            entry("a", "10.2.0.2", 0, &json!({})),
            "instance \"a\": Service.Port is not a port from 1 to 65535",
        ),
        (
            entry("a", "10.2.0.2", 80, &json!({"Port": "80"})),
            "instance \"a\": Service.Port is not a port from 1 to 65535",
        ),
        (
            entry("a", "10.2.0.2", 80, &json!({"Tags": "x"})),
            "instance \"a\": Service.Tags is not a list",
        ),
        (
            entry("a", "10.2.0.2", 80, &json!({"Meta": {"protocol": 1}})),
            "instance \"a\": Service.Meta.protocol is not a string",
        ),
        (
            entry("a", "10.2.0.2", 80, &json!({"Weights": {"Passing": -1}})),
            "instance \"a\": Service.Weights.Passing is not a weight",
        ),
        (bad_check, "instance \"check\": Checks[1].Status is not a string"),
        (json!(7), "instance 0: it is not an object"),
        (json!({}), "instance 0: Node is not an object"),
    ] {
        let decoded = decoded(&[bad, good.clone()]);
        assert_eq!(decoded.problems, [problem]);
        assert_eq!(decoded.instances, instances(std::slice::from_ref(&good)));
    }
    for body in ["", "{}", "null", "[", "7"] {
        assert!(decode::instances(body.as_bytes()).is_err(), "{body}");
        assert!(
            body == "{}" || decode::catalog(body.as_bytes()).is_err(),
            "{body}"
        );
    }
}

#[test]
fn p4_4_two_protocols_on_one_port_are_that_of_the_first_instance() {
    let decoded = decoded(&[
        entry("b", "10.2.0.2", 80, &json!({"Meta": {"protocol": "tcp"}})),
        entry("a", "10.2.0.1", 80, &json!({"Meta": {"protocol": "http"}})),
    ]);
    assert_eq!(
        decoded.problems,
        ["instance \"b\": Service.Meta.protocol is TCP where instance \"a\" has HTTP on port 80"]
    );
    let mut world = world();
    world.set_consul("forecast", decoded.instances);
    assert_eq!(
        world.services(),
        [format!("{FORECAST} - ClientSide http:80/HTTP")]
    );
    assert_eq!(
        world.endpoints(FORECAST).map(|endpoints| endpoints.len()),
        Some(2)
    );
}

/// `R-S-4`.
#[test]
fn p4_1_registries_that_know_the_same_host_keep_apart() {
    let mut world = world();
    // Even the names of the defining objects are the same.
    let entry_of = |address: &str| {
        service_entry(
            "forecast",
            &format!(
                "{{hosts: [{FORECAST}], location: MESH_INTERNAL, resolution: STATIC,
                  ports: [{{number: 80, name: http, protocol: HTTP}}], endpoints: [{{address: {address}}}]}}"
            ),
        )
        .replace("weather", "default")
    };
    world.set(&entry_of("10.1.0.1"));
    world.set_consul("forecast", instances(&[entry("a", "10.2.0.1", 80, &json!({}))]));
    assert_eq!(world.services().len(), 2);
    assert_eq!(
        world.endpoints(FORECAST).expect("known"),
        ["http 10.2.0.1:80 -", "http 10.1.0.1:80 -"]
    );
    world.set_consul("forecast", Vec::new());
    assert_eq!(world.services().len(), 1);
    assert_eq!(world.endpoints(FORECAST).expect("known"), ["http 10.1.0.1:80 -"]);
    world.set_consul("forecast", instances(&[entry("a", "10.2.0.1", 80, &json!({}))]));
    world.remove_key(mesh_config::ConfigKey::new(
        Kind::ServiceEntry,
        "default",
        "forecast",
    ));
    assert_eq!(world.endpoints(FORECAST).expect("known"), ["http 10.2.0.1:80 -"]);
}

#[test]
fn p4_1_a_registry_that_is_not_asked_for_knows_nothing() {
    let mut world = World::of_platforms(&[Platform::Consul]);
    world.set(&crate::fixture::service(
        "forecast",
        "{ports: [{name: http, port: 80}]}",
    ));
    assert_eq!(world.services(), Vec::<String>::new());
    let mut world = World::of_platforms(&[Platform::Mcp]);
    world.set(&crate::fixture::service(
        "forecast",
        "{ports: [{name: http, port: 80}]}",
    ));
    world.set_consul("forecast", instances(&[entry("a", "10.2.0.1", 80, &json!({}))]));
    assert_eq!(world.services().len(), 1);
}

proptest! {
    /// Equal instances in any order are equal services, endpoints and workloads (P4.4).
    #[test]
    fn p4_4_any_history_of_a_catalog_with_the_same_end_gives_the_same_model(
        events in prop::collection::vec((0..3usize, prop::collection::vec((0..4u8, 0..3u16), 0..4)), 0..12),
    ) {
        let of = |choice: &[(u8, u16)]| {
            let entries: Vec<Value> = choice
                .iter()
                .map(|(host, port)| {
                    let protocol = if *host == 0 { "tcp" } else { "http" };
                    entry("a", &format!("10.2.0.{host}"), 80 + port, &json!({
                        "Tags": [format!("version|v{host}")], "Meta": {"protocol": protocol},
                    }))
                })
                .collect();
            decoded(&entries).instances
        };
        let mut history = world();
        let mut end = std::collections::BTreeMap::new();
        for (service, choice) in events {
            history.set_consul(&format!("s{service}"), of(&choice));
            end.insert(service, choice);
        }
        let mut direct = world();
        for (service, mut choice) in end.into_iter().rev() {
            choice.reverse();
            direct.set_consul(&format!("s{service}"), of(&choice));
        }
        prop_assert_eq!(history.content(), direct.content());
    }
}
