//! Every rule of part V, with objects that keep it and objects that break it.

use std::collections::BTreeSet;

use mesh_config::{Kind, decode, validation};
use mesh_testing::validation::{Case, tables};

/// What validation says of an object, as kubectl shows it.
fn problems(kind: Kind, case: &Case) -> Vec<String> {
    let object = case.object(kind, "b");
    let config = decode::from_json(None, &object).unwrap_or_else(|error| panic!("{error}\n{object}"));
    let problems = validation::validate(&config).into_iter();
    let shown = problems.map(|problem| match problem.field.as_str() {
        "" => problem.reason,
        field => format!("{field}: {}", problem.reason),
    });
    shown.collect()
}

fn check(kinds: &[Kind]) {
    for table in tables().iter().filter(|table| kinds.contains(&table.kind)) {
        for (rule, case) in table.cases() {
            let said = problems(table.kind, case);
            assert_eq!(said, case.problems, "{} {}: {}", table.kind, rule.rule, case.spec);
        }
    }
}

/// `A-15`.
#[test]
fn v2_gateways() {
    check(&[Kind::Gateway]);
}

/// `R-DR-17`, `R-DR-28`.
#[test]
fn v3_destination_rules() {
    check(&[Kind::DestinationRule]);
}

#[test]
fn v4_envoy_filters() {
    check(&[Kind::EnvoyFilter]);
}

/// `A-14`, `A-16`.
#[test]
fn v5_sidecars() {
    check(&[Kind::Sidecar]);
}

/// `R-VS-11`, `R-VS-19`, `R-VS-28`.
#[test]
fn v6_virtual_services() {
    check(&[Kind::VirtualService]);
}

/// `R-SE-3`.
#[test]
fn v7_service_entries() {
    check(&[Kind::ServiceEntry]);
}

/// `R-73`.
#[test]
fn v8_policies_and_roles() {
    check(&[
        Kind::Policy,
        Kind::MeshPolicy,
        Kind::ServiceRole,
        Kind::ServiceRoleBinding,
        Kind::RbacConfig,
        Kind::ClusterRbacConfig,
    ]);
}

#[test]
fn v9_what_proxies_ask_and_tell_mixer() {
    check(&[
        Kind::HttpApiSpec,
        Kind::HttpApiSpecBinding,
        Kind::QuotaSpec,
        Kind::QuotaSpecBinding,
    ]);
}

/// A kind with rules has a table, and a rule has objects of both sorts.
#[test]
fn every_rule_has_a_positive_and_a_negative_case() {
    let kinds: BTreeSet<Kind> = tables().iter().map(|table| table.kind).collect();
    for &kind in Kind::ALL {
        let empty = Case::default().object(kind, "b");
        let has_rules = decode::from_json(None, &empty)
            .is_ok_and(|config| !validation::validate(&config).is_empty())
            // The one kind of ours that may be empty.
            || kind == Kind::Sidecar;
        assert_eq!(kinds.contains(&kind), has_rules, "{kind}");
    }
    for table in tables() {
        for rule in &table.rules {
            let (broken, kept): (Vec<_>, Vec<_>) =
                rule.cases.iter().partition(|case| !case.problems.is_empty());
            assert!(
                !broken.is_empty() && !kept.is_empty(),
                "{} {}",
                table.kind,
                rule.rule
            );
        }
    }
}
