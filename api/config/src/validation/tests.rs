//! What names, addresses and numbers may look like, and the mesh configuration. The rules of objects are in tables
//! (`testdata/validation`), which `tests/it/validation.rs` reads.

mod mesh;

use proptest::prelude::*;

use super::primitive::{self, Checked};
use super::*;

fn meta(kind: Kind) -> crate::Meta {
    crate::Meta {
        key: crate::ConfigKey::new(kind, "a", "b"),
        labels: Default::default(),
        annotations: Default::default(),
        created: Default::default(),
        version: String::new(),
    }
}

#[test]
fn kinds_without_rules_have_no_problems() {
    let config = Config {
        meta: meta(Kind::Namespace),
        body: mesh_api::Any {
            type_url: "type.googleapis.com/k8s.io.api.core.v1.Namespace".to_owned(),
            value: Default::default(),
        },
    };
    assert_eq!(validate(&config).len(), 0);
}

#[test]
fn content_that_does_not_decode_is_a_problem() {
    let config = Config {
        meta: meta(Kind::Gateway),
        body: mesh_api::Any {
            type_url: "type.googleapis.com/istio.networking.v1alpha3.Gateway".to_owned(),
            value: vec![0xff].into(),
        },
    };
    assert_eq!(validate(&config).len(), 1);
}

/// Which of the texts pass.
fn passing<'a>(check: impl Fn(&str) -> Checked, texts: &[&'a str]) -> Vec<&'a str> {
    texts.iter().copied().filter(|text| check(text).is_ok()).collect()
}

#[test]
fn v1_names_and_addresses() {
    let long_label = "a".repeat(64);
    let long_name = "a.".repeat(130) + "com";
    assert_eq!(
        passing(
            primitive::label,
            &["a", "A1-b", "", "-a", "a-", "a_b", "a.b", "ä", &long_label]
        ),
        ["a", "A1-b"]
    );
    assert_eq!(
        passing(
            primitive::fqdn,
            &[
                "a", "a.b", "a.1b", "", "a.1", "1.2.3.4", "a..b", "*.a", "*", &long_name
            ]
        ),
        ["a", "a.b", "a.1b"]
    );
    assert_eq!(
        passing(
            primitive::wildcard_domain,
            &[
                "*", "*.a", "*-x.a", "*x.a", "a", "**.a", "*.*.a", "a.*", "*-.a", "-*.a"
            ]
        ),
        ["*", "*.a", "*-x.a", "*x.a", "a"]
    );
    assert_eq!(
        passing(primitive::ip, &["1.2.3.4", "::1", "1.2.3", "a", "1.2.3.4/8"]),
        ["1.2.3.4", "::1"]
    );
    assert_eq!(
        passing(
            primitive::subnet,
            &[
                "1.2.3.4",
                "10.0.0.0/8",
                "2001:db8::/32",
                "10.0.0.0/33",
                "a/8",
                "1/2/3"
            ]
        ),
        ["1.2.3.4", "10.0.0.0/8", "2001:db8::/32"]
    );
    assert_eq!(
        passing(primitive::unix_path, &["@a", "/a/b", "", "@", "/", "/a/", "a"]),
        ["@a", "/a/b"]
    );
    assert_eq!(
        passing(primitive::tag, &["", "a.b/c_d-e", "a b", "ä", "*"]),
        ["", "a.b/c_d-e"]
    );
    assert_eq!(
        passing(
            primitive::proxy_address,
            &[
                "a:1",
                "1.2.3.4:80",
                "[::1]:80",
                "a",
                "a:",
                ":1",
                "a:0",
                "a_b:1",
                "a:70000"
            ]
        ),
        ["a:1", "1.2.3.4:80", "[::1]:80"]
    );
    assert_eq!(
        passing(primitive::http_method, &["GET", "TRACE", "get", ""]),
        ["GET", "TRACE"]
    );
    assert_eq!(
        passing(
            |text| primitive::protocol(text).map(|_| ()),
            &["http", "GRPC-Web", "", "SCTP"]
        ),
        ["http", "GRPC-Web"]
    );
}

#[test]
fn v1_numbers_and_durations() {
    let passing_ports: Vec<i64> = [-1, 0, 1, 65535, 65536]
        .into_iter()
        .filter(|port| primitive::port(*port).is_ok())
        .collect();
    assert_eq!(passing_ports, [1, 65535]);
    let passing_percents: Vec<i32> = [-1, 0, 100, 101]
        .into_iter()
        .filter(|it| primitive::percent(*it).is_ok())
        .collect();
    assert_eq!(passing_percents, [0, 100]);
    let fine = [-1.0, 0.0, 0.00001, 0.0001, 1.5, 100.0, 100.1, f64::NAN];
    let fine: Vec<f64> = fine
        .into_iter()
        .filter(|it| primitive::fine_percent(*it).is_ok())
        .collect();
    assert_eq!(fine, [0.0, 0.0001, 1.5, 100.0]);

    for (seconds, nanos, duration, whole, connect) in [
        (0, 1_000_000, true, false, true),
        (0, 999_999, false, false, false),
        (0, 0, false, false, false),
        (-1, 0, false, false, false),
        (1, 0, true, true, true),
        (1, 500_000, false, false, false),
        (1, 500_000_000, true, false, true),
        (30, 0, true, true, true),
        (30, 1_000_000, true, false, false),
        (i64::MAX, i32::MAX, false, false, false),
        (i64::MIN, i32::MIN, false, false, false),
    ] {
        let value = prost_types::Duration { seconds, nanos };
        let results = [
            primitive::duration(&value),
            primitive::whole_seconds(&value),
            primitive::connect_timeout(&value),
        ];
        assert_eq!(
            results.map(|result| result.is_ok()),
            [duration, whole, connect],
            "{value:?}"
        );
    }
}

#[test]
fn v9_points_in_time() {
    for (seconds, nanos, valid) in [
        (0, 0, true),
        (-62_135_596_800, 0, true),
        (253_402_300_799, 999_999_999, true),
        (253_402_300_800, 0, false),
        (i64::MIN, 0, false),
        (0, -1, false),
        (0, 1_000_000_000, false),
    ] {
        let value = prost_types::Timestamp { seconds, nanos };
        assert_eq!(primitive::timestamp(&value).is_ok(), valid, "{seconds} {nanos}");
    }
}

#[test]
fn r_n_6_export_to_is_one_dot_or_star() {
    for (namespaces, valid) in [
        (&[][..], true),
        (&["."], true),
        (&["*"], true),
        (&["a"], false),
        (&[".", "*"], false),
        (&[""], false),
    ] {
        let namespaces: Vec<String> = namespaces.iter().map(|&it| it.to_owned()).collect();
        assert_eq!(primitive::export_to(&namespaces).is_ok(), valid, "{namespaces:?}");
    }
}

proptest! {
    #[test]
    fn primitives_never_panic(text in "\\PC{0,30}") {
        for check in [
            primitive::label, primitive::fqdn, primitive::wildcard_domain, primitive::ip, primitive::subnet,
            primitive::unix_path, primitive::tag, primitive::proxy_address, regex::pattern,
        ] {
            let _ = check(&text);
        }
    }

    #[test]
    fn what_is_a_domain_is_a_wildcard_domain(text in "[a-z0-9*.-]{0,12}") {
        prop_assert!(primitive::fqdn(&text).is_err() || primitive::wildcard_domain(&text).is_ok());
    }
}
