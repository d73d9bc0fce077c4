//! TLS towards upstreams: the `tls` of DestinationRules (§6.6, `R-DR-29` to `R-DR-31`).

use std::collections::BTreeSet;

use mesh_api::envoy::config::cluster::v3::Cluster;
use mesh_api::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use mesh_api::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use mesh_api::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, TlsParameters, UpstreamTlsContext,
};
use mesh_api::istio::networking::v1alpha3::TlsSettings;
pub(crate) use mesh_api::istio::networking::v1alpha3::tls_settings::TlSmode;
use mesh_config::{Host, Protocol, Str};
use pilot_model::{DestinationRule, Service, Versioned, Warning, WarningKind};

use super::workload::WorkloadCertificates;
use super::{ALPN_HTTP2, ALPN_MESH, validation};

/// What fits into the message that carries a server name.
const LONGEST_SERVER_NAME: usize = 255;

/// One port of a service, or of a subset of it, and what is known about who answers there.
#[derive(Clone, Debug)]
pub(crate) struct Upstream<'a> {
    pub(crate) service: &'a Service,
    /// What is asked for when the certificates of the mesh are used: `outbound_.<port>_.<subset>_.<host>`.
    pub(crate) mesh_server_name: &'a str,
    pub(crate) protocol: Protocol,
    /// The rules of the service, of which the first one is blamed.
    pub(crate) rules: &'a [Versioned<DestinationRule>],
    /// The identities of its endpoints.
    pub(crate) identities: Option<&'a BTreeSet<Str>>,
    /// Where the proxy has the certificate of its workload.
    pub(crate) certificates: WorkloadCertificates,
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
        self.certificates.context(names)
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

/// The names that a rule accepts; `None` when it leaves that to the service.
fn accepted(settings: &TlsSettings) -> Option<Vec<&str>> {
    let names = settings.subject_alt_names.iter().map(String::as_str);
    let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    (!names.is_empty()).then_some(names)
}
