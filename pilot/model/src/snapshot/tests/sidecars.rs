//! Which Sidecar a proxy has, and what it sees then.

use std::sync::Arc;

use mesh_config::Kind;

use super::mesh::*;
use crate::{Builder, Change, Published, ScopedView, Workload};

const FORECAST: &[(&str, &str)] = &[("app", "forecast"), ("version", "v1")];

fn publish(changes: Vec<Change>) -> Published {
    let mut builder: Builder = builder();
    apply(&mut builder, changes);
    builder.publish()
}

fn view(published: &Published, namespace: &str, labels: &[(&str, &str)]) -> Arc<ScopedView> {
    published.snapshot.view_of(&proxy(namespace), &labelled(labels))
}

fn services(view: &ScopedView) -> Vec<&str> {
    view.services().map(|service| &*service.id.name).collect()
}

fn virtual_services(view: &ScopedView) -> Vec<&str> {
    view.mesh_virtual_services()
        .map(|object| &*object.key.name)
        .collect()
}

#[test]
fn r_sc_4_a_selector_goes_before_the_namespace_and_that_before_the_mesh() {
    let selecting = || sidecar("weather", "forecast", &[("app", "forecast")], &[&["./*"]]);
    let older = || created(-1, sidecar("weather", "older", &[("version", "v1")], &[&["./*"]]));
    let general = || sidecar("weather", "general", &[], &[&["./*"]]);
    let mesh = || sidecar("istio-system", "mesh", &[], &[&["./*"]]);
    let not_for_the_mesh = || sidecar("istio-system", "selecting", &[("app", "forecast")], &[&["./*"]]);
    let elsewhere = || sidecar("news", "elsewhere", &[], &[&["./*"]]);
    let cases: [(Vec<Change>, &str, Option<&str>); 9] = [
        (vec![], "weather", None),
        (vec![elsewhere(), not_for_the_mesh()], "weather", None),
        (
            vec![mesh(), elsewhere(), not_for_the_mesh()],
            "weather",
            Some("mesh"),
        ),
        (vec![mesh(), general()], "weather", Some("general")),
        (vec![mesh(), general(), selecting()], "weather", Some("forecast")),
        (vec![selecting(), older()], "weather", Some("older")),
        (vec![selecting()], "news", None),
        (
            vec![mesh(), not_for_the_mesh()],
            "istio-system",
            Some("selecting"),
        ),
        (
            vec![
                mesh(),
                sidecar("weather", "other", &[("app", "frontend")], &[&["./*"]]),
            ],
            "weather",
            Some("mesh"),
        ),
    ];
    for (number, (changes, namespace, expected)) in cases.into_iter().enumerate() {
        let published = publish(changes);
        let view = view(&published, namespace, FORECAST);
        let found = view.sidecar().map(|sidecar| &*sidecar.key.name);
        assert_eq!(found, expected, "case {number}");
    }
}

#[test]
fn r_sc_4_gateways_have_no_sidecar() {
    let published = publish(vec![
        added(service("a", "one", 1)),
        sidecar("istio-system", "mesh", &[], &[&["~/*"]]),
    ]);
    let mut gateway = proxy("a");
    gateway.proxy_type = crate::ProxyType::Router;
    let view = published.snapshot.view_of(&gateway, &Workload::default());
    assert_eq!(services(&view), ["one"]);
}

#[test]
fn r_sc_4_own_means_the_namespace_of_the_proxy() {
    let published = publish(vec![
        added(service("a", "one", 1)),
        added(service("b", "two", 2)),
        sidecar("istio-system", "mesh", &[], &[&["./*"]]),
    ]);
    assert_eq!(services(&view(&published, "a", &[])), ["one"]);
    assert_eq!(services(&view(&published, "b", &[])), ["two"]);
    assert_ne!(
        view(&published, "a", &[]).viewer(),
        view(&published, "b", &[]).viewer()
    );
}

/// `R-SC-5`, `R-DR-12`.
#[test]
fn r_sc_1_and_5_only_what_is_exported_and_imported_is_seen() {
    let published = publish(vec![
        added(service("weather", "forecast", 1)),
        added(service("news", "front", 2)),
        added(private(service("news", "hidden", 3))),
        added(service("istio-system", "telemetry", 4)),
        virtual_service("weather", "forecast", &["forecast"], &[], ""),
        virtual_service("news", "front", &["front"], &[], ""),
        virtual_service("news", "hidden", &["front"], &[], "."),
        virtual_service("news", "edge", &["front"], &["edge"], ""),
        virtual_service("istio-system", "other", &["www.example.com"], &[], ""),
        destination_rule("news", "front", "front", ""),
        sidecar(
            "weather",
            "general",
            &[],
            &[&["istio-system/*.svc.cluster.local", "news/*"]],
        ),
    ]);
    let view = view(&published, "weather", &[]);
    assert_eq!(services(&view), ["front", "telemetry"]);
    assert_eq!(virtual_services(&view), ["front"]);
    assert!(view.service("forecast.weather.svc.cluster.local").is_none());
    assert_eq!(view.http_services(80).count(), 2);
    assert!(view.serviceless_hosts().is_empty());
    let front = view.service("front.news.svc.cluster.local").expect("imported");
    assert!(view.rules(front).is_some(), "rules come with their service");
    assert_eq!(services(view.whole()).len(), 3);
    assert!(!view.is_plain());
}

#[test]
fn r_sc_5_a_virtual_service_says_nothing_about_hosts_that_are_not_imported() {
    let published = publish(vec![
        virtual_service("news", "both", &["a.example.com", "b.example.com"], &[], ""),
        sidecar("weather", "general", &[], &[&["news/a.example.com"]]),
    ]);
    let view = view(&published, "weather", &[]);
    assert_eq!(virtual_services(&view), ["both"]);
    let hosts: Vec<_> = view.serviceless_hosts()[&80]
        .keys()
        .map(|host| host.to_string())
        .collect();
    assert_eq!(hosts, ["a.example.com"]);
}

