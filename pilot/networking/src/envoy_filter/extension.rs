//! Envoy's own filters: their names and the messages that configure them.

use std::borrow::Cow;

use mesh_api::istio::networking::v1alpha3::envoy_filter::Filter;
use mesh_api::istio::networking::v1alpha3::envoy_filter::filter::FilterType;

/// Where a filter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In an HTTP connection manager.
    Http,
    /// In a filter chain.
    Network,
}

const HTTP_NAMES: &str = "envoy.filters.http.";
const HTTP_MESSAGES: &str = "envoy.extensions.filters.http.";
const NETWORK_NAMES: &str = "envoy.filters.network.";
const NETWORK_MESSAGES: &str = "envoy.extensions.filters.network.";

/// The HTTP filters that all supported Envoys have and that need not stand last, with their messages.
const HTTP: &[(&str, &str)] = &[
    ("adaptive_concurrency", "AdaptiveConcurrency"),
    ("admission_control", "AdmissionControl"),
    ("alternate_protocols_cache", "FilterConfig"),
    ("api_key_auth", "ApiKeyAuth"),
    ("aws_lambda", "Config"),
    ("aws_request_signing", "AwsRequestSigning"),
    ("bandwidth_limit", "BandwidthLimit"),
    ("basic_auth", "BasicAuth"),
    ("buffer", "Buffer"),
    ("cache", "CacheConfig"),
    ("cache_v2", "CacheV2Config"),
    ("cdn_loop", "CdnLoopConfig"),
    ("composite", "Composite"),
    ("compressor", "Compressor"),
    ("connect_grpc_bridge", "FilterConfig"),
    ("cors", "Cors"),
    ("credential_injector", "CredentialInjector"),
    ("csrf", "CsrfPolicy"),
    ("custom_response", "CustomResponse"),
    ("decompressor", "Decompressor"),
    ("dynamic_forward_proxy", "FilterConfig"),
    ("dynamic_modules", "DynamicModuleFilter"),
    ("ext_authz", "ExtAuthz"),
    ("ext_proc", "ExternalProcessor"),
    ("fault", "HTTPFault"),
    ("file_system_buffer", "FileSystemBufferFilterConfig"),
    ("gcp_authn", "GcpAuthnFilterConfig"),
    ("geoip", "Geoip"),
    ("grpc_field_extraction", "GrpcFieldExtractionConfig"),
    ("grpc_http1_bridge", "Config"),
    ("grpc_http1_reverse_bridge", "FilterConfig"),
    ("grpc_json_reverse_transcoder", "GrpcJsonReverseTranscoder"),
    ("grpc_json_transcoder", "GrpcJsonTranscoder"),
    ("grpc_stats", "FilterConfig"),
    ("grpc_web", "GrpcWeb"),
    ("header_mutation", "HeaderMutation"),
    ("header_to_metadata", "Config"),
    ("health_check", "HealthCheck"),
    ("ip_tagging", "IPTagging"),
    ("json_to_metadata", "JsonToMetadata"),
    ("jwt_authn", "JwtAuthentication"),
    ("kill_request", "KillRequest"),
    ("local_ratelimit", "LocalRateLimit"),
    ("lua", "Lua"),
    ("oauth2", "OAuth2"),
    ("on_demand", "OnDemand"),
    ("original_src", "OriginalSrc"),
    ("proto_message_extraction", "ProtoMessageExtractionConfig"),
    ("rate_limit_quota", "RateLimitQuotaFilterConfig"),
    ("ratelimit", "RateLimit"),
    ("rbac", "RBAC"),
    ("set_filter_state", "Config"),
    ("set_metadata", "Config"),
    ("stateful_session", "StatefulSession"),
    ("tap", "Tap"),
    ("thrift_to_metadata", "ThriftToMetadata"),
    ("wasm", "Wasm"),
];

/// The same for network filters.
const NETWORK: &[(&str, &str)] = &[
    ("connection_limit", "ConnectionLimit"),
    ("dynamic_modules", "DynamicModuleNetworkFilter"),
    ("ext_authz", "ExtAuthz"),
    ("ext_proc", "NetworkExternalProcessor"),
    ("geoip", "Geoip"),
    ("local_ratelimit", "LocalRateLimit"),
    ("mongo_proxy", "MongoProxy"),
    ("ratelimit", "RateLimit"),
    ("rbac", "RBAC"),
    ("set_filter_state", "Config"),
    ("sni_cluster", "SniCluster"),
    ("sni_dynamic_forward_proxy", "FilterConfig"),
    ("wasm", "Wasm"),
    ("zookeeper_proxy", "ZooKeeperProxy"),
];

/// Filters that end their chain. There is one already, and Envoy takes no second.
const HTTP_TERMINAL: &[&str] = &["file_server", "mcp_router", "router", "upstream_codec"];
const NETWORK_TERMINAL: &[&str] = &[
    "direct_response",
    "dubbo_proxy",
    "echo",
    "envoy_mobile_http_connection_manager",
    "generic_proxy",
    "http_connection_manager",
    "redis_proxy",
    "reverse_tunnel",
    "reverse_tunnel_drain_aware_http_connection_manager",
    "tcp_proxy",
    "thrift_proxy",
];

