//! Pain 5: what a change would break stays in force as it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::istio::networking::v1alpha3::load_balancer_settings::{LbPolicy, SimpleLb};
use mesh_api::istio::networking::v1alpha3::{self, LoadBalancerSettings, Subset, TrafficPolicy};
use mesh_config::{ConfigKey, Kind};

use super::mesh::*;
use crate::{Builder, Change, Published, Resolution, WarningKind};

const FORECAST: &str = "forecast.weather.svc.cluster.local";
const NEW: &str = "new.weather.svc.cluster.local";

fn balanced(policy: SimpleLb) -> TrafficPolicy {
    TrafficPolicy {
        load_balancer: Some(LoadBalancerSettings {
            lb_policy: Some(LbPolicy::Simple(policy.into())),
        }),
        ..TrafficPolicy::default()
    }
}

/// A rule for `host` with subsets that select the version of their name.
fn rule(name: &str, host: &str, policy: Option<SimpleLb>, subsets: &[&str]) -> Change {
    let subsets = subsets.iter().map(|name| Subset {
        name: (*name).to_owned(),
        labels: [("version".to_owned(), (*name).to_owned())].into(),
        traffic_policy: None,
    });
    destination_rule_of(
        "weather",
        name,
        v1alpha3::DestinationRule {
            host: host.to_owned(),
            traffic_policy: policy.map(balanced),
            subsets: subsets.collect(),
            export_to: Vec::new(),
        },
    )
}

fn subsets(subsets: &[&str]) -> Change {
    rule("forecast", "forecast", None, subsets)
}

/// The route `weather/forecast`, to `host/subset` or `host` or `host:port` each.
fn route(to: &[&str]) -> Change {
    route_of("forecast", to)
}

/// A mesh in which everything that [`route`] leads to is known.
fn mesh_of(to: &[&str], declared: &[&str]) -> (Builder, Published) {
    let mut builder = builder();
    apply(
        &mut builder,
        [
            added(service("weather", "forecast", 1)),
            endpoints("Kubernetes", FORECAST, Some(&["10.0.0.1"])),
            subsets(declared),
            route(to),
        ],
    );
    let first = builder.publish();
    assert_eq!(held(&first), [""; 0]);
    (builder, first)
}

fn published(builder: &mut Builder, changes: impl IntoIterator<Item = Change>) -> Published {
    apply(builder, changes);
    builder.publish()
}

/// What is held, one line each.
fn held(published: &Published) -> Vec<String> {
    assert!(published.held.iter().all(|held| held.kind == WarningKind::Held));
    let held = published.held.iter();
    held.map(|held| format!("{} {}", held.object, held.reason))
        .collect()
}

/// The subsets of a host that clients in a namespace can be sent to, with the version that each selects.
fn offered(published: &Published, client: &str, host: &str) -> Vec<String> {
    let view = published.snapshot.view(client);
    let Some(rules) = view.service(host).and_then(|service| view.rules(service)) else {
        return Vec::new();
    };
    let subsets = rules.iter().flat_map(|rule| &rule.spec.subsets);
    subsets
        .map(|subset| format!("{}={}", subset.name, subset.labels["version"]))
        .collect()
}

#[test]
fn pain_5_a_changed_route_waits_for_the_subset_that_it_names() {
    let (mut builder, first) = mesh_of(&["forecast/v1"], &["v1"]);
    let second = published(&mut builder, [route(&["forecast/v2"])]);
    assert!(second.changes.is_empty(), "nothing is different for anybody");
    assert!(Arc::ptr_eq(&first.snapshot, &second.snapshot));
    assert_eq!(
        held(&second),
        [
            "VirtualService weather/forecast stays as it was: subset v2 of forecast.weather.svc.cluster.local is not \
          declared by any DestinationRule"
        ]
    );

    // Another object keeps it waiting, its rule does not.
    let third = published(
        &mut builder,
        [virtual_service("weather", "other", &["other"], &[], "")],
    );
    assert_eq!(destinations(&third, "forecast"), ["forecast/v1"]);
    assert_eq!(held(&third).len(), 1);
    let fourth = published(&mut builder, [subsets(&["v2"])]);
    assert_eq!(destinations(&fourth, "forecast"), ["forecast/v2"]);
    assert_eq!(offered(&fourth, "weather", FORECAST), ["v2=v2"]);
    assert_eq!(held(&fourth), [""; 0]);
    let changed: Vec<_> = fourth.changes.configs.iter().map(|key| key.kind).collect();
    assert_eq!(changed, [Kind::DestinationRule, Kind::VirtualService]);
}

