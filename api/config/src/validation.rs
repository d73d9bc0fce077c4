//! Rules that an object must keep beyond being well formed (spec 04 part V).
//!
//! Every rule is checked, so that somebody who writes an object learns about all faults at once. Where the specs
//! decide against Istio 1.1's validator, the rule says so. Addresses of both IP families are accepted.

mod authentication;
mod client_config;
mod destination_rule;
mod envoy_filter;
mod gateway;
pub mod mesh;
mod parameters;
pub(crate) mod primitive;
mod problems;
mod rbac;
mod regex;
mod service_entry;
mod sidecar;
mod virtual_service;

use prost::Name;

pub(crate) use gateway::public_host;

use crate::{Config, Kind};
use problems::Problems;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Path of the field, such as `http[0].route[1].weight`; empty when the fault is not in one field.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

/// All rules that the object breaks, in the order of its fields as far as possible. Kinds without rules have none.
pub fn validate(config: &Config) -> Vec<Problem> {
    let mut problems = Problems::default();
    let name = &*config.meta.key.name;
    match config.meta.key.kind {
        Kind::ClusterRbacConfig | Kind::RbacConfig => {
            check(config, &mut problems, |message, problems| {
                rbac::check_config(name, message, problems);
            });
        }
        Kind::DestinationRule => check(config, &mut problems, destination_rule::check),
        Kind::EnvoyFilter => check(config, &mut problems, envoy_filter::check),
        Kind::Gateway => {
            gateway::check_name(name, &mut problems);
            check(config, &mut problems, gateway::check);
        }
        Kind::HttpApiSpec => check(config, &mut problems, client_config::check_api_spec),
        Kind::HttpApiSpecBinding => check(config, &mut problems, client_config::check_api_spec_binding),
        Kind::MeshPolicy => check(config, &mut problems, |message, problems| {
            authentication::check_mesh_policy(name, message, problems);
        }),
        Kind::Policy => check(config, &mut problems, |message, problems| {
            authentication::check_policy(name, message, problems);
        }),
        Kind::QuotaSpec => check(config, &mut problems, client_config::check_quota_spec),
        Kind::QuotaSpecBinding => check(config, &mut problems, client_config::check_quota_spec_binding),
        Kind::ServiceEntry => check(config, &mut problems, service_entry::check),
        Kind::ServiceRole => check(config, &mut problems, rbac::check_role),
        Kind::ServiceRoleBinding => check(config, &mut problems, rbac::check_binding),
        Kind::Sidecar => check(config, &mut problems, sidecar::check),
        Kind::VirtualService => check(config, &mut problems, virtual_service::check),
        _ => {}
    }
    problems.into_vec()
}

/// What is wrong with parameters of the adapters and templates that Mixer of 1.1 had built in, in every kind that holds some.
///
/// For whoever admits objects (spec 02 §9.11). It is none of the rules of [`validate`]: Mixer judges parameters itself, together
/// with what they are for, and keeps the handler that was there before.
pub fn parameters(config: &Config) -> Vec<Problem> {
    let mut problems = Problems::default();
    match config.meta.key.kind {
        Kind::Handler => check(config, &mut problems, parameters::check_handler),
        Kind::Instance => check(config, &mut problems, parameters::check_instance),
        _ => parameters::check_free_form(config, &mut problems),
    }
    problems.into_vec()
}

fn check<M: Name + Default>(config: &Config, problems: &mut Problems, rules: impl FnOnce(&M, &mut Problems)) {
    match config.decode() {
        Ok(message) => rules(&message, problems),
        Err(error) => problems.report(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
