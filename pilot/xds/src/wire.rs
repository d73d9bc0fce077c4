//! The two forms of the protocol on the wire.

use bytes::Bytes;
use mesh_api::envoy::config::core::v3::{ControlPlane, Node};
use mesh_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mesh_api::{DeltaDiscoveryResponse, DiscoveryResponse};
use prost::{DecodeError, Message as _};

use crate::name_list::NameList;
use crate::stream::{Outgoing, Protocol, Request};
use crate::transport::Chunks;

/// One form of the protocol.
pub(crate) trait Wire: Send + 'static {
    /// The form.
    const PROTOCOL: Protocol;

    /// Takes an encoded request apart.
    fn incoming(request: &Bytes) -> Result<Incoming, DecodeError>;

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
    pub(crate) names: NameList,
    /// Everything else.
    pub(crate) request: Request,
}

/// State of the world.
#[derive(Debug)]
pub(crate) struct SotwWire;

/// Incremental.
#[derive(Debug)]
pub(crate) struct DeltaWire;

// === impl Wire ===

impl Wire for SotwWire {
    const PROTOCOL: Protocol = Protocol::StateOfTheWorld;

    fn incoming(request: &Bytes) -> Result<Incoming, DecodeError> {
        let (names, rest) = NameList::split(request)?;
        let request = DiscoveryRequest::decode(rest)?;
        let error = request.error_detail.map(|status| (status.code, status.message));
        Ok(Incoming {
            node: request.node,
            type_url: request.type_url,
            names,
            request: Request {
                nonce: request.response_nonce,
                error,
                ..Request::default()
            },
        })
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
    const PROTOCOL: Protocol = Protocol::Delta;

    fn incoming(request: &Bytes) -> Result<Incoming, DecodeError> {
        let (names, rest) = NameList::split(request)?;
        let request = DeltaDiscoveryRequest::decode(rest)?;
        let error = request.error_detail.map(|status| (status.code, status.message));
        Ok(Incoming {
            node: request.node,
            type_url: request.type_url,
            names,
            request: Request {
                nonce: request.response_nonce,
                error,
                unsubscribe: request.resource_names_unsubscribe,
                initial_versions: request.initial_resource_versions.into_iter().collect(),
                ..Request::default()
            },
        })
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
    use mesh_api::google::rpc::Status as RpcStatus;

    use super::*;

    fn names(incoming: &Incoming) -> Vec<String> {
        incoming.names.iter().map(String::from).collect()
    }

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
        let incoming = SotwWire::incoming(&request.encode_to_vec().into()).expect("decodes");
        assert_eq!(names(&incoming), ["a", "b"]);
        assert_eq!(incoming.node.expect("a node").id, "node");
        assert_eq!(incoming.type_url, "type");
        assert_eq!(incoming.request.nonce, "n");
        assert_eq!(incoming.request.error, Some((3, "bad".to_owned())));

        let request = DeltaDiscoveryRequest {
            type_url: "type".into(),
            resource_names_subscribe: vec!["a".into(), "b".into()],
            resource_names_unsubscribe: vec!["c".into()],
            initial_resource_versions: [("d".to_owned(), "1".to_owned())].into(),
            response_nonce: "n".into(),
            ..DeltaDiscoveryRequest::default()
        };
        let incoming = DeltaWire::incoming(&request.encode_to_vec().into()).expect("decodes");
        assert_eq!(names(&incoming), ["a", "b"]);
        assert_eq!(incoming.type_url, "type");
        assert_eq!(incoming.request.nonce, "n");
        assert_eq!(incoming.request.unsubscribe, ["c"]);
        assert_eq!(
            incoming.request.initial_versions,
            [("d".to_owned(), "1".to_owned())]
        );
    }
}
