//! TLS towards upstreams: the `tls` of DestinationRules (§6.6, `R-DR-29` to `R-DR-31`).

use std::collections::BTreeSet;

use mesh_api::envoy::config::cluster::v3::Cluster;
use mesh_api::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use mesh_api::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use mesh_api::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use mesh_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, TlsParameters, UpstreamTlsContext,
};
use mesh_api::istio::networking::v1alpha3::TlsSettings;
pub(crate) use mesh_api::istio::networking::v1alpha3::tls_settings::TlSmode;
use mesh_config::{Host, Protocol, Str};
use pilot_model::{DestinationRule, Proxy, Service, Versioned, Warning, WarningKind};

/// What the mesh's own callers and servers agree on by ALPN, so that a server can tell them from others.
const ALPN_MESH: &str = "istio";
const ALPN_HTTP2: &str = "h2";
/// The names of the secrets of a workload: its certificate, and the roots of the mesh.
const CERTIFICATE_SECRET: &str = "default";
const ROOTS_SECRET: &str = "ROOTCA";
/// The cluster of the bootstrap through which a proxy asks its agent for secrets.
const SDS_CLUSTER: &str = "sds-grpc";
/// What fits into the message that carries a server name.
const LONGEST_SERVER_NAME: usize = 255;

/// The files that hold the certificate of a proxy's workload, where it says that they are not the usual ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CertificateFiles {
    chain: Str,
    key: Str,
    roots: Str,
}

/// One port of a service, or of a subset of it, and what is known about who answers there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstream<'a> {
    pub(crate) service: &'a Service,
    /// What is asked for when the certificates of the mesh are used: `outbound_.<port>_.<subset>_.<host>`.
    pub(crate) mesh_server_name: &'a str,
    pub(crate) protocol: Protocol,
    /// The rules of the service, of which the first one is blamed.
    pub(crate) rules: &'a [Versioned<DestinationRule>],
    /// The identities of its endpoints.
    pub(crate) identities: Option<&'a BTreeSet<Str>>,
    /// Whether the proxy gets its certificate from the agent instead of from files.
    pub(crate) secrets: bool,
    /// Files other than the usual ones.
    pub(crate) files: Option<&'a CertificateFiles>,
}

/// The mode in force; `None` for plain text.
///
/// A mesh-wide `ISTIO_MUTUAL` says nothing about a service outside the mesh, which has no sidecar (`R-SE-1`). A rule
/// for exactly that host does.
pub(crate) fn mode(
    service: &Service,
    rules: &[Versioned<DestinationRule>],
    settings: Option<&TlsSettings>,
) -> Option<TlSmode> {
    let mode = TlSmode::try_from(settings?.mode).unwrap_or(TlSmode::Disable);
    let for_others = rules.first().is_none_or(|rule| rule.host != service.id.host);
    let inherited = service.mesh_external && mode == TlSmode::IstioMutual && for_others;
    (mode != TlSmode::Disable && !inherited).then_some(mode)
}

/// Makes a cluster speak TLS where its policy says so.
pub(crate) fn apply(
    cluster: &mut Cluster,
    upstream: &Upstream<'_>,
    settings: Option<&TlsSettings>,
) -> Vec<Warning> {
    let Some((settings, mode)) = settings.zip(mode(upstream.service, upstream.rules, settings)) else {
        return Vec::new();
    };
    let mut reasons = Vec::new();
    let mut common = match mode {
        TlSmode::IstioMutual => upstream.mesh_context(settings),
        _ => upstream.own_context(settings, mode, &mut reasons),
    };
    // Envoy's own maximum for clients is 1.2, and some servers speak 1.3 only.
    common.tls_params = Some(TlsParameters {
        tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
        ..TlsParameters::default()
    });
    common.alpn_protocols = alpn(mode, upstream.protocol);

    let mut sni = upstream.server_name(settings, mode);
    if sni.len() > LONGEST_SERVER_NAME || sni.contains('\0') {
        reasons.push(format!(
            "a server name has at most {LONGEST_SERVER_NAME} bytes, none of them 0; none is sent"
        ));
        sni.clear();
    }
    cluster.transport_socket = Some(super::transport_socket(&UpstreamTlsContext {
        common_tls_context: Some(common),
        sni,
        ..UpstreamTlsContext::default()
    }));

    let Some(rule) = upstream.rules.first() else {
        return Vec::new();
    };
    let host = &upstream.service.id.host;
    let warning = |reason| Warning {
        object: rule.key.clone(),
        kind: WarningKind::Unsupported,
        reason: format!("tls of {host}: {reason}"),
    };
    reasons.into_iter().map(warning).collect()
}

fn alpn(mode: TlSmode, protocol: Protocol) -> Vec<String> {
    let of_mesh = (mode == TlSmode::IstioMutual).then_some(ALPN_MESH);
    let of_protocol = protocol.is_http2().then_some(ALPN_HTTP2);
    of_mesh
        .into_iter()
        .chain(of_protocol)
        .map(str::to_owned)
        .collect()
}

// === impl CertificateFiles ===