#[test]
fn pain_5_what_a_changed_route_waits_for() {
    let cases: [(&str, &[&str], &str); 8] = [
        (
            "a service",
            &["nobody"],
            "no service has the host nobody.weather.svc.cluster.local",
        ),
        (
            "a subset among others",
            &["forecast/v1", "forecast/v2"],
            "subset v2 of forecast.weather.svc.cluster.local is not declared by any DestinationRule",
        ),
        (
            "a port",
            &["forecast:81"],
            "forecast.weather.svc.cluster.local has no port 81",
        ),
        ("a port that is there", &["forecast:80"], ""),
        ("no weight", &["forecast/v1", "forecast/v2*0"], ""),
        (
            "no weight, alone",
            &["forecast/v2*0"],
            "subset v2 of forecast.weather.svc.cluster.local is not declared by any DestinationRule",
        ),
        (
            "a TCP route",
            &["tcp:nobody"],
            "no service has the host nobody.weather.svc.cluster.local",
        ),
        (
            "a TLS route",
            &["tls:forecast/v2"],
            "subset v2 of forecast.weather.svc.cluster.local is not declared by any DestinationRule",
        ),
    ];
    for (what, to, reason) in cases {
        let (mut builder, _) = mesh_of(&["forecast/v1"], &["v1"]);
        let next = published(&mut builder, [route(to)]);
        if reason.is_empty() {
            assert_eq!(held(&next), [""; 0], "{what}");
            assert_eq!(destinations(&next, "forecast"), to, "{what}");
        } else {
            let expected = format!("VirtualService weather/forecast stays as it was: {reason}");
            assert_eq!(held(&next), [expected], "{what}");
            assert_eq!(destinations(&next, "forecast"), ["forecast/v1"], "{what}");
        }
    }
}

#[test]
fn pain_5_a_mirror_is_waited_for_by_nobody() {
    let (mut builder, _) = mesh_of(&["forecast/v1"], &["v1"]);
    let next = published(&mut builder, [mirrored(route(&["forecast"]), "nobody")]);
    assert_eq!(held(&next), [""; 0]);
    assert_eq!(destinations(&next, "forecast"), ["forecast"]);
}

#[test]
fn r_vs_14_what_comes_for_the_first_time_is_taken_as_it_is() {
    let (mut builder, _) = mesh_of(&["nobody"], &["v1"]);
    // What is missing already is no reason to stay.
    let next = published(&mut builder, [route(&["nobody", "forecast/v1"])]);
    assert_eq!(held(&next), [""; 0]);
    assert_eq!(destinations(&next, "forecast"), ["nobody", "forecast/v1"]);
    // More of it is.
    let next = published(&mut builder, [route(&["nobody", "forecast/v2"])]);
    assert_eq!(held(&next).len(), 1);
    assert_eq!(destinations(&next, "forecast"), ["nobody", "forecast/v1"]);
    // What is gone is gone, and comes for the first time again.
    let next = published(&mut builder, [gone(Kind::VirtualService, "weather", "forecast")]);
    assert_eq!(held(&next), [""; 0]);
    assert!(next.snapshot.virtual_services.is_empty());
    let next = published(&mut builder, [route(&["forecast/v2"])]);
    assert_eq!(held(&next), [""; 0]);
    assert_eq!(destinations(&next, "forecast"), ["forecast/v2"]);
    // Gone and there again between two publications is a change.
    let both = [
        gone(Kind::VirtualService, "weather", "forecast"),
        route(&["forecast/v3"]),
    ];
    assert_eq!(held(&published(&mut builder, both)).len(), 1);
}

#[test]
fn pain_5_a_held_route_follows_what_is_declared_later() {
    let (mut builder, first) = mesh_of(&["forecast/v1"], &["v1"]);
    let object = ConfigKey::new(Kind::VirtualService, "weather", "forecast");
    let next = published(&mut builder, [route(&["forecast/v2"])]);
    assert_eq!(
        next.snapshot.revision_of(&object),
        first.snapshot.revision_of(&object)
    );
    // Another wish, then back to what is in force.
    let next = published(&mut builder, [route(&["nobody"])]);
    assert!(held(&next)[0].ends_with("no service has the host nobody.weather.svc.cluster.local"));
    let next = published(&mut builder, [route(&["forecast/v1"])]);
    assert_eq!(held(&next), [""; 0]);
    assert_eq!(destinations(&next, "forecast"), ["forecast/v1"]);
}

