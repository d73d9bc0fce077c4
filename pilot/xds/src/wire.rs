//! The two forms of the protocol on the wire.

use bytes::Bytes;
use mesh_api::envoy::config::core::v3::{ControlPlane, Node};
use mesh_api::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mesh_api::google::rpc::Status as RpcStatus;
use mesh_api::{DeltaDiscoveryResponse, DiscoveryResponse};

use crate::stream::{Outgoing, Protocol, Request};
use crate::transport::Chunks;

/// One form of the protocol.
pub(crate) trait Wire: Send + 'static {
    /// What clients send.
    type Request: prost::Message + Default + Send + 'static;
    /// The form.
    const PROTOCOL: Protocol;

    /// Takes a request apart.
    fn incoming(request: Self::Request) -> Incoming;

    /// Puts a response together.
    fn response(outgoing: Outgoing, control_plane: ControlPlane) -> Chunks;
}

/// A request in parts.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Who asks (on the first request).
    pub(crate) node: Option<Node>,
    pub(crate) type_url: String,
    /// The names to subscribe to, not yet in `request`.
    pub(crate) names: Vec<Bytes>,
    /// Everything else.
    pub(crate) request: Request,
}

/// State of the world.
#[derive(Debug)]
pub(crate) struct SotwWire;

/// Incremental.
#[derive(Debug)]
pub(crate) struct DeltaWire;

/// `envoy.service.discovery.v3.DiscoveryRequest` as far as a server reads it.
///
/// Names stay in the buffer that they came in: a proxy repeats all of them in each of its answers.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SotwRequest {
    #[prost(message, optional, tag = "2")]
    node: Option<Node>,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    resource_names: Vec<Bytes>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(message, optional, tag = "6")]
    error_detail: Option<RpcStatus>,
    #[prost(string, tag = "5")]
    response_nonce: String,
}

// === impl Wire ===

impl Wire for SotwWire {
    type Request = SotwRequest;

    const PROTOCOL: Protocol = Protocol::StateOfTheWorld;

    fn incoming(request: SotwRequest) -> Incoming {
        let error = request.error_detail.map(|status| (status.code, status.message));
        Incoming {
            node: request.node,
            type_url: request.type_url,
            names: request.resource_names,
            request: Request {
                nonce: request.response_nonce,
                error,
                ..Request::default()
            },
        }
    }

    fn response(outgoing: Outgoing, control_plane: ControlPlane) -> Chunks {
        let response = DiscoveryResponse {
            version_info: outgoing.version,
            resources: outgoing.resources,
            type_url: outgoing.xds_type.type_url().to_owned(),
            nonce: outgoing.nonce,
            control_plane: Some(control_plane),
        };
        response.into_chunks()
    }
}

impl Wire for DeltaWire {
    type Request = DeltaDiscoveryRequest;

    const PROTOCOL: Protocol = Protocol::Delta;

    fn incoming(request: DeltaDiscoveryRequest) -> Incoming {
        let names = request.resource_names_subscribe.into_iter().map(Bytes::from);
        let error = request.error_detail.map(|status| (status.code, status.message));
        Incoming {
            node: request.node,
            type_url: request.type_url,
            names: names.collect(),
            request: Request {
                nonce: request.response_nonce,
                error,
                unsubscribe: request.resource_names_unsubscribe,
                initial_versions: request.initial_resource_versions.into_iter().collect(),
                ..Request::default()
            },
        }
    }

    fn response(outgoing: Outgoing, control_plane: ControlPlane) -> Chunks {
        let response = DeltaDiscoveryResponse {
            system_version_info: outgoing.version,
            resources: outgoing.resources,
            type_url: outgoing.xds_type.type_url().to_owned(),
            nonce: outgoing.nonce,
            removed_resources: outgoing.removed,
            control_plane: Some(control_plane),
        };
        response.into_chunks()
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::envoy::service::discovery::v3::DiscoveryRequest;
    use prost::Message as _;

    use super::*;

    #[test]
    fn requests_are_read_as_envoy_writes_them() {
        let request = DiscoveryRequest {
            version_info: "v1".into(),
            node: Some(Node {
                id: "node".into(),
                ..Node::default()
            }),
            resource_names: vec!["a".into(), "b".into()],
            type_url: "type".into(),
            response_nonce: "n".into(),
            error_detail: Some(RpcStatus {
                code: 3,
                message: "bad".into(),
                ..RpcStatus::default()
            }),
            ..DiscoveryRequest::default()
        };
        let read = SotwRequest::decode(&request.encode_to_vec()[..]).expect("decodes");
        let Incoming {
            node,
            type_url,
            names,
            request,
        } = SotwWire::incoming(read);
        assert_eq!(node.expect("a node").id, "node");
        assert_eq!(type_url, "type");
        assert_eq!(names, ["a", "b"]);
        assert_eq!(request.nonce, "n");
        assert_eq!(request.error, Some((3, "bad".to_owned())));
    }
}
