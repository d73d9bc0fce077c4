//! TLS on connections to and from the proxy: what both directions have in common.

pub(crate) mod client;
pub(crate) mod downstream;
pub(crate) mod inbound;
pub(crate) mod upstream;
pub(crate) mod workload;

use mesh_api::Any;
use mesh_api::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use mesh_api::envoy::config::core::v3::grpc_service::TargetSpecifier;
use mesh_api::envoy::config::core::v3::{
    ApiConfigSource, ApiVersion, ConfigSource, DataSource, GrpcService, TransportSocket, api_config_source,
    data_source, transport_socket,
};
use mesh_api::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use mesh_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, SdsSecretConfig, SubjectAltNameMatcher, TlsCertificate,
};
use mesh_api::envoy::r#type::matcher::v3::StringMatcher;
use mesh_api::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

/// What the mesh's own callers and servers agree on by ALPN, so that a server can tell them from others.
pub(crate) const ALPN_MESH: &str = "istio";
const ALPN_HTTP2: &str = "h2";
const ALPN_HTTP1: &str = "http/1.1";

/// The transport socket that speaks TLS as a `DownstreamTlsContext` or `UpstreamTlsContext` says.
pub(crate) fn transport_socket<M: prost::Name>(context: &M) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(Any::pack(context))),
    }
}

/// A file on the machine of the proxy.
pub(crate) fn file(path: &str) -> DataSource {
    DataSource {
        specifier: Some(data_source::Specifier::Filename(path.to_owned())),
        ..DataSource::default()
    }
}

/// A certificate chain and its private key in files on the machine of the proxy.
pub(crate) fn certificate_files(chain: &str, key: &str) -> TlsCertificate {
    TlsCertificate {
        certificate_chain: Some(file(chain)),
        private_key: Some(file(key)),
        ..TlsCertificate::default()
    }
}

/// One of these names must be among the subject alternative names of the peer's certificate.
///
/// Envoy compares names of one type only; which one is meant shows in the name.
pub(crate) fn subject_alt_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<SubjectAltNameMatcher> {
    let matcher = |name: &str| {
        let san_type = if name.contains("://") {
            SanType::Uri
        } else if name.parse::<std::net::IpAddr>().is_ok() {
            SanType::IpAddress
        } else if name.contains('@') {
            SanType::Email
        } else {
            SanType::Dns
        };
        SubjectAltNameMatcher {
            san_type: san_type.into(),
            matcher: Some(StringMatcher {
                match_pattern: Some(MatchPattern::Exact(name.to_owned())),
                ..StringMatcher::default()
            }),
            ..SubjectAltNameMatcher::default()
        }
    };
    names.into_iter().map(matcher).collect()
}

/// A certificate of the authorities in a file, with one of these names when any is given.
fn validation<'a>(
    authorities: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> CertificateValidationContext {
    CertificateValidationContext {
        trusted_ca: Some(file(authorities)),
        match_typed_subject_alt_names: subject_alt_names(names),
        ..CertificateValidationContext::default()
    }
}

/// A secret that the proxy asks its own pod for.
pub(crate) fn secret(name: &str, source: TargetSpecifier) -> SdsSecretConfig {
    let service = GrpcService {
        target_specifier: Some(source),
        ..GrpcService::default()
    };
    SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(ConfigSource {
            resource_api_version: ApiVersion::V3.into(),
            config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(ApiConfigSource {
                api_type: api_config_source::ApiType::Grpc.into(),
                transport_api_version: ApiVersion::V3.into(),
                grpc_services: vec![service],
                ..ApiConfigSource::default()
            })),
            ..ConfigSource::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_subject_alternative_name_shows_in_the_name() {
        for (name, expected) in [
            ("spiffe://cluster.local/ns/default/sa/client", SanType::Uri),
            ("www.weather.com", SanType::Dns),
            ("10.0.0.1", SanType::IpAddress),
            ("fd00::1", SanType::IpAddress),
            ("someone@weather.com", SanType::Email),
        ] {
            let found = subject_alt_names([name]);
            assert_eq!(found[0].san_type(), expected, "{name}");
        }
    }
}