impl CertificateFiles {
    /// Where the certificates of a workload are mounted.
    const USUAL: [&str; 3] = [
        "/etc/certs/cert-chain.pem",
        "/etc/certs/key.pem",
        "/etc/certs/root-cert.pem",
    ];

    /// The files that a proxy names; `None` when they are the usual ones.
    pub(crate) fn of(proxy: &Proxy) -> Option<Self> {
        let names = ["TLS_CLIENT_CERT_CHAIN", "TLS_CLIENT_KEY", "TLS_CLIENT_ROOT_CERT"];
        let [chain, key, roots] = names.map(|name| proxy.metadata.get(name).filter(|path| !path.is_empty()));
        if chain.is_none() && key.is_none() && roots.is_none() {
            return None;
        }
        let [usual_chain, usual_key, usual_roots] = Self::USUAL.map(Str::from);
        Some(Self {
            chain: chain.cloned().unwrap_or(usual_chain),
            key: key.cloned().unwrap_or(usual_key),
            roots: roots.cloned().unwrap_or(usual_roots),
        })
    }

    fn usual() -> Self {
        let [chain, key, roots] = Self::USUAL.map(Str::from);
        Self { chain, key, roots }
    }
}

// === impl Upstream ===

impl Upstream<'_> {
    /// The certificates of the mesh (`R-DR-30`).
    fn mesh_context(&self, settings: &TlsSettings) -> CommonTlsContext {
        let endpoints = self.identities.into_iter().flatten();
        let known: BTreeSet<&str> = endpoints
            .chain(&self.service.service_accounts)
            .map(|identity| &**identity)
            .collect();
        let names = accepted(settings).unwrap_or_else(|| known.into_iter().collect());
        if self.secrets {
            let validation = CombinedCertificateValidationContext {
                default_validation_context: Some(CertificateValidationContext {
                    match_typed_subject_alt_names: super::subject_alt_names(names),
                    ..CertificateValidationContext::default()
                }),
                validation_context_sds_secret_config: Some(super::secret(ROOTS_SECRET, secrets())),
                ..CombinedCertificateValidationContext::default()
            };
            return CommonTlsContext {
                tls_certificate_sds_secret_configs: vec![super::secret(CERTIFICATE_SECRET, secrets())],
                validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
                ..CommonTlsContext::default()
            };
        }
        let usual = CertificateFiles::usual();
        let files = self.files.unwrap_or(&usual);
        CommonTlsContext {
            tls_certificates: vec![super::certificate_files(&files.chain, &files.key)],
            validation_context_type: Some(ValidationContextType::ValidationContext(validation(
                &files.roots,
                names,
            ))),
            ..CommonTlsContext::default()
        }
    }

    /// The certificates that the rule names.
    fn own_context(
        &self,
        settings: &TlsSettings,
        mode: TlSmode,
        reasons: &mut Vec<String>,
    ) -> CommonTlsContext {
        let mut context = CommonTlsContext::default();
        if mode == TlSmode::Mutual {
            let (chain, key) = (&settings.client_certificate, &settings.private_key);
            if chain.is_empty() || key.is_empty() {
                reasons.push(
                    "mode MUTUAL without clientCertificate and privateKey; no certificate is shown"
                        .to_owned(),
                );
            } else {
                context.tls_certificates = vec![super::certificate_files(chain, key)];
            }
        }
        let of_service = self.service.service_accounts.iter().map(|name| &**name);
        let names = accepted(settings).unwrap_or_else(|| of_service.collect());
        if !settings.ca_certificates.is_empty() {
            let validation = validation(&settings.ca_certificates, names);
            context.validation_context_type = Some(ValidationContextType::ValidationContext(validation));
        } else if !names.is_empty() {
            // Envoy refuses to look at names that nobody vouches for.
            reasons.push(
                "without caCertificates nobody vouches for subjectAltNames; nothing is checked".to_owned(),
            );
        }
        context
    }

    fn server_name(&self, settings: &TlsSettings, mode: TlSmode) -> String {
        if !settings.sni.is_empty() {
            return settings.sni.clone();
        }
        let host: &Host = &self.service.id.host;
        match mode {
            TlSmode::IstioMutual => self.mesh_server_name.to_owned(),
            // No client could ask for all hosts below a domain.
            _ if host.is_wildcard() => String::new(),
            _ => host.to_string(),
        }
    }
}

/// Where a proxy asks for the secrets of its workload.
fn secrets() -> TargetSpecifier {
    TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
        cluster_name: SDS_CLUSTER.to_owned(),
        ..EnvoyGrpc::default()
    })
}

/// A certificate of the authorities in a file, with one of these names when any is given.
fn validation(authorities: &str, names: Vec<&str>) -> CertificateValidationContext {
    CertificateValidationContext {
        trusted_ca: Some(super::file(authorities)),
        match_typed_subject_alt_names: super::subject_alt_names(names),
        ..CertificateValidationContext::default()
    }
}

/// The names that a rule accepts; `None` when it leaves that to the service.
fn accepted(settings: &TlsSettings) -> Option<Vec<&str>> {
    let names = settings.subject_alt_names.iter().map(String::as_str);
    let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    (!names.is_empty()).then_some(names)
}