#[test]
fn r_sc_2_every_listener_has_its_own_hosts() {
    let published = publish(vec![
        added(service("weather", "forecast", 1)),
        added(service("istio-system", "telemetry", 2)),
        added(service("news", "front", 3)),
        sidecar(
            "weather",
            "general",
            &[],
            &[&["istio-system/*"], &["weather/*", "istio-system/*"]],
        ),
    ]);
    let view = view(&published, "weather", &[]);
    assert_eq!(services(&view), ["forecast", "telemetry"]);
    let listeners: Vec<_> = view
        .egress()
        .expect("trimmed")
        .iter()
        .map(|egress| {
            let port = egress.listener.port.as_ref().map(|port| port.number);
            (port, services(&egress.view))
        })
        .collect();
    assert_eq!(
        listeners,
        [
            (Some(9001), vec!["forecast", "telemetry"]),
            (None, vec!["telemetry"])
        ]
    );
}

#[test]
fn p15_3_proxies_of_one_sidecar_share_a_view_and_others_share_what_they_always_did() {
    let published = publish(vec![
        added(service("weather", "forecast", 1)),
        sidecar("weather", "forecast", &[("app", "forecast")], &[&["~/*"]]),
    ]);
    let selected = view(&published, "weather", FORECAST);
    let same = view(&published, "weather", &[("app", "forecast")]);
    assert!(Arc::ptr_eq(&selected, &same));
    assert_eq!(services(&selected), Vec::<&str>::new());

    let frontend = view(&published, "weather", &[("app", "frontend")]);
    assert!(Arc::ptr_eq(&frontend, &published.snapshot.view("weather")));
    assert!(frontend.is_plain());
    assert_eq!(frontend.service_viewer(), None);
    assert_ne!(selected.viewer(), frontend.viewer());
}

#[test]
fn a_16_a_sidecar_that_leaves_nothing_out_shares_with_everybody() {
    let everything: [&[&[&str]]; 3] = [&[], &[&["*/*"]], &[&["weather/*", "*/*"]]];
    for hosts in everything {
        let published = publish(vec![
            added(service("weather", "forecast", 1)),
            sidecar("weather", "general", &[], hosts),
        ]);
        let view = view(&published, "weather", &[]);
        assert!(view.sidecar().is_some());
        assert!(view.egress().is_none());
        assert!(view.is_plain());
        assert_eq!(view.viewer(), published.snapshot.view("weather").viewer());
        assert_eq!(view.service_viewer(), None);
    }
}

#[test]
fn r_sc_4_the_younger_of_two_for_a_namespace_is_reported() {
    let published = publish(vec![
        sidecar("weather", "b", &[], &[&["./*"]]),
        created(1, sidecar("weather", "a", &[], &[&["./*"]])),
        sidecar("weather", "c", &[("app", "forecast")], &[&["./*"]]),
    ]);
    let warnings = view(&published, "weather", &[]).sidecar_warnings();
    let about: Vec<_> = warnings.iter().map(|warning| &*warning.object.name).collect();
    assert_eq!(about, ["a"]);
    assert!(
        view(&published, "weather", FORECAST)
            .sidecar_warnings()
            .is_empty()
    );
}

#[test]
fn a_sidecar_that_comes_changes_and_goes_is_followed() {
    let mut builder = builder();
    apply(
        &mut builder,
        [
            added(service("weather", "forecast", 1)),
            added(service("news", "front", 2)),
        ],
    );
    let mut seen = |change: Change| {
        builder.apply(change);
        let published = builder.publish();
        assert!(!published.changes.is_incremental());
        services(&view(&published, "weather", &[])).join(" ")
    };
    assert_eq!(seen(sidecar("weather", "general", &[], &[&["news/*"]])), "front");
    assert_eq!(seen(sidecar("weather", "general", &[], &[&["./*"]])), "forecast");
    assert_eq!(seen(gone(Kind::Sidecar, "weather", "general")), "forecast front");
    let before = builder.publish().snapshot.sidecars.rev();
    builder.apply(virtual_service("a", "b", &["c"], &[], ""));
    assert_eq!(builder.publish().snapshot.sidecars.rev(), before);
}

#[test]
fn pain_10_a_proxy_that_cannot_stand_the_listeners_of_its_sidecar_still_sees_no_more_than_it_may() {
    let published = publish(vec![
        added(service("weather", "forecast", 1)),
        added(service("news", "front", 2)),
        added(service("sports", "scores", 3)),
        sidecar("weather", "general", &[], &[&["news/*"], &["./*"]]),
        sidecar("sports", "general", &[], &[&["news/*"]]),
    ]);
    let key = published
        .snapshot
        .sidecars
        .iter()
        .find(|sidecar| &*sidecar.key.namespace == "weather")
        .map(|sidecar| sidecar.key.clone())
        .expect("it exists");
    assert!(published.snapshot.revision_of(&key).is_some());
    let without = published.without(&[key].into());
    let reduced = view(&without, "weather", &[]);
    assert_eq!(services(&reduced), ["forecast", "front"]);
    let ports: Vec<_> = reduced
        .egress()
        .expect("trimmed")
        .iter()
        .map(|egress| egress.listener.port.is_some())
        .collect();
    assert_eq!(ports, [false]);
    assert_ne!(reduced.viewer(), view(&published, "weather", &[]).viewer());
    // Those of others are the same.
    assert_eq!(
        view(&without, "sports", &[]).viewer(),
        view(&published, "sports", &[]).viewer()
    );
}
