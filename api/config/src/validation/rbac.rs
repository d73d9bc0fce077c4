//! Role based access control (V8): who may call what.

use mesh_api::istio::rbac::v1alpha1::access_rule::Constraint;
use mesh_api::istio::rbac::v1alpha1::rbac_config::Mode;
use mesh_api::istio::rbac::v1alpha1::{AccessRule, RbacConfig, ServiceRole, ServiceRoleBinding, Subject};

use super::authentication::DEFAULT;
use super::problems::Problems;

/// Keys of constraints that stand alone.
const CONSTRAINTS: &[&str] = &[
    "connection.sni",
    "destination.ip",
    "destination.name",
    "destination.namespace",
    "destination.port",
    "destination.user",
];
/// Keys of constraints that have a key of their own in brackets.
const KEYED_CONSTRAINTS: &[&str] = &["destination.labels", "request.headers"];
/// What keys of constraints about the metadata of Envoy's filters start with.
const FILTER_CONSTRAINTS: &str = "experimental.envoy.filters.";

/// Whether and where access is controlled, for the cluster or, in its old form, in a namespace.
pub(super) fn check_config(name: &str, config: &RbacConfig, problems: &mut Problems) {
    if name != DEFAULT {
        problems.report_field("metadata.name", "only the object named \"default\" is followed");
        return;
    }
    match config.mode() {
        Mode::OnWithInclusion if config.inclusion.is_none() => {
            problems.report_field("inclusion", "mode ON_WITH_INCLUSION needs it");
        }
        Mode::OnWithExclusion if config.exclusion.is_none() => {
            problems.report_field("exclusion", "mode ON_WITH_EXCLUSION needs it");
        }
        _ => {}
    }
}

pub(super) fn check_role(role: &ServiceRole, problems: &mut Problems) {
    if role.rules.is_empty() {
        problems.report_field("rules", "a role needs at least one rule");
    }
    problems.each("rules", &role.rules, |problems, rule| check_rule(rule, problems));
}

fn check_rule(rule: &AccessRule, problems: &mut Problems) {
    if rule.services.is_empty() {
        problems.report_field("services", "a rule needs at least one service");
    }
    problems.each("constraints", &rule.constraints, |problems, constraint| {
        check_constraint(constraint, problems);
    });
}

/// 1.1 let keys pass that nobody knows and left the constraint out later, which lets more callers in than its author meant.
fn check_constraint(constraint: &Constraint, problems: &mut Problems) {
    let key = constraint.key.as_str();
    if key.is_empty() {
        problems.report_field("key", "missing");
    } else if !is_known_constraint(key) {
        problems.report_field("key", format!("unknown constraint {key:?}"));
    }
    if constraint.values.is_empty() {
        problems.report_field("values", "a constraint needs at least one value");
    }
}

fn is_known_constraint(key: &str) -> bool {
    let is_keyed = |name: &&str| {
        let inner = key.strip_prefix(*name).and_then(|rest| rest.strip_prefix('['));
        inner
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|inner| !inner.is_empty())
    };
    CONSTRAINTS.contains(&key)
        || KEYED_CONSTRAINTS.iter().any(is_keyed)
        || key.starts_with(FILTER_CONSTRAINTS)
}

pub(super) fn check_binding(binding: &ServiceRoleBinding, problems: &mut Problems) {
    if binding.subjects.is_empty() {
        problems.report_field("subjects", "a binding needs at least one subject");
    }
    problems.each("subjects", &binding.subjects, |problems, subject| {
        if names_nobody(subject) {
            problems.report("one of user, group and properties is needed");
        }
    });
    let Some(role) = &binding.role_ref else {
        problems.report_field("roleRef", "missing");
        return;
    };
    problems.field("roleRef", |problems| {
        if role.kind != "ServiceRole" {
            problems.report_field("kind", format!("{:?} is not \"ServiceRole\"", role.kind));
        }
        if role.name.is_empty() {
            problems.report_field("name", "missing");
        }
    });
}

#[allow(deprecated, reason = "the group is still read")]
fn names_nobody(subject: &Subject) -> bool {
    subject.user.is_empty() && subject.group.is_empty() && subject.properties.is_empty()
}
