//! What authentication policies make of inbound listeners.

use mesh_api::envoy::config::core::v3::data_source;
use mesh_api::envoy::config::core::v3::transport_socket::ConfigType;
use mesh_api::envoy::config::listener::v3::ListenerFilterChainMatchPredicate;
use mesh_api::envoy::config::listener::v3::listener_filter_chain_match_predicate::Rule;
use mesh_api::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use mesh_api::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use mesh_api::istio::authentication::v1alpha1::mutual_tls::Mode as TlsMode;
use mesh_api::istio::authentication::v1alpha1::peer_authentication_method::Params;
use mesh_api::istio::authentication::v1alpha1::{
    Jwt, MutualTls, OriginAuthenticationMethod, PeerAuthenticationMethod, Policy, PrincipalBinding,
};
use mesh_config::Kind;
use pilot_model::Published;

use super::*;

fn mtls(mode: TlsMode) -> PeerAuthenticationMethod {
    let mtls = MutualTls {
        mode: mode.into(),
        ..MutualTls::default()
    };
    PeerAuthenticationMethod {
        params: Some(Params::Mtls(mtls)),
    }
}

fn of_peers(peers: Vec<PeerAuthenticationMethod>) -> Policy {
    Policy {
        peers,
        ..Policy::default()
    }
}

fn with(mode: TlsMode) -> Policy {
    of_peers(vec![mtls(mode)])
}

/// A workload with a port for HTTP, one for TCP, and one that only probes ask.
fn served() -> Workload {
    Workload {
        management_ports: [8081].into(),
        ..workload(&[("forecast", "http", 80, 3002), ("forecast", "tcp", 90, 9000)])
    }
}

fn publish(mesh: MeshConfig, policy: Policy) -> Published {
    Mesh::with(mesh)
        .service(service("forecast", "10.96.0.1", &[("http", 80), ("tcp", 90)]))
        .mesh_policy(policy)
        .publish()
}

fn plan_of(published: &Published, proxy: &Proxy) -> Plan<ListenerKey> {
    inbound(
        &published.snapshot.view("default"),
        proxy,
        &served(),
        &Features::default(),
    )
}

fn plan(policy: Policy) -> Plan<ListenerKey> {
    plan_of(
        &publish(MeshConfig::default(), policy),
        &proxy(InterceptionMode::Redirect),
    )
}

/// The TLS that a chain speaks; `None` for plain text.
fn context(chain: &FilterChain) -> Option<DownstreamTlsContext> {
    let Some(ConfigType::TypedConfig(any)) = &chain.transport_socket.as_ref()?.config_type else {
        panic!("no config")
    };
    Some(any.unpack().expect("downstream TLS"))
}

/// Condition and target of the chains for the ports of the workload, and whether they speak TLS.
fn secured(listener: &Listener) -> Vec<(String, String, bool)> {
    chains(listener)
        .into_iter()
        .zip(&listener.filter_chains)
        .map(|((condition, target), chain)| (condition, target, chain.transport_socket.is_some()))
        .collect()
}

/// The ports whose connections are looked at, from those for which that is disabled.
fn inspected(listener: &Listener) -> Vec<i32> {
    fn ports(predicate: &ListenerFilterChainMatchPredicate) -> Vec<i32> {
        match predicate.rule.as_ref().expect("a rule") {
            Rule::NotMatch(inner) => ports(inner),
            Rule::OrMatch(set) => set.rules.iter().flat_map(ports).collect(),
            Rule::DestinationPortRange(range) => vec![range.start],
            rule => panic!("{rule:?}"),
        }
    }
    let inspector = listener
        .listener_filters
        .iter()
        .find(|filter| filter.name == "envoy.filters.listener.tls_inspector");
    inspector
        .and_then(|filter| filter.filter_disabled.as_ref())
        .map(ports)
        .unwrap_or_default()
}

const HTTP: &str = "inline inbound|http|80";
const TCP: &str = "inbound|90|tcp|forecast.default.svc.cluster.local";
const MANAGEMENT: &str = "inbound|8081|mgmt-8081|mgmtCluster";

