//! TLS that clients of a gateway speak (§7.2, P14; spec 03 §9).

use mesh_api::envoy::config::core::v3::TransportSocket;
use mesh_api::envoy::config::core::v3::grpc_service::{GoogleGrpc, TargetSpecifier};
use mesh_api::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use mesh_api::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol as EnvoyProtocol;
use mesh_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, TlsParameters,
};
use mesh_api::istio::networking::v1alpha3::server::TlsOptions;
use mesh_api::istio::networking::v1alpha3::server::tls_options::{TlSmode, TlsProtocol};
use mesh_config::Str;
use pilot_model::Proxy;

use super::{certificate_files, file, secret, subject_alt_names, transport_socket};

/// Where the secrets of a gateway are served to it.
const SECRETS_SOCKET: &str = "unix:/var/run/ingress_gateway/sds";
/// What follows the name of a credential in the name of the certificates that its clients are checked against.
const CA_SUFFIX: &str = "-cacert";

/// How a server takes TLS connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Downstream {
    certificate: Certificate,
    clients: Clients,
    subject_alt_names: Vec<Str>,
    min_version: EnvoyProtocol,
    max_version: EnvoyProtocol,
    cipher_suites: Vec<Str>,
    alpn: &'static [&'static str],
}

/// Where the certificate of the server comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Certificate {
    /// Files in the gateway's pod.
    Files { chain: Str, key: Str },
    /// A secret that the gateway asks for by this name.
    Secret(Str),
}

/// What is asked of the certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Clients {
    /// Nothing.
    Anonymous,
    /// One that is shown must be signed by an authority of this file.
    MayShow(Str),
    /// One must be shown that is signed by an authority of this file.
    MustShow(Str),
    /// One must be shown that is signed by an authority of a secret.
    MustShowForSecret(Str),
}

/// What is spoken inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// HTTP of either version, as the client wants.
    Http,
    /// Anything: the gateway cannot promise a protocol that the server behind it may not speak.
    Bytes,
}

/// Whether the gateway can ask for secrets: `credentialName` works only for those that say so (P14).
pub(crate) fn asks_for_secrets(proxy: &Proxy) -> bool {
    proxy
        .metadata
        .get("USER_SDS")
        .is_some_and(|value| matches!(&**value, "1" | "t" | "T" | "TRUE" | "true" | "True"))
}

// === impl Downstream ===

impl Downstream {
    /// What a server that ends TLS asks for, and findings about parts that are left out.
    ///
    /// # Errors
    ///
    /// Why it cannot be served: less than what was asked for would be insecure, or Envoy would not take it.
    pub(crate) fn new(
        tls: &TlsOptions,
        inside: Inside,
        secrets: bool,
    ) -> Result<(Self, Vec<String>), String> {
        let mutual = tls.mode() == TlSmode::Mutual;
        let credential = tls.credential_name.as_str();
        let (certificate, clients) = if secrets && !credential.is_empty() {
            let clients = if mutual {
                Clients::MustShowForSecret(format!("{credential}{CA_SUFFIX}").into())
            } else {
                Clients::Anonymous
            };
            (Certificate::Secret(credential.into()), clients)
        } else {
            if tls.server_certificate.is_empty() || tls.private_key.is_empty() {
                return Err(if credential.is_empty() {
                    "tls needs serverCertificate and privateKey".to_owned()
                } else {
                    format!(
                        "tls.credentialName {credential:?} needs a gateway with USER_SDS, and there are no files beside it"
                    )
                });
            }
            let clients = match (mutual, tls.ca_certificates.as_str()) {
                (true, "") => return Err("tls.mode MUTUAL needs caCertificates".to_owned()),
                (true, file) => Clients::MustShow(file.into()),
                (false, "") => Clients::Anonymous,
                (false, file) => Clients::MayShow(file.into()),
            };
            let certificate = Certificate::Files {
                chain: tls.server_certificate.as_str().into(),
                key: tls.private_key.as_str().into(),
            };
            (certificate, clients)
        };

        let mut findings = Vec::new();
        let subject_alt_names: Vec<Str> = match clients {
            Clients::Anonymous => {
                if !tls.subject_alt_names.is_empty() {
                    findings.push(
                        "tls.subjectAltNames is left out: no certificates of clients are checked".to_owned(),
                    );
                }
                Vec::new()
            }
            _ => tls
                .subject_alt_names
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
        };
        let (min_version, max_version) = versions(tls, &mut findings);
        Ok((
            Self {
                certificate,
                clients,
                subject_alt_names,
                min_version,
                max_version,
                cipher_suites: cipher_suites(tls, &mut findings),
                alpn: match inside {
                    Inside::Http => &["h2", "http/1.1"],
                    Inside::Bytes => &[],
                },
            },
            findings,
        ))
    }

