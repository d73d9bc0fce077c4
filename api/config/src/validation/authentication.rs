//! Authentication policies (V8): who must show what to be served.

use std::collections::BTreeSet;

use mesh_api::istio::authentication::v1alpha1::peer_authentication_method::Params;
use mesh_api::istio::authentication::v1alpha1::{Jwt, Policy, PortSelector, port_selector};

use super::primitive;
use super::problems::Problems;

/// The name of the policy for a whole namespace, and of that for the mesh.
pub(super) const DEFAULT: &str = "default";

/// A policy of a namespace: the one named `default` is for all of its services, the others say which.
pub(super) fn check_policy(name: &str, policy: &Policy, problems: &mut Problems) {
    match (name == DEFAULT, policy.targets.is_empty()) {
        (true, false) => problems.report_field(
            "targets",
            "the policy named \"default\" is for the whole namespace and takes none",
        ),
        (false, true) => problems.report_field("targets", "only the policy named \"default\" has none"),
        _ => {}
    }
    check(policy, problems);
}

/// The policy of the mesh.
pub(super) fn check_mesh_policy(name: &str, policy: &Policy, problems: &mut Problems) {
    if name != DEFAULT {
        problems.report_field("metadata.name", "the policy of the mesh is named \"default\"");
    }
    if !policy.targets.is_empty() {
        problems.report_field("targets", "the policy of the mesh takes none");
    }
    check(policy, problems);
}

/// A peer that says nothing is one with `mtls:` and nothing behind it, which is the same as `mtls: {}`.
fn check(policy: &Policy, problems: &mut Problems) {
    problems.each("targets", &policy.targets, |problems, target| {
        problems.check_field("name", primitive::label(&target.name));
        problems.each("ports", &target.ports, |problems, port| {
            check_port(port, problems)
        });
    });
    let mut issuers = BTreeSet::new();
    problems.each("peers", &policy.peers, |problems, peer| {
        if let Some(Params::Jwt(jwt)) = &peer.params {
            problems.field("jwt", |problems| check_jwt(jwt, &mut issuers, problems));
        }
    });
    problems.each("origins", &policy.origins, |problems, origin| {
        if let Some(jwt) = &origin.jwt {
            problems.field("jwt", |problems| check_jwt(jwt, &mut issuers, problems));
        }
    });
}

fn check_port(selector: &PortSelector, problems: &mut Problems) {
    match &selector.port {
        None => problems.report("one of number and name is needed"),
        Some(port_selector::Port::Number(number)) => {
            problems.check_field("number", primitive::port(*number));
        }
        Some(port_selector::Port::Name(name)) => problems.check_field("name", primitive::label(name)),
    }
}

/// `issuers` are those of the policy so far: a token says who issued it, and two entries for one would contradict.
fn check_jwt(jwt: &Jwt, issuers: &mut BTreeSet<String>, problems: &mut Problems) {
    if jwt.issuer.is_empty() {
        problems.report_field("issuer", "missing");
    } else if !issuers.insert(jwt.issuer.clone()) {
        problems.report_field("issuer", format!("another entry is for {:?}", jwt.issuer));
    }
    for (name, values) in [
        ("audiences", &jwt.audiences),
        ("jwtHeaders", &jwt.jwt_headers),
        ("jwtParams", &jwt.jwt_params),
    ] {
        problems.each(name, values, |problems, value| {
            if value.is_empty() {
                problems.report("must not be empty");
            }
        });
    }
    if !jwt.jwks_uri.is_empty() {
        problems.check_field("jwksUri", primitive::http_url(&jwt.jwks_uri));
    }
}
