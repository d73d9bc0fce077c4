//! Pain 5: history matters only as long as something that is named is missing.

use proptest::prelude::*;

use super::mesh::*;
use crate::{Builder, Change, Published};

/// The objects of a small mesh, each in a few forms; form 0 is that there is none.
fn form(object: usize, form: usize) -> Change {
    use mesh_config::Kind::{DestinationRule, VirtualService};
    let subsets = |name: &str, host: &str, subsets: &[&str]| {
        let subset = |name: &&str| mesh_api::istio::networking::v1alpha3::Subset {
            name: (*name).to_owned(),
            ..Default::default()
        };
        let spec = mesh_api::istio::networking::v1alpha3::DestinationRule {
            host: host.to_owned(),
            subsets: subsets.iter().map(subset).collect(),
            ..Default::default()
        };
        destination_rule_of("weather", name, spec)
    };
    let entry = |name: &str, created| {
        let mut entry = service("weather", name, created);
        entry.id.registry = "ServiceEntry".into();
        entry
    };
    match (object, form % 4) {
        (0, 0) => gone(VirtualService, "weather", "a"),
        (0, 1) => route_of("a", &["one"]),
        (0, 2) => route_of("a", &["one/v1", "one/v2"]),
        (0, _) => route_of("a", &["two/v1"]),
        (1, 0) => gone(VirtualService, "weather", "b"),
        (1, 1) => route_of("b", &["two"]),
        (1, 2) => route_of("b", &["one/v1"]),
        (1, _) => route_of("b", &["tcp:two/v2"]),
        (2, 0) => gone(DestinationRule, "weather", "one"),
        (2, 1) => subsets("one", "one", &["v1"]),
        (2, 2) => subsets("one", "one", &["v2"]),
        (2, _) => subsets("one", "two", &["v1", "v2"]),
        (3, 0) => gone(DestinationRule, "weather", "all"),
        (3, 1) => subsets("all", "*.weather.svc.cluster.local", &["v1", "v2"]),
        (3, 2) => subsets("all", "two", &["v1"]),
        (3, _) => subsets("all", "one", &["v1", "v2"]),
        (4, 0) => Change::ServiceGone(service("weather", "one", 1).id),
        (4, _) => added(service("weather", "one", 1)),
        (5, 0) => Change::ServiceGone(entry("two", 2).id),
        (5, _) => added(entry("two", 2)),
        (_, 0) => endpoints("Kubernetes", "one.weather.svc.cluster.local", None),
        (..) => endpoints("Kubernetes", "one.weather.svc.cluster.local", Some(&["10.0.0.1"])),
    }
}

const OBJECTS: usize = 7;

/// What clients are configured by, without revisions.
fn effect(published: &Published) -> Vec<String> {
    let mut lines = Vec::new();
    for object in published.snapshot.virtual_services.iter() {
        lines.push(format!("{:?}", **object));
    }
    for client in ["weather", "elsewhere"] {
        let view = published.snapshot.view(client);
        lines.push(format!("{client} differs in {:?}", view.differing_hosts()));
        for service in view.services() {
            let rules = view.rules(service).into_iter().flat_map(|chain| chain.iter());
            let rules: Vec<_> = rules.map(|rule| format!("{:?}", **rule)).collect();
            lines.push(format!("{client} calls {:?} under {rules:?}", service.id));
        }
    }
    lines
}

fn fresh(forms: &[usize]) -> (Builder, Published) {
    let mut builder = builder();
    apply(
        &mut builder,
        forms
            .iter()
            .enumerate()
            .map(|(object, &form)| self::form(object, form)),
    );
    let published = builder.publish();
    (builder, published)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn pain_5_once_nothing_is_held_a_state_is_that_of_a_fresh_builder(
        steps in prop::collection::vec((0..OBJECTS, 0_usize..4, any::<bool>()), 1..40),
    ) {
        let mut stepwise = builder();
        let mut forms = [0; OBJECTS];
        let mut last = stepwise.publish();
        for (object, form, publishes) in steps {
            forms[object] = form;
            stepwise.apply(self::form(object, form));
            if !publishes {
                continue;
            }
            let next = stepwise.publish();
            let same = std::sync::Arc::ptr_eq(&last.snapshot, &next.snapshot);
            prop_assert_eq!(same, next.changes.is_incremental());
            if same {
                prop_assert_eq!(effect(&last), effect(&next));
            }
            let (_, at_once) = fresh(&forms);
            prop_assert!(at_once.held.is_empty(), "what comes for the first time holds nothing");
            if next.held.is_empty() {
                prop_assert_eq!(effect(&next), effect(&at_once));
            }
            last = next;
        }
    }

    /// A form that stays is only ever one whose absence would break something: with everything that is named in place,
    /// nothing is held.
    #[test]
    fn pain_5_with_everything_that_is_named_in_place_nothing_is_held(
        steps in prop::collection::vec((0..OBJECTS, 0_usize..4, any::<bool>()), 0..40),
        routes in (0_usize..4, 0_usize..4),
        shuffle in prop::sample::subsequence((0..OBJECTS).collect::<Vec<_>>(), OBJECTS).prop_shuffle(),
    ) {
        let mut stepwise = builder();
        for (object, form, publishes) in steps {
            stepwise.apply(self::form(object, form));
            if publishes {
                stepwise.publish();
            }
        }
        // `*.weather…` declares both subsets, and the exact rules are gone.
        let forms = [routes.0, routes.1, 0, 1, 1, 1, 1];
        for object in shuffle {
            stepwise.apply(form(object, forms[object]));
            stepwise.publish();
        }
        let last = stepwise.publish();
        prop_assert_eq!(last.held.len(), 0, "{:?}", last.held);
        prop_assert_eq!(effect(&last), effect(&fresh(&forms).1));
    }
}