    /// The transport socket of the filter chain.
    pub(crate) fn to_envoy(&self) -> TransportSocket {
        let mut common = CommonTlsContext {
            tls_params: self.parameters(),
            alpn_protocols: self.alpn.iter().map(|&protocol| protocol.to_owned()).collect(),
            validation_context_type: self.validation(),
            ..CommonTlsContext::default()
        };
        match &self.certificate {
            Certificate::Files { chain, key } => {
                common.tls_certificates = vec![certificate_files(chain, key)]
            }
            Certificate::Secret(name) => {
                common.tls_certificate_sds_secret_configs = vec![secret(name, secrets())]
            }
        }
        let must_show = matches!(self.clients, Clients::MustShow(_) | Clients::MustShowForSecret(_));
        transport_socket(&DownstreamTlsContext {
            common_tls_context: Some(common),
            require_client_certificate: Some(must_show),
            ..DownstreamTlsContext::default()
        })
    }

    fn parameters(&self) -> Option<TlsParameters> {
        let parameters = TlsParameters {
            tls_minimum_protocol_version: self.min_version.into(),
            tls_maximum_protocol_version: self.max_version.into(),
            cipher_suites: self.cipher_suites.iter().map(ToString::to_string).collect(),
            ..TlsParameters::default()
        };
        (parameters != TlsParameters::default()).then_some(parameters)
    }

    fn validation(&self) -> Option<ValidationContextType> {
        let mut context = CertificateValidationContext {
            match_typed_subject_alt_names: subject_alt_names(
                self.subject_alt_names.iter().map(|name| &**name),
            ),
            ..CertificateValidationContext::default()
        };
        match &self.clients {
            Clients::Anonymous => None,
            Clients::MayShow(path) | Clients::MustShow(path) => {
                context.trusted_ca = Some(file(path));
                Some(ValidationContextType::ValidationContext(context))
            }
            Clients::MustShowForSecret(name) => Some(ValidationContextType::CombinedValidationContext(
                CombinedCertificateValidationContext {
                    default_validation_context: Some(context),
                    validation_context_sds_secret_config: Some(secret(name, secrets())),
                    ..CombinedCertificateValidationContext::default()
                },
            )),
        }
    }
}

/// Where the gateway asks for secrets.
fn secrets() -> TargetSpecifier {
    TargetSpecifier::GoogleGrpc(GoogleGrpc {
        target_uri: SECRETS_SOCKET.to_owned(),
        stat_prefix: "sdsstat".to_owned(),
        ..GoogleGrpc::default()
    })
}

/// The lowest and the highest version.
fn versions(tls: &TlsOptions, findings: &mut Vec<String>) -> (EnvoyProtocol, EnvoyProtocol) {
    let (min, max) = (
        version(tls.min_protocol_version()),
        version(tls.max_protocol_version()),
    );
    let both = min != EnvoyProtocol::TlsAuto && max != EnvoyProtocol::TlsAuto;
    if both && min > max {
        findings.push(format!(
            "tls.minProtocolVersion {} is above maxProtocolVersion {}; both are left out",
            tls.min_protocol_version().as_str_name(),
            tls.max_protocol_version().as_str_name(),
        ));
        return (EnvoyProtocol::TlsAuto, EnvoyProtocol::TlsAuto);
    }
    // Envoy's own lowest version is 1.2 today; it was 1.0 when the field was made.
    let below_default = matches!(max, EnvoyProtocol::TlSv10 | EnvoyProtocol::TlSv11);
    match min {
        EnvoyProtocol::TlsAuto if below_default => (EnvoyProtocol::TlSv10, max),
        _ => (min, max),
    }
}

fn version(version: TlsProtocol) -> EnvoyProtocol {
    match version {
        TlsProtocol::TlsAuto => EnvoyProtocol::TlsAuto,
        TlsProtocol::Tlsv10 => EnvoyProtocol::TlSv10,
        TlsProtocol::Tlsv11 => EnvoyProtocol::TlSv11,
        TlsProtocol::Tlsv12 => EnvoyProtocol::TlSv12,
        TlsProtocol::Tlsv13 => EnvoyProtocol::TlSv13,
    }
}

