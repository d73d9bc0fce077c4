//! Policies that callers cannot keep, and bindings of roles that do not exist.

use mesh_api::istio::authentication::v1alpha1 as authentication;
use mesh_api::istio::rbac::v1alpha1::ServiceRoleBinding;
use mesh_config::{Config, ConfigKey, Kind};

use crate::Known;
use crate::facts::{Fact, Policy};
use crate::warnings::Warnings;

/// Callers that are told not to use TLS, by a rule for the same host.
pub(crate) fn check_policy(
    known: &Known,
    config: &Config,
    spec: &authentication::Policy,
    out: &mut Warnings,
) {
    let key = &config.meta.key;
    let fact = Policy::of(spec);
    if !fact.strict {
        return;
    }
    for (rule_key, rule) in known.of_kind(Kind::DestinationRule) {
        let Fact::Rule(rule) = rule else { continue };
        if !rule.plain_text {
            continue;
        }
        let Some((namespace, name)) = known.kubernetes_name(&rule.host) else {
            continue;
        };
        let is_about = match key.kind {
            Kind::MeshPolicy => known.policy(namespace, name).is_none_or(|(it, _)| it == key),
            _ if namespace != &*key.namespace => false,
            _ if fact.targets.is_empty() => known
                .policy(namespace, name)
                .is_none_or(|(it, _)| it == key || it.kind == Kind::MeshPolicy),
            _ => fact.targets.get(name) == Some(&false),
        };
        if is_about {
            out.say(
                "peers",
                format!(
                    "STRICT, but by {rule_key} callers of {} use no TLS: they are refused",
                    rule.host
                ),
            );
        }
    }
}

/// A role that is not there gives nobody anything.
pub(crate) fn check_binding(known: &Known, config: &Config, spec: &ServiceRoleBinding, out: &mut Warnings) {
    let Some(role) = &spec.role_ref else { return };
    let namespace = config.meta.key.namespace.clone();
    let key = ConfigKey::new(Kind::ServiceRole, namespace.clone(), role.name.as_str());
    if known.knows_all(&[Kind::ServiceRole]) && known.get(&key).is_none() {
        out.say(
            "roleRef.name",
            format!("there is no ServiceRole {} in {namespace}", role.name),
        );
    }
}
