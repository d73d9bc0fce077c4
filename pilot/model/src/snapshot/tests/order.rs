//! The state depends on what was said, not on when.

use std::collections::BTreeMap;

use mesh_api::istio::authentication::v1alpha1::{Policy, TargetSelector};
use mesh_config::Kind;
use proptest::prelude::*;

use super::mesh::*;
use crate::{Builder, Change, Published, Rev, ServiceId};

const NAMESPACES: [&str; 3] = ["a", "b", "istio-system"];
const NAMES: [&str; 3] = ["one", "two", "three"];

/// One fact about one of a few objects, which may be said again differently or taken back.
fn fact() -> impl Strategy<Value = Change> {
    let object = (0..NAMESPACES.len(), 0..NAMES.len(), 0..3i64);
    (object, 0..18usize).prop_map(|((namespace, name, age), kind)| {
        let (namespace, name) = (NAMESPACES[namespace], NAMES[name]);
        let host = format!("{name}.{namespace}.svc.cluster.local");
        let ip = format!("10.0.0.{}", name.len());
        let export_to = if age == 0 { "." } else { "" };
        match kind {
            0 => added(service(namespace, name, age)),
            1 => added(private(service(namespace, name, age))),
            2 => Change::ServiceGone(service(namespace, name, age).id),
            3 => created(
                age,
                virtual_service(
                    namespace,
                    name,
                    &[NAMES[0], "*.example.com"],
                    &["mesh", "edge"],
                    export_to,
                ),
            ),
            4 => gone(Kind::VirtualService, namespace, name),
            5 => created(age, destination_rule(namespace, name, NAMES[0], export_to)),
            6 => created(
                age,
                destination_rule(namespace, name, "*.a.svc.cluster.local", export_to),
            ),
            7 => gone(Kind::DestinationRule, namespace, name),
            8 => created(age, gateway(namespace, name, &[("app", name)])),
            9 => gone(Kind::Gateway, namespace, name),
            10 => {
                let hosts: [&[&[&str]]; 3] = [&[], &[&["./*"]], &[&["b/*"], &["*/one.a.svc.cluster.local"]]];
                let labels: &[(&str, &str)] = if name == "one" { &[("app", "web")] } else { &[] };
                created(age, sidecar(namespace, name, labels, hosts[age as usize]))
            }
            11 => gone(Kind::Sidecar, namespace, name),
            12 => created(age, envoy_filter(namespace, name, &[("app", name)])),
            13 => gone(Kind::EnvoyFilter, namespace, name),
            14 => endpoints(
                namespace,
                &host,
                [None, Some(&[][..]), Some(&["10.0.0.1"][..])][age as usize],
            ),
            15 => {
                let targets = (age > 0).then(|| TargetSelector {
                    name: NAMES[0].to_owned(),
                    ..TargetSelector::default()
                });
                let spec = Policy {
                    targets: targets.into_iter().collect(),
                    ..Policy::default()
                };
                authentication_policy(namespace, name, age, spec)
            }
            16 => gone(Kind::Policy, namespace, name),
            _ => workload(&ip, (age > 0).then_some(name)),
        }
    })
}

/// What a change is about: of two changes with the same subject the later one counts.
fn subject(change: &Change) -> String {
    let id = |id: &ServiceId| format!("service {id:?}");
    match change {
        Change::Mesh(_) => "mesh".to_owned(),
        Change::Config(meta, _) => meta.key.to_string(),
        Change::ConfigGone(key) => key.to_string(),
        Change::Service(service) => id(&service.id),
        Change::ServiceGone(gone) => id(gone),
        Change::Endpoints { registry, host, .. } => format!("endpoints {registry} {host}"),
        Change::Workload(ip, _) => format!("workload {ip}"),
        Change::Networks(_) => "networks".to_owned(),
    }
}