#[test]
fn pain_5_a_new_service_is_used_once_its_endpoints_are_known() {
    for known in [&[][..], &["10.0.0.9"]] {
        let (mut builder, _) = mesh_of(&["forecast/v1"], &["v1"]);
        published(&mut builder, [route(&["new"])]);
        let next = published(&mut builder, [added(service("weather", "new", 2))]);
        assert_eq!(
            held(&next),
            [
                "VirtualService weather/forecast stays as it was: endpoints of new.weather.svc.cluster.local are not known yet"
            ]
        );
        // Those of another service change nothing.
        let next = published(
            &mut builder,
            [endpoints("Kubernetes", FORECAST, Some(&["10.0.0.2"]))],
        );
        assert!(next.changes.is_incremental());
        assert_eq!(destinations(&next, "forecast"), ["forecast/v1"]);
        let next = published(&mut builder, [endpoints("Kubernetes", NEW, Some(known))]);
        assert!(!next.changes.is_incremental());
        assert_eq!(destinations(&next, "forecast"), ["new"]);
        assert_eq!(held(&next), [""; 0]);
    }
}

#[test]
fn pain_5_endpoints_that_come_with_the_service_are_not_waited_for() {
    let mut of_entry = service("weather", "new", 2);
    of_entry.id.registry = "ServiceEntry".into();
    let mut headless = service("weather", "new", 2);
    headless.resolution = Resolution::Passthrough;
    let mut resolved = service("weather", "new", 2);
    resolved.resolution = Resolution::Dns;
    for service in [of_entry, headless, resolved] {
        let (mut builder, _) = mesh_of(&["forecast/v1"], &["v1"]);
        let next = published(&mut builder, [route(&["new"]), added(service)]);
        assert_eq!(held(&next), [""; 0]);
        assert_eq!(destinations(&next, "forecast"), ["new"]);
    }
}

#[test]
fn pain_5_a_subset_stays_as_long_as_a_route_leads_to_it() {
    let removals = [
        ("the subset", subsets(&["v2"])),
        ("the rule", gone(Kind::DestinationRule, "weather", "forecast")),
        ("the host", rule("forecast", "other", None, &["v1"])),
    ];
    for (what, removal) in removals {
        let (mut builder, _) = mesh_of(&["forecast/v1"], &["v1", "v2"]);
        let next = published(&mut builder, [removal]);
        for client in ["weather", "elsewhere"] {
            let offered = offered(&next, client, FORECAST);
            assert!(offered.contains(&"v1=v1".to_owned()), "{what}: {offered:?}");
        }
        assert_eq!(
            held(&next),
            [
                "DestinationRule weather/forecast subset v1 of forecast.weather.svc.cluster.local stays as it was: \
              VirtualService weather/forecast leads to it"
            ],
            "{what}"
        );
        let next = published(&mut builder, [route(&["forecast"])]);
        let left = offered(&next, "weather", FORECAST);
        assert!(!left.contains(&"v1=v1".to_owned()), "{what}: {left:?}");
        assert_eq!(held(&next), [""; 0], "{what}");
    }
}

#[test]
fn pain_5_a_subset_may_change_its_name_in_any_order() {
    let changes = || [subsets(&["v2"]), route(&["forecast/v2"])];
    for order in [[0, 1], [1, 0]] {
        let (mut builder, _) = mesh_of(&["forecast/v1"], &["v1"]);
        for at in order {
            let next = published(&mut builder, [changes()[at].clone()]);
            let [to] = &destinations(&next, "forecast")[..] else {
                panic!("one destination");
            };
            let subset = to.trim_start_matches("forecast/");
            let offered = offered(&next, "elsewhere", FORECAST);
            assert!(
                offered.contains(&format!("{subset}={subset}")),
                "{to}: {offered:?}"
            );
        }
        let last = published(&mut builder, []);
        assert_eq!(destinations(&last, "forecast"), ["forecast/v2"]);
        assert_eq!(offered(&last, "weather", FORECAST), ["v2=v2"]);
        assert_eq!(held(&last), [""; 0]);
    }
}

