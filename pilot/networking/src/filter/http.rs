//! The HTTP connection manager (P12.5).

use mesh_api::Any;
use mesh_api::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use mesh_api::envoy::config::accesslog::v3::{AccessLogFilter, ResponseFlagFilter};
use mesh_api::envoy::config::core::v3::Http1ProtocolOptions;
use mesh_api::envoy::config::listener::v3::Filter;
use mesh_api::envoy::config::route::v3::RouteConfiguration;
use mesh_api::envoy::extensions::filters::http::cors::v3::Cors;
use mesh_api::envoy::extensions::filters::http::fault::v3::HttpFault;
use mesh_api::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use mesh_api::envoy::extensions::filters::http::router::v3::Router;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, RouteSpecifier, SetCurrentClientCertDetails, UpgradeConfig,
};
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, LocalReplyConfig, Rds, ResponseMapper, http_filter,
};
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::Protocol;

use super::access_log::access_log;
use super::{HttpSettings, reports, tracing};
use crate::envoy;

/// The body of the answer to requests that no route takes.
const NO_ROUTE: &str = concat!(
    "no route for %REQ(:METHOD)% %REQ(:AUTHORITY)%%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%: no Service or ServiceEntry that ",
    "this workload may see has the host on this port, or no rule of its VirtualService holds\n",
);

/// How requests on a connection are handled.
#[derive(Debug)]
pub(crate) struct Http<'a> {
    /// Names the statistics.
    pub(crate) stat_prefix: String,
    /// Whose requests they are.
    pub(crate) role: Role,
    /// Where requests go.
    pub(crate) routes: Routes<'a>,
    /// What is spoken.
    pub(crate) protocol: Protocol,
    /// What the proxy says.
    pub(crate) settings: HttpSettings,
}

/// Whose requests a connection carries, or whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Those of the proxy's own workload to others.
    Outbound,
    /// Those of others to the proxy's own workload.
    Inbound,
    /// Those of strangers, at an edge of the mesh.
    Gateway,
}

/// Where the routes of requests come from.
#[derive(Debug)]
pub(crate) enum Routes<'a> {
    /// A route configuration that is asked for by name.
    Rds(&'a str),
    /// This one.
    Inline(Box<RouteConfiguration>),
}

/// The filters that route requests.
pub(crate) fn http(mesh: &MeshConfig, http: Http<'_>) -> Vec<Filter> {
    let role = http.role;
    let idle_timeout = prost_types::Duration::try_from(http.settings.idle_timeout).ok();
    let idle_timeout = envoy::positive(idle_timeout.as_ref());
    let mut access_log = access_log(mesh);
    access_log.extend(reports::of_requests(mesh, role));
    let manager = HttpConnectionManager {
        stat_prefix: http.stat_prefix,
        route_specifier: Some(http.routes.into()),
        http_filters: http_filters(role, http.protocol),
        access_log,
        // Only an edge proxy sees the client itself; elsewhere the header is the better source.
        use_remote_address: Some(role == Role::Gateway),
        forward_client_cert_details: forward_client_cert(role).into(),
        set_current_client_cert_details: client_cert_details(role),
        server_name: if role == Role::Outbound {
            String::new()
        } else {
            "istio-envoy".to_owned()
        },
        // Streams may be silent for as long as the application likes, unless the proxy says otherwise.
        stream_idle_timeout: Some(idle_timeout.unwrap_or_else(|| envoy::seconds(0))),
        generate_request_id: Some(true),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..UpgradeConfig::default()
        }],
        // `/a/../b` must not pass for something below `/a`, neither in routes nor in policies.
        normalize_path: Some(true),
        http_protocol_options: (role == Role::Outbound || http.settings.accepts_http_10).then(|| {
            Http1ProtocolOptions {
                // Applications that were told to use a proxy write whole URLs.
                allow_absolute_url: (role == Role::Outbound).then_some(true),
                accept_http_10: http.settings.accepts_http_10,
                ..Http1ProtocolOptions::default()
            }
        }),
        tracing: (http.settings.zipkin.filter(|_| mesh.enable_tracing)).map(tracing::to_zipkin),
        local_reply_config: (role == Role::Outbound).then(local_replies),
        ..HttpConnectionManager::default()
    };
    vec![super::network(
        "envoy.filters.network.http_connection_manager",
        &manager,
    )]
}

/// What the workload's own requests are answered that have no route: which object is missing (pain 33). Strangers at an
/// edge learn nothing of it.
fn local_replies() -> LocalReplyConfig {
    let without_route = AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter {
            flags: vec!["NR".to_owned()],
        })),
    };
    LocalReplyConfig {
        mappers: vec![ResponseMapper {
            filter: Some(without_route),
            body_format_override: Some(super::text_format(NO_ROUTE.to_owned())),
            ..ResponseMapper::default()
        }],
        ..LocalReplyConfig::default()
    }
}

/// The order is the contract: what comes first sees requests first, the router ends the chain.
fn http_filters(role: Role, protocol: Protocol) -> Vec<HttpFilter> {
    let mut filters = Vec::with_capacity(4);
    if role == Role::Inbound && protocol == Protocol::GrpcWeb {
        filters.push(http_filter("envoy.filters.http.grpc_web", &GrpcWeb {}));
    }
    filters.push(http_filter("envoy.filters.http.cors", &Cors {}));
    filters.push(http_filter("envoy.filters.http.fault", &HttpFault::default()));
    filters.push(http_filter("envoy.filters.http.router", &Router::default()));
    filters
}

fn http_filter<M: prost::Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(Any::pack(config))),
        ..HttpFilter::default()
    }
}

/// What becomes of `x-forwarded-client-cert`: an edge writes its own, a workload's proxy adds to what others wrote,
/// and an application is not believed.
fn forward_client_cert(role: Role) -> ForwardClientCertDetails {
    match role {
        Role::Outbound => ForwardClientCertDetails::Sanitize,
        Role::Inbound => ForwardClientCertDetails::AppendForward,
        Role::Gateway => ForwardClientCertDetails::SanitizeSet,
    }
}

fn client_cert_details(role: Role) -> Option<SetCurrentClientCertDetails> {
    (role != Role::Outbound).then(|| SetCurrentClientCertDetails {
        subject: Some(true),
        uri: true,
        dns: true,
        ..SetCurrentClientCertDetails::default()
    })
}

// === impl Routes ===

impl From<Routes<'_>> for RouteSpecifier {
    fn from(routes: Routes<'_>) -> Self {
        match routes {
            Routes::Rds(name) => Self::Rds(Rds {
                config_source: Some(envoy::ads()),
                route_config_name: name.to_owned(),
            }),
            Routes::Inline(routes) => Self::RouteConfig(*routes),
        }
    }
}
