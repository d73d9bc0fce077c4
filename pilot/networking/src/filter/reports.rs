//! What Mixer is told of requests and connections by Envoy's access log service (`enableEnvoyAccessLogService`).
//!
//! Mixer makes its attributes of the entries by itself; what an entry does not say goes with it as tags that are called like
//! attributes: on which side of the request the proxy is, and to which pod it sent the request.

use mesh_api::Any;
use mesh_api::envoy::config::accesslog::v3::{AccessLog, access_log};
use mesh_api::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use mesh_api::envoy::config::core::v3::{ApiVersion, GrpcService};
use mesh_api::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use mesh_api::envoy::r#type::metadata::v3::metadata_key::{PathSegment, path_segment};
use mesh_api::envoy::r#type::metadata::v3::{MetadataKey, MetadataKind, metadata_kind};
use mesh_api::envoy::r#type::tracing::v3::{CustomTag, custom_tag};
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::Host;

use super::Role;
use crate::name;

/// What the stream of entries is called.
const LOG_NAME: &str = "mixer";

/// Headers by which Mixer knows gRPC and how its calls ended.
const CONTENT_TYPE: &str = "content-type";
const GRPC_STATUS: [&str; 2] = ["grpc-status", "grpc-message"];

/// The log of requests; `None` unless the mesh asks for it and names a Mixer.
pub(super) fn of_requests(mesh: &MeshConfig, role: Role) -> Option<AccessLog> {
    let named = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let config = HttpGrpcAccessLogConfig {
        common_config: Some(common(mesh, role)?),
        additional_request_headers_to_log: named(&[CONTENT_TYPE]),
        additional_response_headers_to_log: named(&[&[CONTENT_TYPE][..], &GRPC_STATUS].concat()),
        additional_response_trailers_to_log: named(&GRPC_STATUS),
    };
    Some(log("envoy.access_loggers.http_grpc", &config))
}

/// The same of connections.
pub(super) fn of_connections(mesh: &MeshConfig, role: Role) -> Option<AccessLog> {
    let config = TcpGrpcAccessLogConfig {
        common_config: Some(common(mesh, role)?),
    };
    Some(log("envoy.access_loggers.tcp_grpc", &config))
}

fn log<M: prost::Name>(name: &str, config: &M) -> AccessLog {
    AccessLog {
        name: name.to_owned(),
        config_type: Some(access_log::ConfigType::TypedConfig(Any::pack(config))),
        ..AccessLog::default()
    }
}

fn common(mesh: &MeshConfig, role: Role) -> Option<CommonGrpcAccessLogConfig> {
    if !mesh.enable_envoy_access_log_service {
        return None;
    }
    let server = &mesh.mixer_report_server;
    let (host, port) = server.rsplit_once(':')?;
    let cluster = name::outbound_cluster(port.parse().ok()?, "", &Host::new(host));
    let mixer = EnvoyGrpc {
        cluster_name: cluster.to_string(),
        // The name of the cluster, which would be sent otherwise, is no authority.
        authority: server.clone(),
        ..EnvoyGrpc::default()
    };
    let mut tags = vec![literal(
        "context.reporter.kind",
        match role {
            Role::Inbound => "inbound",
            Role::Outbound | Role::Gateway => "outbound",
        },
    )];
    if role != Role::Inbound {
        tags.push(of_endpoint("destination.uid", "uid"));
    }
    Some(CommonGrpcAccessLogConfig {
        log_name: LOG_NAME.to_owned(),
        grpc_service: Some(GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(mixer)),
            ..GrpcService::default()
        }),
        transport_api_version: ApiVersion::V3.into(),
        custom_tags: tags,
        ..CommonGrpcAccessLogConfig::default()
    })
}

fn literal(tag: &str, value: &str) -> CustomTag {
    let value = value.to_owned();
    CustomTag {
        tag: tag.to_owned(),
        r#type: Some(custom_tag::Type::Literal(custom_tag::Literal { value })),
    }
}

/// A fact of the endpoint that the request was sent to, as its metadata has it.
fn of_endpoint(tag: &str, fact: &str) -> CustomTag {
    let kind = metadata_kind::Kind::Host(metadata_kind::Host {});
    let path = PathSegment {
        segment: Some(path_segment::Segment::Key(fact.to_owned())),
    };
    let metadata = custom_tag::Metadata {
        kind: Some(MetadataKind { kind: Some(kind) }),
        metadata_key: Some(MetadataKey {
            key: "istio".to_owned(),
            path: vec![path],
        }),
        ..custom_tag::Metadata::default()
    };
    CustomTag {
        tag: tag.to_owned(),
        r#type: Some(custom_tag::Type::Metadata(metadata)),
    }
}