/// Everything that a publication says, without revisions.
fn content(published: &Published) -> Vec<String> {
    let snapshot = &published.snapshot;
    let mut lines = Vec::new();
    for service in snapshot.services.iter() {
        lines.push(format!("{:?}", **service));
    }
    for object in snapshot.virtual_services.iter() {
        lines.push(format!("{:?}", **object));
    }
    for object in snapshot.gateways.iter() {
        lines.push(format!("{:?}", **object));
    }
    for (host, endpoints) in published.endpoints.iter() {
        lines.push(format!("{host} {:?}", **endpoints));
    }
    for entry in published.workloads.iter() {
        lines.push(format!("{entry:?}"));
    }
    for (namespace, labels) in NAMESPACES
        .into_iter()
        .flat_map(|namespace| [(namespace, &[][..]), (namespace, &[("app", "web")])])
    {
        let view = snapshot.view_of(&proxy(namespace), &labelled(labels));
        let sidecar = view.sidecar().map(|sidecar| &sidecar.key);
        let warnings = view.sidecar_warnings();
        lines.push(format!("{namespace} {labels:?} has {sidecar:?} {warnings:?}"));
        lines.push(format!("{namespace} differs in {:?}", view.differing_hosts()));
        for service in view.services() {
            let rules = view.rules(service).into_iter().flat_map(|chain| chain.iter());
            let id = &service.id;
            let policy = view.authentication_policy(&id.namespace, &id.host, &service.ports[0]);
            lines.push(format!(
                "{namespace} asks by {:?}",
                policy.map(|policy| &**policy)
            ));
            let rules: Vec<_> = rules.map(|rule| (&rule.key, rule.created)).collect();
            lines.push(format!("{namespace} sees {:?} under {rules:?}", service.id));
        }
        for object in view.mesh_virtual_services() {
            lines.push(format!("{namespace} follows {:?}", object.key));
        }
        for (port, hosts) in view.serviceless_hosts() {
            lines.push(format!("{namespace} has {:?} on {port}", hosts.keys()));
        }
    }
    lines
}

/// The content of each table by its revision.
fn tables(published: &Published) -> [(Rev, String); 5] {
    let snapshot = &published.snapshot;
    [
        (snapshot.services.rev(), format!("{:?}", snapshot.services)),
        (
            snapshot.virtual_services.rev(),
            format!("{:?}", snapshot.virtual_services),
        ),
        (
            snapshot.destination_rules.rev(),
            format!("{:?}", snapshot.destination_rules),
        ),
        (snapshot.gateways.rev(), format!("{:?}", snapshot.gateways)),
        (snapshot.sidecars.rev(), format!("{:?}", snapshot.sidecars)),
    ]
}

fn publish(changes: impl IntoIterator<Item = Change>) -> Published {
    let mut builder: Builder = builder();
    apply(&mut builder, changes);
    builder.publish()
}

proptest! {
    #[test]
    fn facts_give_the_same_state_in_any_order(facts in prop::collection::vec(fact(), 0..24), seed in any::<u64>()) {
        let last: BTreeMap<String, Change> = facts.into_iter().map(|fact| (subject(&fact), fact)).collect();
        let facts: Vec<Change> = last.into_values().collect();
        let mut shuffled = facts.clone();
        let mut state = seed;
        for position in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(position, (state >> 33) as usize % (position + 1));
        }
        prop_assert_eq!(content(&publish(facts)), content(&publish(shuffled)));
    }

    #[test]
    fn a_state_is_the_same_however_often_it_was_published_on_the_way(
        steps in prop::collection::vec((fact(), any::<bool>()), 0..40),
    ) {
        let mut stepwise = builder();
        let mut seen: BTreeMap<(usize, Rev), String> = BTreeMap::new();
        let mut check_tables = |published: &Published| {
            for (kind, (rev, content)) in tables(published).into_iter().enumerate() {
                let known = seen.entry((kind, rev)).or_insert_with(|| content.clone());
                prop_assert_eq!(&*known, &content, "one revision, two contents");
            }
            Ok(())
        };
        for (fact, publishes) in steps.clone() {
            stepwise.apply(fact);
            if publishes {
                check_tables(&stepwise.publish())?;
            }
        }
        let stepwise = stepwise.publish();
        check_tables(&stepwise)?;
        let at_once = publish(steps.into_iter().map(|(fact, _)| fact));
        prop_assert_eq!(content(&stepwise), content(&at_once));
    }
}
