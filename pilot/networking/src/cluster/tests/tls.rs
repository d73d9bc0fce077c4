//! TLS towards upstreams (§6.6).

use mesh_api::envoy::config::core::v3::{data_source, transport_socket};
use mesh_api::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use mesh_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, UpstreamTlsContext,
};
use mesh_api::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use mesh_api::istio::networking::v1alpha3::tls_settings::TlSmode;
use mesh_api::istio::networking::v1alpha3::traffic_policy::PortTrafficPolicy;
use mesh_api::istio::networking::v1alpha3::{PortSelector, TlsSettings, port_selector};
use pilot_model::{Endpoint, Workload};

use super::*;
use crate::Features;

const CLUSTER: &str = "outbound|80||forecast.default.svc.cluster.local";

fn settings(mode: TlSmode) -> TlsSettings {
    TlsSettings {
        mode: mode.into(),
        ..TlsSettings::default()
    }
}

fn policy(tls: TlsSettings) -> TrafficPolicy {
    TrafficPolicy {
        tls: Some(tls),
        ..TrafficPolicy::default()
    }
}

fn tls_of(cluster: &Cluster) -> Option<UpstreamTlsContext> {
    let socket = cluster.transport_socket.as_ref()?;
    assert_eq!(socket.name, "envoy.transport_sockets.tls");
    let Some(transport_socket::ConfigType::TypedConfig(config)) = &socket.config_type else {
        panic!("no configuration");
    };
    Some(config.unpack().expect("an upstream context"))
}

/// The context of `forecast:80` under settings.
fn under_tls(tls: TlsSettings) -> (UpstreamTlsContext, CommonTlsContext) {
    let context = tls_of(&under(policy(tls))).expect("tls");
    let common = context.common_tls_context.clone().expect("a context");
    (context, common)
}

/// Chain, key.
fn certificates(common: &CommonTlsContext) -> Vec<(String, String)> {
    let file = |source: &Option<_>| file(source.as_ref());
    common
        .tls_certificates
        .iter()
        .map(|certificate| {
            (
                file(&certificate.certificate_chain),
                file(&certificate.private_key),
            )
        })
        .collect()
}

fn file(source: Option<&mesh_api::envoy::config::core::v3::DataSource>) -> String {
    match source.and_then(|source| source.specifier.as_ref()) {
        Some(data_source::Specifier::Filename(path)) => path.clone(),
        other => panic!("not a file: {other:?}"),
    }
}

/// Authorities and names.
fn validation(common: &CommonTlsContext) -> Option<(String, Vec<String>)> {
    match common.validation_context_type.as_ref()? {
        ValidationContextType::ValidationContext(context) => {
            Some((file(context.trusted_ca.as_ref()), names_in(context)))
        }
        _ => None,
    }
}

