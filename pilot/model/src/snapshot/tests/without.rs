//! Publications in which objects are left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_config::{ConfigKey, Kind};

use super::mesh::*;

fn set(objects: &[&ConfigKey]) -> BTreeSet<ConfigKey> {
    objects.iter().map(|&object| object.clone()).collect()
}

#[test]
fn an_object_that_is_left_out_is_gone_and_the_rest_is_shared() {
    let mut builder = builder();
    apply(
        &mut builder,
        vec![
            added(service("weather", "forecast", 1)),
            virtual_service("weather", "good", &["forecast"], &[], ""),
            virtual_service("weather", "bad", &["forecast"], &[], ""),
            destination_rule("weather", "forecast", "forecast", ""),
        ],
    );
    let published = builder.publish();
    let bad = ConfigKey::new(Kind::VirtualService, "weather", "bad");
    let without = published.without(&set(&[&bad]));
    let left: Vec<_> = without
        .snapshot
        .virtual_services
        .iter()
        .map(|object| object.key.name.to_string())
        .collect();
    assert_eq!(left, ["good"]);
    assert_ne!(
        without.snapshot.virtual_services.rev(),
        published.snapshot.virtual_services.rev()
    );
    assert!(Arc::ptr_eq(
        &without.snapshot.services,
        &published.snapshot.services
    ));
    assert!(Arc::ptr_eq(
        &without.snapshot.destination_rules,
        &published.snapshot.destination_rules
    ));
    // Whoever leaves out the same shares it.
    let again = published.without(&set(&[&bad]));
    assert!(Arc::ptr_eq(&without.snapshot, &again.snapshot));
    assert!(Arc::ptr_eq(
        &published.without(&BTreeSet::new()).snapshot,
        &published.snapshot
    ));

    let rule = ConfigKey::new(Kind::DestinationRule, "weather", "forecast");
    let service = ConfigKey::new(Kind::Service, "weather", "forecast");
    let without = published.without(&set(&[&rule, &service]));
    assert_eq!(without.snapshot.destination_rules.iter().count(), 0);
    assert!(without.snapshot.services.is_empty());
}

#[test]
fn the_revision_of_an_object_changes_with_it() {
    let mut builder = builder();
    let object = ConfigKey::new(Kind::VirtualService, "weather", "forecast");
    assert_eq!(builder.publish().snapshot.revision_of(&object), None);
    builder.apply(virtual_service("weather", "forecast", &["forecast"], &[], ""));
    let first = builder.publish().snapshot.revision_of(&object);
    assert!(first.is_some());
    builder.apply(virtual_service("weather", "forecast", &["forecast"], &[], ""));
    assert_eq!(builder.publish().snapshot.revision_of(&object), first);
    builder.apply(virtual_service("weather", "forecast", &["other"], &[], ""));
    assert_ne!(builder.publish().snapshot.revision_of(&object), first);
}
