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

/// Of a large cluster each pod is found by its UID and by its address, and what pods of a workload have in common is there
/// once. Prints what that takes.
#[test]
fn pain_32_twenty_thousand_pods() {
    const WORKLOADS: usize = 400;
    const PODS: usize = 50;
    let address = |number: usize| format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255);
    let memory = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let before = memory();
    let started = std::time::Instant::now();
    let mut known = Known::default();
    for workload in 0..WORKLOADS {
        let set = format!("workload-{workload}-5d4f8c7b9");
        let deployment = reference("Deployment", &format!("workload-{workload}"));
        known.insert_controller(Between::ReplicaSet, "weather", &set, Some(&deployment));
        for pod in 0..PODS {
            let mut facts = facts(&address(workload * PODS + pod), Some(("ReplicaSet", &set)));
            facts.labels = ["app", "version", "pod-template-hash", "istio"]
                .map(|label| (label.to_owned(), format!("workload-{workload}")))
                .into();
            facts.host = "192.168.7.7".parse().ok();
            known.insert("weather", &format!("{set}-{pod:05}"), facts);
        }
    }
    let (filled, grown) = (started.elapsed(), memory().saturating_sub(before));
    assert_eq!(
        (known.pods.len(), known.kins.len()),
        (WORKLOADS * PODS, WORKLOADS)
    );
    let started = std::time::Instant::now();
    for workload in 0..WORKLOADS {
        for pod in 0..PODS {
            let uid = format!("kubernetes://workload-{workload}-5d4f8c7b9-{pod:05}.weather");
            let by_uid = known.find(&Wanted::new(&uid, None).unwrap(), Some(3003)).unwrap();
            assert_eq!(
                by_uid.workload_name.as_deref(),
                Some(format!("workload-{workload}").as_str())
            );
            let by_address = at(&known, &address(workload * PODS + pod)).unwrap();
            assert_eq!(by_address.pod_uid.as_deref(), Some(uid.as_str()));
        }
    }
    let each = started.elapsed() / u32::try_from(2 * WORKLOADS * PODS).unwrap();
    println!(
        "{} pods: {filled:?}, {} KiB more, {each:?} for each look-up",
        WORKLOADS * PODS,
        grown / 1024
    );
}