/// T-1403, T-501, T-503; the ports that only probes ask are nobody's business (§10.2).
#[test]
fn p16_1_modes_and_protocols() {
    let all = |chains: &[(&str, &str, bool)]| -> Vec<(String, String, bool)> {
        let own = |(condition, target, tls): &(&str, &str, bool)| {
            ((*condition).to_owned(), (*target).to_owned(), *tls)
        };
        chains.iter().map(own).collect()
    };
    let management = plan(of_peers(vec![]))
        .keys
        .iter()
        .map(Listeners::name)
        .collect::<Vec<_>>()
        .len();
    assert_eq!(management, 4);
    for (policy, expected, by_address, looks_at, timeout) in [
        (
            of_peers(vec![]),
            all(&[(":3002", HTTP, false), (":9000", TCP, false)]),
            all(&[("", TCP, false)]),
            vec![],
            None,
        ),
        (
            with(TlsMode::Strict),
            // The pod itself may do without.
            all(&[
                (":3002 tls", HTTP, true),
                (":3002 self", HTTP, false),
                (":9000 tls", TCP, true),
                (":9000 self", TCP, false),
            ]),
            all(&[("tls", TCP, true), ("self", TCP, false)]),
            vec![3002, 9000],
            Some(5_000),
        ),
        (
            of_peers(vec![PeerAuthenticationMethod::default()]),
            all(&[
                (":3002 tls", HTTP, true),
                (":3002 self", HTTP, false),
                (":9000 tls", TCP, true),
                (":9000 self", TCP, false),
            ]),
            all(&[("tls", TCP, true), ("self", TCP, false)]),
            vec![3002, 9000],
            Some(5_000),
        ),
        (
            with(TlsMode::Permissive),
            all(&[
                (":3002 alpn istio", HTTP, true),
                (":3002", HTTP, false),
                (":9000 alpn istio", TCP, true),
                (":9000", TCP, false),
            ]),
            all(&[("alpn istio", TCP, true), ("", TCP, false)]),
            vec![3002, 9000],
            Some(500),
        ),
    ] {
        let plan = plan(policy.clone());
        assert_eq!(plan.warnings, [], "{policy:?}");
        let capturing = build(&plan, "virtualInbound");
        let found = secured(&capturing);
        assert_eq!(found[..expected.len()], expected, "{policy:?}");
        let (condition, target, tls) = &found[expected.len()];
        assert_eq!(
            (&**condition, &**target, *tls),
            (":8081", MANAGEMENT, false),
            "{policy:?}"
        );
        assert!(found[expected.len()..].iter().all(|(.., tls)| !tls), "{policy:?}");
        assert_eq!(inspected(&capturing), looks_at, "{policy:?}");
        let waits = capturing.listener_filters_timeout;
        let waits = waits.map(|time| time.seconds * 1_000 + i64::from(time.nanos / 1_000_000));
        assert_eq!(waits, timeout, "{policy:?}");
        assert_eq!(capturing.continue_on_listener_filters_timeout, timeout.is_some());

        let itself = build(&plan, "10.1.0.7_9000");
        assert_eq!(secured(&itself), by_address, "{policy:?}");
    }
}

/// §7.4, §5.4, §6: whose certificates, and what is asked of callers.
#[test]
fn p16_1_servers_show_the_certificate_of_their_workload() {
    let mut other = proxy(InterceptionMode::Redirect);
    other
        .metadata
        .insert("TLS_SERVER_CERT_CHAIN".into(), "/run/chain.pem".into());
    let with_agent = MeshConfig {
        sds_uds_path: "unix:/var/run/sds/uds_path".to_owned(),
        ..MeshConfig::default()
    };
    let usual = proxy(InterceptionMode::Redirect);
    for (mesh, proxy, chain) in [
        (MeshConfig::default(), &usual, Some("/etc/certs/cert-chain.pem")),
        (MeshConfig::default(), &other, Some("/run/chain.pem")),
        (with_agent, &usual, None),
    ] {
        let plan = plan_of(&publish(mesh, with(TlsMode::Strict)), proxy);
        let listener = build(&plan, "virtualInbound");
        let context = context(&listener.filter_chains[0]).expect("TLS");
        assert_eq!(context.require_client_certificate, Some(true));
        let common = context.common_tls_context.expect("a context");
        // `istio` would make every caller of the mesh speak a protocol that nobody has.
        assert_eq!(common.alpn_protocols, ["h2", "http/1.1"]);
        match chain {
            Some(path) => {
                let shown = common.tls_certificates[0].certificate_chain.clone();
                let shown = shown.and_then(|source| source.specifier);
                assert_eq!(shown, Some(data_source::Specifier::Filename(path.to_owned())));
                let Some(ValidationContextType::ValidationContext(validation)) =
                    common.validation_context_type
                else {
                    panic!("nobody is checked")
                };
                assert!(
                    validation.trusted_ca.is_some() && validation.match_typed_subject_alt_names.is_empty()
                );
            }
            None => {
                assert_eq!(common.tls_certificate_sds_secret_configs[0].name, "default");
                let Some(ValidationContextType::CombinedValidationContext(validation)) =
                    common.validation_context_type
                else {
                    panic!("nobody is checked")
                };
                let roots = validation.validation_context_sds_secret_config.expect("roots");
                assert_eq!(roots.name, "ROOTCA");
            }
        }
    }
}

