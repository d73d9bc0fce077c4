//! Which authentication policy holds where.

use mesh_api::istio::authentication::v1alpha1::mutual_tls::Mode;
use mesh_api::istio::authentication::v1alpha1::peer_authentication_method::Params;
use mesh_api::istio::authentication::v1alpha1::{
    Jwt, MutualTls, PeerAuthenticationMethod, Policy, PortSelector, TargetSelector, port_selector,
};
use mesh_config::{ConfigKey, Host, Kind, Port, Protocol};

use super::mesh::*;
use crate::{PeerMode, ScopedView};

fn peer(params: Option<Params>) -> PeerAuthenticationMethod {
    PeerAuthenticationMethod { params }
}

fn mtls(mode: Mode) -> PeerAuthenticationMethod {
    let mtls = MutualTls {
        mode: mode.into(),
        ..MutualTls::default()
    };
    peer(Some(Params::Mtls(mtls)))
}

fn target(name: &str, ports: &[port_selector::Port]) -> TargetSelector {
    let ports = ports.iter().map(|port| PortSelector {
        port: Some(port.clone()),
    });
    TargetSelector {
        name: name.to_owned(),
        ports: ports.collect(),
        ..TargetSelector::default()
    }
}

fn policy(targets: &[TargetSelector], peers: &[PeerAuthenticationMethod]) -> Policy {
    Policy {
        targets: targets.to_vec(),
        peers: peers.to_vec(),
        ..Policy::default()
    }
}

/// The name of the policy for a port, and what it takes.
fn holds(view: &ScopedView, namespace: &str, host: &str, number: u16, name: &str) -> (String, PeerMode) {
    let port = Port {
        name: name.into(),
        number,
        protocol: Protocol::Http,
    };
    let host = Host::from(host);
    match view.authentication_policy(namespace, &host, &port) {
        Some(policy) => (policy.key.to_string(), policy.peer_mode()),
        None => (String::new(), PeerMode::PlainText),
    }
}

/// `R-70`, `R-71`, `R-72`; T-502, T-514 to T-517.
#[test]
fn v8_the_closest_policy_holds_and_none_is_merged() {
    use port_selector::Port::{Name, Number};
    let mut builder = builder();
    apply(
        &mut builder,
        [
            mesh_policy(policy(&[], &[mtls(Mode::Permissive)])),
            authentication_policy("weather", "default", 1, policy(&[], &[mtls(Mode::Strict)])),
            // Nothing but targets: off.
            authentication_policy("weather", "off", 2, policy(&[target("legacy", &[])], &[])),
            authentication_policy(
                "weather",
                "ports",
                3,
                policy(
                    &[target("forecast", &[Number(3002), Name("admin".to_owned())])],
                    &[mtls(Mode::Permissive)],
                ),
            ),
            authentication_policy(
                "weather",
                "younger",
                4,
                policy(
                    &[target("legacy", &[]), target("forecast", &[])],
                    &[mtls(Mode::Strict)],
                ),
            ),
        ],
    );
    let view = builder.publish().snapshot.view("elsewhere");
    let host = |name: &str, namespace: &str| format!("{name}.{namespace}.svc.cluster.local");
    for (namespace, name, port, expected, mode) in [
        (
            "weather",
            "frontend",
            (80, "http"),
            "Policy weather/default",
            PeerMode::Strict,
        ),
        (
            "weather",
            "legacy",
            (80, "http"),
            "Policy weather/off",
            PeerMode::PlainText,
        ),
        (
            "weather",
            "forecast",
            (3002, "http"),
            "Policy weather/ports",
            PeerMode::Permissive,
        ),
        (
            "weather",
            "forecast",
            (9, "admin"),
            "Policy weather/ports",
            PeerMode::Permissive,
        ),
        (
            "weather",
            "forecast",
            (9, "http"),
            "Policy weather/younger",
            PeerMode::Strict,
        ),
        // Short names mean services of the namespace of the policy.
        (
            "other",
            "legacy",
            (80, "http"),
            "MeshPolicy default",
            PeerMode::Permissive,
        ),
    ] {
        assert_eq!(
            holds(&view, namespace, &host(name, namespace), port.0, port.1),
            (expected.to_owned(), mode),
            "{name}.{namespace}:{port:?}"
        );
    }
    // A host that only looks like a name of the cluster is no such service.
    for foreign in ["legacy", "legacy.other.svc.cluster.local", "legacy.weather.com"] {
        let expected = if foreign == "legacy" {
            "Policy weather/off"
        } else {
            "Policy weather/default"
        };
        assert_eq!(
            holds(&view, "weather", foreign, 80, "http").0,
            expected,
            "{foreign}"
        );
    }

    // A later publication without them asks for nothing.
    for name in ["default", "off", "ports", "younger"] {
        builder.apply(gone(Kind::Policy, "weather", name));
    }
    builder.apply(gone(Kind::MeshPolicy, "", "default"));
    let view = builder.publish().snapshot.view("elsewhere");
    assert_eq!(
        holds(&view, "weather", &host("frontend", "weather"), 80, "http"),
        (String::new(), PeerMode::PlainText)
    );
}

/// `R-73`: what says nothing is STRICT.
#[test]
fn v8_what_peers_ask_for() {
    let jwt = || peer(Some(Params::Jwt(Jwt::default())));
    for (peers, expected) in [
        (vec![], PeerMode::PlainText),
        (vec![peer(None)], PeerMode::Strict),
        (
            vec![peer(Some(Params::Mtls(MutualTls::default())))],
            PeerMode::Strict,
        ),
        (vec![mtls(Mode::Permissive)], PeerMode::Permissive),
        (vec![jwt()], PeerMode::PlainText),
        (
            vec![jwt(), mtls(Mode::Permissive), mtls(Mode::Strict)],
            PeerMode::Permissive,
        ),
    ] {
        let mut builder = builder();
        builder.apply(mesh_policy(policy(&[], &peers)));
        let view = builder.publish().snapshot.view("weather");
        let (_, mode) = holds(&view, "weather", "frontend.weather.svc.cluster.local", 80, "http");
        assert_eq!(mode, expected, "{peers:?}");
    }
}

/// Pain 10: a policy that is left out for a proxy does not become an open door.
#[test]
fn v8_a_policy_that_a_proxy_rejected_still_says_what_it_asked_for() {
    let mut builder = builder();
    builder.apply(mesh_policy(policy(&[], &[mtls(Mode::Strict)])));
    let published = builder.publish();
    let key = ConfigKey::new(Kind::MeshPolicy, "", "default");
    assert!(published.snapshot.revision_of(&key).is_some());
    let left = published.without(&[key].into()).snapshot;
    let policies: Vec<_> = left.authentication_policies.iter().collect();
    let [policy] = &policies[..] else {
        panic!("{policies:?}")
    };
    assert!(policy.is_rejected && policy.peer_mode() == PeerMode::Strict);
}
