//! What is found by what.

use super::*;

fn facts(address: &str, controller: Option<(&str, &str)>) -> PodFacts {
    PodFacts {
        labels: vec![("app".to_owned(), "forecast".to_owned())],
        controller: controller.map(|(kind, name)| reference(kind, name)),
        containers: vec![
            ("istio-proxy".to_owned(), vec![15090]),
            ("forecast".to_owned(), vec![3002, 3003]),
        ],
        addresses: vec![address.parse().unwrap()],
        ..PodFacts::default()
    }
}

fn reference(kind: &str, name: &str) -> Reference {
    Reference {
        api_version: "apps/v1".to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}

fn at(known: &Known, address: &str) -> Option<KubernetesSide> {
    known.find(&Wanted::new("", address.parse().ok())?, Some(3003))
}

fn text(text: Option<Text<'static>>) -> String {
    text.map(|text| text.to_string()).unwrap_or_default()
}

/// `spec 02` §7.10: what is looked for.
#[test]
fn a_uid_counts_more_than_an_address() {
    let address = "10.0.0.1".parse().ok();
    let uid = |uid: &'static str| Some(Wanted::Uid(uid.into()));
    assert_eq!(
        Wanted::new("kubernetes://a.ns", address),
        uid("kubernetes://a.ns")
    );
    assert_eq!(Wanted::new("a.ns", None), uid("kubernetes://a.ns"));
    assert_eq!(Wanted::new("ns/a", None), uid("kubernetes://a.ns"));
    let mapped = "::ffff:10.0.0.1".parse().ok();
    for wanted in [
        Wanted::new("", address),
        Wanted::new("", mapped),
        Wanted::new("10.0.0.1", None),
    ] {
        assert_eq!(wanted, address.map(Wanted::Address));
    }
    for nothing in ["0.0.0.0", "::"] {
        assert_eq!(Wanted::new("", nothing.parse().ok()), None);
    }
    assert_eq!(Wanted::new("", None), None);
}

/// `spec 02` §7.10: through ReplicaSet and ReplicationController, and not through other kinds.
#[test]
fn the_workload_is_the_last_controller() {
    let mut known = Known::default();
    let workload = |known: &Known| {
        let side = at(known, "10.0.0.1").unwrap();
        (text(side.workload_uid), text(side.owner))
    };
    let of = |kind: &str, name: &str| {
        (
            format!("istio://ns/workloads/{name}"),
            format!("kubernetes://apis/apps/v1/namespaces/ns/{kind}s/{name}"),
        )
    };
    known.insert(
        "ns",
        "forecast-1-x",
        facts("10.0.0.1", Some(("ReplicaSet", "forecast-1"))),
    );
    assert_eq!(workload(&known), of("replicaset", "forecast-1"));
    let deployment = reference("Deployment", "forecast");
    known.insert_controller(Between::ReplicaSet, "ns", "forecast-1", Some(&deployment));
    assert_eq!(workload(&known), of("deployment", "forecast"));
    known.insert_controller(Between::ReplicaSet, "other", "forecast-1", None);
    assert_eq!(workload(&known), of("deployment", "forecast"));
    // A circle ends.
    let itself = reference("ReplicaSet", "forecast-1");
    known.insert_controller(Between::ReplicaSet, "ns", "forecast-1", Some(&itself));
    assert_eq!(workload(&known), of("replicaset", "forecast-1"));
    known.insert("ns", "forecast-1-x", facts("10.0.0.1", Some(("Job", "once"))));
    assert_eq!(workload(&known), of("job", "once"));
    known.insert("ns", "forecast-1-x", facts("10.0.0.1", None));
    let itself = (
        "istio://ns/workloads/forecast-1-x".to_owned(),
        "/api/v1/namespaces/ns/pods/forecast-1-x".to_owned(),
    );
    assert_eq!(workload(&known), itself);
}

#[test]
fn an_address_names_the_pod_that_has_it_now() {
    let mut known = Known::default();
    let name = |known: &Known, address| at(known, address).map(|side| text(side.pod_name));
    known.insert("ns", "a", facts("10.0.0.1", None));
    assert_eq!(name(&known, "10.0.0.1").as_deref(), Some("a"));
    let side = at(&known, "10.0.0.1").unwrap();
    assert_eq!(text(side.container_name), "forecast");
    let ended = PodFacts {
        ended: true,
        ..facts("10.0.0.1", None)
    };
    known.insert("ns", "a", ended);
    assert_eq!(name(&known, "10.0.0.1"), None);
    known.insert("ns", "b", facts("10.0.0.1", None));
    known.remove("ns", "a");
    assert_eq!(name(&known, "10.0.0.1").as_deref(), Some("b"));
    known.insert("ns", "b", facts("10.0.0.2", None));
    assert_eq!(name(&known, "10.0.0.1"), None);
    // Many have the address of a node.
    let on_node = |other: &str| PodFacts {
        host_network: true,
        ..facts(other, None)
    };
    known.insert("ns", "gateway", on_node("192.168.0.1"));
    assert_eq!(name(&known, "192.168.0.1").as_deref(), Some("gateway"));
    known.insert("ns", "agent", on_node("192.168.0.1"));
    assert_eq!(name(&known, "192.168.0.1"), None);
    known.remove("ns", "gateway");
    assert_eq!(name(&known, "192.168.0.1").as_deref(), Some("agent"));
}

/// Pain 32: pods of a controller share what they have in common, and nothing stays of those that are gone.
#[test]
fn pain_32_what_pods_have_in_common_is_kept_once() {
    let mut known = Known::default();
    for number in 0..100 {
        let facts = facts(&format!("10.0.0.{number}"), Some(("ReplicaSet", "forecast-1")));
        known.insert("ns", &format!("forecast-{number}"), facts);
    }
    assert_eq!((known.pods.len(), known.kins.len()), (100, 1));
    for number in 0..100 {
        known.remove("ns", &format!("forecast-{number}"));
    }
    let left = [
        known.pods.len(),
        known.kins.len(),
        known.by_address.len(),
        known.on_nodes.len(),
    ];
    assert_eq!(left, [0; 4]);
}