/// Without the certificates there is nobody whom a strict server could serve; a permissive one serves the others.
#[test]
fn p16_1_a_policy_that_a_proxy_rejected_opens_no_door() {
    for (mode, expected) in [(TlsMode::Strict, "BlackHoleCluster"), (TlsMode::Permissive, HTTP)] {
        let published = publish(MeshConfig::default(), with(mode));
        let key = ConfigKey::new(Kind::MeshPolicy, "", "default");
        let left = published.without(&[key].into());
        let plan = plan_of(&left, &proxy(InterceptionMode::Redirect));
        let found = secured(&build(&plan, "virtualInbound"));
        assert_eq!(
            found[0],
            (":3002".to_owned(), expected.to_owned(), false),
            "{mode:?}"
        );
    }
}

/// A policy is named by what it changes, so that it is found when a proxy rejects that.
#[test]
fn p3_2_listeners_know_their_policies() {
    let key = ConfigKey::new(Kind::MeshPolicy, "", "default");
    for (policy, is_named) in [(with(TlsMode::Strict), true), (of_peers(vec![]), false)] {
        let plan = plan(policy);
        let virtual_inbound = plan
            .keys
            .iter()
            .find(|key| Listeners::name(key) == "virtualInbound")
            .expect("it exists");
        let origins = Listeners::origins(virtual_inbound);
        assert_eq!(origins.contains(&Origin::Object(key.clone())), is_named);
    }
}

/// What is asked for and cannot be checked is refused, and said (§7.3, D-8).
#[test]
fn p16_1_tokens_that_nobody_checks_are_not_let_in() {
    let jwt = || Jwt {
        issuer: "someone".to_owned(),
        ..Jwt::default()
    };
    let origin = OriginAuthenticationMethod { jwt: Some(jwt()) };
    let origins = Policy {
        origins: vec![origin],
        ..Policy::default()
    };
    let optional = Policy {
        origin_is_optional: true,
        ..origins.clone()
    };
    let bound = Policy {
        principal_binding: PrincipalBinding::UseOrigin.into(),
        ..Policy::default()
    };
    let peer = of_peers(vec![PeerAuthenticationMethod {
        params: Some(Params::Jwt(jwt())),
    }]);
    for (policy, refused) in [
        (origins, Some("Origin authentication failed.")),
        (optional, None),
        (bound, Some("Origin authentication failed.")),
        (peer, Some("Peer authentication failed.")),
        (with(TlsMode::Strict), None),
    ] {
        let plan = plan(policy.clone());
        let chain = &build(&plan, "virtualInbound").filter_chains[0];
        assert_eq!(answer(chain).as_deref(), refused, "{policy:?}");
        // Both ports are mentioned: requests are refused on one, and there are none on the other.
        let found: Vec<_> = plan.warnings.iter().map(|warning| warning.kind).collect();
        let expected = if refused.is_some() { 2 } else { 0 };
        assert_eq!(found, vec![WarningKind::Unsupported; expected], "{policy:?}");
    }
}

/// What every request is answered by the proxy itself; `None` when they are forwarded.
fn answer(chain: &FilterChain) -> Option<String> {
    use mesh_api::envoy::config::route::v3::route::Action;

    let Some(filter::ConfigType::TypedConfig(any)) = &chain.filters[0].config_type else {
        panic!("no config")
    };
    let manager: HttpConnectionManager = any.unpack().expect("a manager");
    let Some(RouteSpecifier::RouteConfig(routes)) = manager.route_specifier else {
        panic!("no routes")
    };
    match routes.virtual_hosts[0].routes[0]
        .action
        .as_ref()
        .expect("an action")
    {
        Action::DirectResponse(response) => {
            assert_eq!(response.status, 401);
            match response.body.as_ref()?.specifier.as_ref()? {
                data_source::Specifier::InlineString(text) => Some(text.clone()),
                source => panic!("{source:?}"),
            }
        }
        _ => None,
    }
}

/// Nothing is captured, so nobody is asked for anything: that is said.
#[test]
fn p16_1_without_capture_no_policy_holds() {
    let published = publish(MeshConfig::default(), with(TlsMode::Strict));
    let plan = plan_of(&published, &proxy(InterceptionMode::None));
    assert_eq!(names(&plan), Vec::<&str>::new());
    let objects: Vec<_> = plan
        .warnings
        .iter()
        .map(|warning| warning.object.to_string())
        .collect();
    assert_eq!(objects, ["MeshPolicy default"; 2]);
}