fn names_in(context: &CertificateValidationContext) -> Vec<String> {
    let matchers = context.match_typed_subject_alt_names.iter();
    matchers
        .map(|name| {
            match name
                .matcher
                .as_ref()
                .and_then(|matcher| matcher.match_pattern.as_ref())
            {
                Some(MatchPattern::Exact(name)) => name.clone(),
                other => panic!("not exact: {other:?}"),
            }
        })
        .collect()
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn section_6_6_simple_verifies_when_it_knows_by_what() {
    let (context, common) = under_tls(settings(TlSmode::Simple));
    assert_eq!(context.sni, "forecast.default.svc.cluster.local");
    assert_eq!(certificates(&common), []);
    assert_eq!(validation(&common), None, "no caCertificates: not verified");
    assert!(common.alpn_protocols.is_empty());

    let (context, common) = under_tls(TlsSettings {
        ca_certificates: "/etc/ca.pem".to_owned(),
        subject_alt_names: strings(&["www.example.com", "spiffe://x/y"]),
        sni: "www.example.com".to_owned(),
        // Not a matter of this mode.
        client_certificate: "/etc/cert.pem".to_owned(),
        ..settings(TlSmode::Simple)
    });
    assert_eq!(context.sni, "www.example.com");
    assert_eq!(certificates(&common), []);
    let names = strings(&["www.example.com", "spiffe://x/y"]);
    assert_eq!(validation(&common), Some(("/etc/ca.pem".to_owned(), names)));
}

#[test]
fn section_6_6_mutual_shows_the_certificate_of_the_rule() {
    let (_, common) = under_tls(TlsSettings {
        client_certificate: "/etc/cert.pem".to_owned(),
        private_key: "/etc/key.pem".to_owned(),
        ca_certificates: "/etc/ca.pem".to_owned(),
        ..settings(TlSmode::Mutual)
    });
    let expected = [("/etc/cert.pem".to_owned(), "/etc/key.pem".to_owned())];
    assert_eq!(certificates(&common), expected);
    assert_eq!(validation(&common), Some(("/etc/ca.pem".to_owned(), Vec::new())));
}

#[test]
fn section_6_6_disable_and_no_settings_are_plain_text() {
    assert_eq!(tls_of(&under(policy(settings(TlSmode::Disable)))), None);
    assert_eq!(tls_of(&under(TrafficPolicy::default())), None);
}

/// `forecast` with endpoints that run as two accounts, under `ISTIO_MUTUAL`.
fn mutual(tls: TlsSettings, mesh: MeshConfig) -> Mesh {
    let endpoint = |address: &str, account: &str| Endpoint {
        service_account: account.into(),
        ..endpoint(address, "http", "v1")
    };
    let endpoints = vec![
        endpoint("10.1.0.1:1", "spiffe://cluster.local/ns/default/sa/b"),
        endpoint("10.1.0.2:1", "spiffe://cluster.local/ns/default/sa/a"),
        endpoint("10.1.0.3:1", ""),
    ];
    let mut rule = rule("forecast");
    rule.traffic_policy = Some(policy(tls));
    rule.subsets = vec![subset("v1", &[("version", "v1")])];
    Mesh::with(mesh)
        .service(service("forecast", "10.96.0.1", &[("http", 80), ("grpc", 90)]))
        .endpoints("Kubernetes", "forecast.default.svc.cluster.local", endpoints)
        .rule("default", "forecast", rule)
}

#[test]
fn r_dr_30_istio_mutual_uses_the_certificates_of_the_mesh() {
    let mesh = mutual(settings(TlSmode::IstioMutual), MeshConfig::default());
    let plan = outbound(&mesh.view("default"), &Vantage::of_role(ProxyType::Sidecar));
    for (cluster, sni, alpn) in [
        (
            CLUSTER,
            "outbound_.80_._.forecast.default.svc.cluster.local",
            &["istio"][..],
        ),
        (
            "outbound|90|v1|forecast.default.svc.cluster.local",
            "outbound_.90_.v1_.forecast.default.svc.cluster.local",
            &["istio", "h2"],
        ),
    ] {
        let built = build(&plan, cluster);
        assert_eq!(built.warnings, []);
        let context = tls_of(&built.message).expect("tls");
        assert_eq!(context.sni, sni);
        let common = context.common_tls_context.expect("a context");
        assert_eq!(common.alpn_protocols, alpn);
        assert_eq!(
            certificates(&common),
            [(
                "/etc/certs/cert-chain.pem".to_owned(),
                "/etc/certs/key.pem".to_owned()
            )]
        );
        let accounts = strings(&[
            "spiffe://cluster.local/ns/default/sa/a",
            "spiffe://cluster.local/ns/default/sa/b",
        ]);
        assert_eq!(
            validation(&common),
            Some(("/etc/certs/root-cert.pem".to_owned(), accounts))
        );
    }
}

#[test]
fn r_dr_30_a_rule_may_name_server_and_identities_itself() {
    let tls = TlsSettings {
        sni: "elsewhere".to_owned(),
        subject_alt_names: strings(&["spiffe://other/ns/x/sa/y"]),
        ..settings(TlSmode::IstioMutual)
    };
    let plan = outbound(
        &mutual(tls, MeshConfig::default()).view("default"),
        &Vantage::of_role(ProxyType::Sidecar),
    );
    let context = tls_of(&build(&plan, CLUSTER).message).expect("tls");
    assert_eq!(context.sni, "elsewhere");
    let common = context.common_tls_context.expect("a context");
    let (_, names) = validation(&common).expect("validation");
    assert_eq!(names, ["spiffe://other/ns/x/sa/y"]);
}

#[test]
fn r_dr_30_secrets_come_from_the_agent_where_the_mesh_says_so() {
    let mesh = MeshConfig {
        sds_uds_path: "unix:/var/run/sds/uds_path".to_owned(),
        ..MeshConfig::default()
    };
    let mesh = mutual(settings(TlSmode::IstioMutual), mesh);
    let plan = outbound(&mesh.view("default"), &Vantage::of_role(ProxyType::Sidecar));
    let context = tls_of(&build(&plan, CLUSTER).message).expect("tls");
    let common = context.common_tls_context.expect("a context");
    assert_eq!(common.tls_certificates, []);
    assert_eq!(common.tls_certificate_sds_secret_configs[0].name, "default");
    let Some(ValidationContextType::CombinedValidationContext(combined)) = common.validation_context_type
    else {
        panic!("not combined");
    };
    let roots = combined.validation_context_sds_secret_config.expect("roots");
    assert_eq!(roots.name, "ROOTCA");
    let names = names_in(&combined.default_validation_context.expect("names"));
    assert_eq!(names.len(), 2);
}

#[test]
fn p8_4_a_proxy_may_say_where_its_certificates_are() {
    let view = mutual(settings(TlSmode::IstioMutual), MeshConfig::default()).view("default");
    let mut proxy = proxy(InterceptionMode::Redirect);
    let usual = Vantage::new(&view, &proxy, &Workload::default(), &Features::default());
    proxy
        .metadata
        .insert("TLS_CLIENT_KEY".into(), "/run/key.pem".into());
    let vantage = Vantage::new(&view, &proxy, &Workload::default(), &Features::default());
    assert_ne!(usual, vantage);
    let common = tls_of(&build(&outbound(&view, &vantage), CLUSTER).message)
        .and_then(|context| context.common_tls_context)
        .expect("a context");
    let expected = [("/etc/certs/cert-chain.pem".to_owned(), "/run/key.pem".to_owned())];
    assert_eq!(certificates(&common), expected);
}

#[test]
fn r_se_1_mesh_wide_mutual_tls_says_nothing_about_external_services() {
    let istio = TlSmode::IstioMutual;
    let own = "forecast.default.svc.cluster.local";
    for (host, mode, external, expected) in [
        ("*.cluster.local", istio, false, true),
        ("*.cluster.local", istio, true, false),
        ("*.cluster.local", TlSmode::Simple, true, true),
        (own, istio, true, true),
        (own, TlSmode::Simple, true, true),
        (own, TlSmode::Disable, false, false),
    ] {
        let mut forecast = service("forecast", "10.96.0.1", &[("http", 80)]);
        forecast.mesh_external = external;
        let mut rule = rule("x");
        rule.host = host.to_owned();
        rule.traffic_policy = Some(policy(settings(mode)));
        let mesh = Mesh::new().service(forecast).rule("default", "x", rule);
        let plan = outbound(&mesh.view("default"), &Vantage::of_role(ProxyType::Sidecar));
        let found = tls_of(&build(&plan, CLUSTER).message).is_some();
        assert_eq!(found, expected, "{host} {mode:?} {external}");
    }
}

#[test]
fn section_8_1_the_names_of_a_service_entry_are_checked_unless_the_rule_names_others() {
    let cluster = |names: &[&str]| {
        let mut entry = service("forecast", "10.96.0.1", &[("http", 80)]);
        entry.mesh_external = true;
        entry.service_accounts = ["www.weatherdb.com".into()].into();
        let mut rule = rule("forecast");
        rule.traffic_policy = Some(policy(TlsSettings {
            ca_certificates: "/etc/ca.pem".to_owned(),
            subject_alt_names: strings(names),
            ..settings(TlSmode::Simple)
        }));
        let mesh = Mesh::new().service(entry).rule("default", "forecast", rule);
        let plan = outbound(&mesh.view("default"), &Vantage::of_role(ProxyType::Sidecar));
        let context = tls_of(&build(&plan, CLUSTER).message).expect("tls");
        validation(&context.common_tls_context.expect("a context"))
            .expect("validation")
            .1
    };
    assert_eq!(cluster(&[]), ["www.weatherdb.com"]);
    assert_eq!(cluster(&["db.example.com"]), ["db.example.com"]);
}

#[test]
fn what_envoy_would_refuse_is_left_out_with_a_warning() {
    for (tls, reason) in [
        (
            TlsSettings {
                subject_alt_names: strings(&["www.example.com"]),
                ..settings(TlSmode::Simple)
            },
            "nobody vouches",
        ),
        (settings(TlSmode::Mutual), "no certificate is shown"),
        (
            TlsSettings {
                sni: "x".repeat(256),
                ..settings(TlSmode::Simple)
            },
            "at most 255 bytes",
        ),
    ] {
        let mut rule = rule("forecast");
        rule.traffic_policy = Some(policy(tls));
        let mesh = Mesh::new()
            .service(service("forecast", "10.96.0.1", &[("http", 80)]))
            .rule("default", "forecast", rule);
        let plan = outbound(&mesh.view("default"), &Vantage::of_role(ProxyType::Sidecar));
        let built = build(&plan, CLUSTER);
        assert!(tls_of(&built.message).is_some(), "never plain text instead");
        let [warning] = &built.warnings[..] else {
            panic!("{:?}", built.warnings);
        };
        assert!(warning.reason.contains(reason), "{}", warning.reason);
        assert_eq!(warning.object.to_string(), "DestinationRule default/forecast");
    }
}

#[test]
fn r_dr_31_a_port_that_does_not_mention_tls_is_plain_and_a_subset_inherits_it() {
    let port = |number| PortTrafficPolicy {
        port: Some(PortSelector {
            port: Some(port_selector::Port::Number(number)),
        }),
        load_balancer: Some(LoadBalancerSettings {
            lb_policy: Some(Policy::Simple(SimpleLb::Random.into())),
        }),
        ..PortTrafficPolicy::default()
    };
    let mut rule = rule("forecast");
    rule.traffic_policy = Some(TrafficPolicy {
        port_level_settings: vec![port(90)],
        ..policy(settings(TlSmode::Simple))
    });
    let mut v1 = subset("v1", &[("version", "v1")]);
    v1.traffic_policy = Some(TrafficPolicy {
        outlier_detection: Some(OutlierDetection::default()),
        ..TrafficPolicy::default()
    });
    rule.subsets = vec![v1];
    let mesh = Mesh::new()
        .service(service("forecast", "10.96.0.1", &[("http", 80), ("tcp", 90)]))
        .rule("default", "forecast", rule);
    let plan = outbound(&mesh.view("default"), &Vantage::of_role(ProxyType::Sidecar));
    for (cluster, expected) in [
        (CLUSTER, true),
        ("outbound|80|v1|forecast.default.svc.cluster.local", true),
        ("outbound|90||forecast.default.svc.cluster.local", false),
        ("outbound|90|v1|forecast.default.svc.cluster.local", false),
    ] {
        assert_eq!(
            tls_of(&build(&plan, cluster).message).is_some(),
            expected,
            "{cluster}"
        );
    }
}

/// Whatever the reason was: what was to be called under TLS is not called, and the rest is as without the rule.
#[test]
fn a_rule_that_a_proxy_rejected_does_not_become_plain_text() {
    let mut rule = rule("forecast");
    rule.traffic_policy = Some(TrafficPolicy {
        outlier_detection: Some(OutlierDetection::default()),
        ..policy(settings(TlSmode::Simple))
    });
    let mut plain = subset("plain", &[("version", "v1")]);
    plain.traffic_policy = Some(policy(settings(TlSmode::Disable)));
    rule.subsets = vec![plain, subset("v2", &[("version", "v2")])];
    let published = Mesh::new()
        .service(service("forecast", "10.96.0.1", &[("http", 80)]))
        .rule("default", "forecast", rule)
        .publish();
    let bad = ConfigKey::new(mesh_config::Kind::DestinationRule, "default", "forecast");
    let view = published.without(&[bad].into()).snapshot.view("default");
    let plan = outbound(&view, &Vantage::of_role(ProxyType::Router));
    let subset = "outbound|80|plain|forecast.default.svc.cluster.local";
    assert_eq!(names(&plan), ["BlackHoleCluster", "PassthroughCluster", subset]);
    let cluster = build(&plan, subset).message;
    assert_eq!(
        (cluster.transport_socket, cluster.outlier_detection),
        (None, None)
    );
}