/// The suites that Envoy can offer, each once. One that it does not know would make it refuse the whole listener.
fn cipher_suites(tls: &TlsOptions, findings: &mut Vec<String>) -> Vec<Str> {
    let mut suites: Vec<Str> = Vec::with_capacity(tls.cipher_suites.len());
    for name in &tls.cipher_suites {
        if !CIPHER_SUITES.contains(&name.as_str()) {
            findings.push(format!(
                "tls.cipherSuites: {name:?} is left out: Envoy does not offer it"
            ));
        } else if !suites.iter().any(|known| **known == **name) {
            suites.push(name.as_str().into());
        }
    }
    if suites.is_empty() && !tls.cipher_suites.is_empty() {
        findings.push("tls.cipherSuites: none is left, Envoy's own list is offered".to_owned());
    }
    suites
}

/// The suites up to TLS 1.2 that today's Envoy takes; those of TLS 1.3 cannot be chosen.
const CIPHER_SUITES: &[&str] = &[
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "PSK-AES128-CBC-SHA",
    "PSK-AES256-CBC-SHA",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn simple() -> TlsOptions {
        TlsOptions {
            mode: TlSmode::Simple.into(),
            server_certificate: "/cert".to_owned(),
            private_key: "/key".to_owned(),
            ..TlsOptions::default()
        }
    }

    /// Whether it can be served, by files, with and without secrets.
    fn served(tls: &TlsOptions) -> (bool, bool) {
        let of = |secrets| Downstream::new(tls, Inside::Http, secrets).is_ok();
        (of(false), of(true))
    }

    #[test]
    fn p14_what_cannot_be_secured_is_not_served() {
        let mutual = TlsOptions {
            mode: TlSmode::Mutual.into(),
            ..simple()
        };
        let with_ca = TlsOptions {
            ca_certificates: "/ca".to_owned(),
            ..mutual.clone()
        };
        let credential = TlsOptions {
            mode: TlSmode::Mutual.into(),
            credential_name: "weather-credential".to_owned(),
            ..TlsOptions::default()
        };
        let both = TlsOptions {
            credential_name: "weather-credential".to_owned(),
            ..simple()
        };
        for (tls, expected) in [
            (simple(), (true, true)),
            (TlsOptions::default(), (false, false)),
            (mutual, (false, false)),
            (with_ca, (true, true)),
            (credential, (false, true)),
            (both, (true, true)),
        ] {
            assert_eq!(served(&tls), expected, "{tls:?}");
        }
    }

    #[test]
    fn p14_versions_and_suites_that_envoy_does_not_take_are_left_out() {
        use EnvoyProtocol as Envoy;
        let versions_of = |min: TlsProtocol, max: TlsProtocol| {
            let mut findings = Vec::new();
            let tls = TlsOptions {
                min_protocol_version: min.into(),
                max_protocol_version: max.into(),
                ..simple()
            };
            (versions(&tls, &mut findings), findings.len())
        };
        for (min, max, expected, findings) in [
            (
                TlsProtocol::TlsAuto,
                TlsProtocol::TlsAuto,
                (Envoy::TlsAuto, Envoy::TlsAuto),
                0,
            ),
            (
                TlsProtocol::Tlsv12,
                TlsProtocol::TlsAuto,
                (Envoy::TlSv12, Envoy::TlsAuto),
                0,
            ),
            (
                TlsProtocol::TlsAuto,
                TlsProtocol::Tlsv11,
                (Envoy::TlSv10, Envoy::TlSv11),
                0,
            ),
            (
                TlsProtocol::Tlsv13,
                TlsProtocol::Tlsv12,
                (Envoy::TlsAuto, Envoy::TlsAuto),
                1,
            ),
        ] {
            assert_eq!(versions_of(min, max), (expected, findings), "{min:?} {max:?}");
        }

        let tls = TlsOptions {
            cipher_suites: ["ECDHE-RSA-AES256-SHA", "RC4-SHA", "ECDHE-RSA-AES256-SHA"]
                .map(str::to_owned)
                .to_vec(),
            ..simple()
        };
        let (downstream, findings) = Downstream::new(&tls, Inside::Http, false).expect("served");
        assert_eq!(downstream.cipher_suites, ["ECDHE-RSA-AES256-SHA".into()]);
        assert_eq!(
            findings,
            ["tls.cipherSuites: \"RC4-SHA\" is left out: Envoy does not offer it"]
        );
    }
}