#[test]
fn pain_5_a_held_subset_keeps_its_policy_and_the_rest_follows_the_new_rule() {
    let policies = |published: &Published| {
        let view = published.snapshot.view("elsewhere");
        let rules = view.service(FORECAST).and_then(|service| view.rules(service));
        let rules = rules.expect("rules");
        let general = rules.iter().find_map(|rule| rule.spec.traffic_policy.clone());
        let mut subsets = rules.iter().flat_map(|rule| &rule.spec.subsets);
        (
            general,
            subsets
                .find(|subset| subset.name == "v1")
                .cloned()
                .expect("held")
                .traffic_policy,
        )
    };
    let (mut builder, _) = mesh_of(&["forecast/v1"], &[]);
    published(
        &mut builder,
        [rule("forecast", "forecast", Some(SimpleLb::Random), &["v1"])],
    );
    let next = published(
        &mut builder,
        [rule("forecast", "forecast", Some(SimpleLb::LeastConn), &["v2"])],
    );
    assert_eq!(
        policies(&next),
        (
            Some(balanced(SimpleLb::LeastConn)),
            Some(balanced(SimpleLb::Random))
        )
    );
    let next = published(&mut builder, [gone(Kind::DestinationRule, "weather", "forecast")]);
    assert_eq!(policies(&next), (None, Some(balanced(SimpleLb::Random))));
    // Rules that were less specific are followed for everything else.
    let next = published(
        &mut builder,
        [rule(
            "all",
            "*.weather.svc.cluster.local",
            Some(SimpleLb::LeastConn),
            &[],
        )],
    );
    assert_eq!(
        policies(&next),
        (
            Some(balanced(SimpleLb::LeastConn)),
            Some(balanced(SimpleLb::Random))
        )
    );
    // One that comes back is the new one.
    let next = published(&mut builder, [rule("forecast", "forecast", None, &["v1"])]);
    assert_eq!(policies(&next), (None, None));
    assert_eq!(held(&next), [""; 0]);
}

#[test]
fn pain_5_a_subset_of_a_wildcard_rule_stays_for_the_hosts_that_routes_name() {
    let (mut builder, _) = mesh_of(&["forecast/v1"], &[]);
    published(
        &mut builder,
        [rule("all", "*.weather.svc.cluster.local", None, &["v1"])],
    );
    // The rule of the host itself came before it, and has no subsets.
    let next = published(&mut builder, [gone(Kind::DestinationRule, "weather", "forecast")]);
    assert_eq!(offered(&next, "weather", FORECAST), ["v1=v1"]);
    let next = published(&mut builder, [gone(Kind::DestinationRule, "weather", "all")]);
    assert_eq!(offered(&next, "weather", FORECAST), ["v1=v1"]);
    assert_eq!(held(&next).len(), 1);
}

#[test]
fn pain_5_a_subset_that_nobody_leads_to_leaves_at_once() {
    let (mut builder, _) = mesh_of(&["forecast/v1"], &["v1", "v2"]);
    let next = published(&mut builder, [subsets(&["v1"])]);
    assert_eq!(offered(&next, "weather", FORECAST), ["v1=v1"]);
    // A dangling one holds nothing either, and a service that goes takes its subsets along.
    let (mut builder, _) = mesh_of(&["forecast/v9"], &["v1"]);
    assert_eq!(held(&published(&mut builder, [subsets(&[])])), [""; 0]);
    let (mut builder, _) = mesh_of(&["forecast/v1"], &["v1"]);
    assert_eq!(held(&published(&mut builder, [subsets(&[])])).len(), 1);
    let gone = Change::ServiceGone(service("weather", "forecast", 1).id);
    assert_eq!(held(&published(&mut builder, [gone])), [""; 0]);
}

#[test]
fn pain_5_what_is_held_can_be_left_out() {
    let (mut builder, _) = mesh_of(&["forecast/v1"], &["v1"]);
    let next = published(&mut builder, [subsets(&[]), route(&["nobody"])]);
    assert_eq!(held(&next).len(), 2);
    let rule = ConfigKey::new(Kind::DestinationRule, "weather", "forecast");
    let object = ConfigKey::new(Kind::VirtualService, "weather", "forecast");
    assert!(next.snapshot.revision_of(&rule).is_some());
    let without = next.without(&BTreeSet::from([object.clone()]));
    assert!(without.snapshot.virtual_services.is_empty());
    assert_eq!(offered(&without, "weather", FORECAST), ["v1=v1"]);
    let without = next.without(&BTreeSet::from([rule]));
    assert_eq!(offered(&without, "weather", FORECAST), [""; 0]);
    assert_eq!(destinations(&without, "forecast"), ["forecast/v1"]);
}

#[test]
fn r_n_6_the_default_visibility_of_what_is_held_is_followed() {
    let (mut builder, _) = mesh_of(&["forecast/v1"], &["v1"]);
    published(&mut builder, [subsets(&[]), route(&["nobody"])]);
    let mut private = mesh();
    private.default_virtual_service_export_to = vec![".".to_owned()];
    private.default_destination_rule_export_to = vec![".".to_owned()];
    let next = published(&mut builder, [Change::Mesh(Box::new(private))]);
    assert_eq!(held(&next).len(), 2);
    assert_eq!(offered(&next, "weather", FORECAST), ["v1=v1"]);
    assert_eq!(offered(&next, "elsewhere", FORECAST), [""; 0]);
    assert_eq!(next.snapshot.view("elsewhere").mesh_virtual_services().count(), 0);
}