/// The filters that had shorter names in Envoy 1.10, which configuration of Istio 1.1 bears: `envoy.` and this, and what
/// stands in its place today.
const HTTP_FORMER: &[(&str, &str)] = &[
    ("buffer", "buffer"),
    ("cors", "cors"),
    ("csrf", "csrf"),
    ("ext_authz", "ext_authz"),
    ("fault", "fault"),
    ("grpc_http1_bridge", "grpc_http1_bridge"),
    ("grpc_json_transcoder", "grpc_json_transcoder"),
    ("grpc_web", "grpc_web"),
    ("health_check", "health_check"),
    ("ip_tagging", "ip_tagging"),
    ("lua", "lua"),
    ("rate_limit", "ratelimit"),
    ("router", "router"),
];
const NETWORK_FORMER: &[(&str, &str)] = &[
    ("echo", "echo"),
    ("ext_authz", "ext_authz"),
    ("http_connection_manager", "http_connection_manager"),
    ("mongo_proxy", "mongo_proxy"),
    ("ratelimit", "ratelimit"),
    ("redis_proxy", "redis_proxy"),
    ("tcp_proxy", "tcp_proxy"),
];

// === impl Place ===

impl Place {
    /// Where a filter is meant to stand; `None` when it does not say.
    pub(super) fn of(filter: &Filter) -> Option<Self> {
        match filter.filter_type() {
            FilterType::Http => Some(Self::Http),
            FilterType::Network => Some(Self::Network),
            FilterType::Invalid => None,
        }
    }

    /// The name that today's Envoy has for a filter.
    pub(super) fn todays_name<'a>(self, name: &'a str) -> Cow<'a, str> {
        let (names, former) = match self {
            Self::Http => (HTTP_NAMES, HTTP_FORMER),
            Self::Network => (NETWORK_NAMES, NETWORK_FORMER),
        };
        let short = name.strip_prefix("envoy.").unwrap_or_default();
        match former.iter().find(|(former, _)| *former == short) {
            Some((_, todays)) => format!("{names}{todays}").into(),
            None => name.into(),
        }
    }

    /// The message that configures the filter with this name of today.
    pub(super) fn message_of(self, name: &str) -> Option<String> {
        let (names, messages, filters) = self.tables();
        let short = name.strip_prefix(names)?;
        let (_, message) = filters.iter().find(|(name, _)| *name == short)?;
        Some(format!("{messages}{short}.v3.{message}"))
    }

    /// Whether a filter that can stand here is configured by this message.
    pub(super) fn takes(self, message: &str) -> bool {
        let (_, messages, filters) = self.tables();
        let parts = message
            .strip_prefix(messages)
            .and_then(|rest| rest.split_once(".v3."));
        parts.is_some_and(|parts| filters.contains(&parts))
    }

    /// Whether a filter or message is one of those that end a chain.
    pub(super) fn is_terminal(self, name_or_message: &str) -> bool {
        let (names, messages, _) = self.tables();
        let terminal = match self {
            Self::Http => HTTP_TERMINAL,
            Self::Network => NETWORK_TERMINAL,
        };
        let short = name_or_message.strip_prefix(names).or_else(|| {
            let rest = name_or_message.strip_prefix(messages)?;
            rest.split_once(".v3.").map(|(short, _)| short)
        });
        short.is_some_and(|short| terminal.contains(&short))
    }

    fn tables(
        self,
    ) -> (
        &'static str,
        &'static str,
        &'static [(&'static str, &'static str)],
    ) {
        match self {
            Self::Http => (HTTP_NAMES, HTTP_MESSAGES, HTTP),
            Self::Network => (NETWORK_NAMES, NETWORK_MESSAGES, NETWORK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_known() {
        for place in [Place::Http, Place::Network] {
            let (names, _, filters) = place.tables();
            for (short, _) in filters {
                let message = place.message_of(&format!("{names}{short}")).expect("listed");
                assert!(
                    mesh_api::descriptors().get_message_by_name(&message).is_some(),
                    "{message}"
                );
                assert!(place.takes(&message), "{message}");
            }
        }
    }

    #[test]
    fn former_names_are_those_of_filters() {
        for (place, former) in [(Place::Http, HTTP_FORMER), (Place::Network, NETWORK_FORMER)] {
            for (former, _) in former {
                let former = format!("envoy.{former}");
                let todays = place.todays_name(&former);
                assert!(
                    place.message_of(&todays).is_some() || place.is_terminal(&todays),
                    "{former}"
                );
            }
        }
        assert_eq!(
            Place::Http.todays_name("envoy.filters.http.lua"),
            "envoy.filters.http.lua"
        );
        assert_eq!(Place::Network.todays_name("mine"), "mine");
    }
}
