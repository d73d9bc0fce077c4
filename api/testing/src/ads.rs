//! A client of aggregated discovery, as a proxy would be, for tests and benches.
//!
//! It keeps per type what the protocol wants repeated (names, version, nonce) and leaves to the test what to ask, what
//! to accept and when.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::envoy::config::core::v3::Node;
use mesh_api::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest, Resource};
use mesh_api::google::rpc::Status as RpcStatus;
use mesh_api::{Any, DeltaDiscoveryResponse, DiscoveryResponse};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// Largest response that is accepted.
const MAX_RESPONSE: usize = 512 * 1024 * 1024;

/// gRPC code of a rejected configuration.
const INVALID_ARGUMENT: i32 = 3;

/// Why the client cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AdsError {
    /// The server cannot be reached.
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    /// The server ended the stream with an error.
    #[error("the server ended the stream: {0}")]
    Status(#[from] Box<Status>),
    /// The server ended the stream.
    #[error("the server ended the stream")]
    Closed,
    /// No response came in time.
    #[error("no response within {0:?}")]
    Timeout(Duration),
    /// The response does not decode.
    #[error("a response does not decode: {0}")]
    Decode(#[from] prost::DecodeError),
}

/// A state-of-the-world stream.
#[derive(Debug)]
pub struct AdsClient {
    requests: mpsc::UnboundedSender<DiscoveryRequest>,
    responses: Responses<DiscoveryResponse>,
    /// Sent with the first request.
    node: Option<Node>,
    types: BTreeMap<String, Subscription>,
}

/// What the client last said and heard about a type.
#[derive(Clone, Debug, Default)]
struct Subscription {
    names: Vec<String>,
    /// Last version that was accepted.
    version: String,
    /// Nonce of the last response.
    nonce: String,
}

/// A response of [`AdsClient`].
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// Type of the resources.
    pub type_url: String,
    /// Version of the whole.
    pub version: String,
    /// Names the response in [`AdsClient::ack`] and [`AdsClient::nack`].
    pub nonce: String,
    /// The resources.
    pub resources: Vec<Any>,
}

/// An incremental stream.
#[derive(Debug)]
pub struct DeltaClient {
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    responses: Responses<DeltaDiscoveryResponse>,
    /// Sent with the first request.
    node: Option<Node>,
}

/// A response of [`DeltaClient`].
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaResponse {
    /// Type of the resources.
    pub type_url: String,
    /// Version of the whole, for people.
    pub system_version: String,
    /// Names the response in [`DeltaClient::ack`] and [`DeltaClient::nack`].
    pub nonce: String,
    /// Resources that are new or changed.
    pub resources: Vec<Resource>,
    /// Names of resources that are gone.
    pub removed: Vec<String>,
}

/// The receiving side of a stream.
#[derive(Debug)]
enum Responses<T> {
    Opening(JoinHandle<Result<Streaming<T>, Status>>),
    Open(Box<Streaming<T>>),
    Closed,
}

/// A node with metadata from JSON, such as `{"LABELS": {"app": "forecast"}}`.
pub fn node(id: &str, metadata: &serde_json::Value) -> Node {
    let fields = metadata.as_object().into_iter().flatten();
    let fields = fields
        .map(|(name, value)| (name.clone(), proto_value(value)))
        .collect();
    Node {
        id: id.to_owned(),
        metadata: Some(prost_types::Struct { fields }),
        ..Node::default()
    }
}

fn proto_value(value: &serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    use serde_json::Value;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Value::String(value) => Kind::StringValue(value.clone()),
        Value::Array(items) => Kind::ListValue(prost_types::ListValue {
            values: items.iter().map(proto_value).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields
                .iter()
                .map(|(name, value)| (name.clone(), proto_value(value)))
                .collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

// === impl AdsClient ===

impl AdsClient {
    /// Connects to a server, such as `http://127.0.0.1:15010`, and opens a stream.
    ///
    /// # Errors
    ///
    /// When the server is not there.
    pub async fn connect(address: &str, node: Node) -> Result<Self, AdsError> {
        Ok(Self::open(channel(address).await?, node))
    }

    /// Opens a stream on a connection that may carry others. What the server says to it is told by the first response.
    pub fn open(channel: Channel, node: Node) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let mut client = client(channel);
        let responses = Responses::opening(async move {
            Ok(client
                .stream_aggregated_resources(UnboundedReceiverStream::new(receiver))
                .await?
                .into_inner())
        });
        Self {
            requests,
            responses,
            node: Some(node),
            types: BTreeMap::new(),
        }
    }

    /// Asks for the resources of a type; without names, for all of them. Replaces what was asked before.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub fn request(&mut self, type_url: &str, names: &[&str]) -> Result<(), AdsError> {
        self.types.entry(type_url.to_owned()).or_default().names =
            names.iter().map(|&name| name.to_owned()).collect();
        self.send(type_url, None)
    }

    /// Waits for the next response of any type.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub async fn next(&mut self) -> Result<Response, AdsError> {
        let response = self.responses.next().await?;
        let DiscoveryResponse {
            version_info,
            resources,
            type_url,
            nonce,
            control_plane: _,
        } = response;
        let resources = resources
            .bodies()?
            .into_iter()
            .map(Any::decode)
            .collect::<Result<_, _>>()?;
        Ok(Response {
            type_url,
            version: version_info,
            nonce,
            resources,
        })
    }

    /// Waits for the next response, but not longer than `timeout`.
    ///
    /// # Errors
    ///
    /// When the stream has ended or the time is up.
    pub async fn next_within(&mut self, timeout: Duration) -> Result<Response, AdsError> {
        tokio::time::timeout(timeout, self.next())
            .await
            .map_err(|_| AdsError::Timeout(timeout))?
    }

    /// Accepts a response.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub fn ack(&mut self, response: &Response) -> Result<(), AdsError> {
        let subscription = self.types.entry(response.type_url.clone()).or_default();
        subscription.version.clone_from(&response.version);
        subscription.nonce.clone_from(&response.nonce);
        self.send(&response.type_url, None)
    }

    /// Rejects a response: the version accepted before stays.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub fn nack(&mut self, response: &Response, reason: &str) -> Result<(), AdsError> {
        self.types
            .entry(response.type_url.clone())
            .or_default()
            .nonce
            .clone_from(&response.nonce);
        self.send(&response.type_url, Some(reason))
    }

    /// Waits for a response of a type and accepts it; responses of other types are accepted on the way.
    ///
    /// # Errors
    ///
    /// When the stream has ended or the time is up.
    pub async fn accept(&mut self, type_url: &str, timeout: Duration) -> Result<Response, AdsError> {
        let accept = async {
            loop {
                let response = self.next().await?;
                self.ack(&response)?;
                if response.type_url == type_url {
                    return Ok(response);
                }
            }
        };
        tokio::time::timeout(timeout, accept)
            .await
            .map_err(|_| AdsError::Timeout(timeout))?
    }

    fn send(&mut self, type_url: &str, error: Option<&str>) -> Result<(), AdsError> {
        let subscription = self.types.get(type_url).cloned().unwrap_or_default();
        let request = DiscoveryRequest {
            version_info: subscription.version,
            node: self.node.take(),
            resource_names: subscription.names,
            type_url: type_url.to_owned(),
            response_nonce: subscription.nonce,
            error_detail: error.map(error_detail),
            ..DiscoveryRequest::default()
        };
        self.requests.send(request).map_err(|_| AdsError::Closed)
    }
}

// === impl DeltaClient ===

impl DeltaClient {
    /// Connects to a server, such as `http://127.0.0.1:15010`, and opens a stream.
    ///
    /// # Errors
    ///
    /// When the server is not there.
    pub async fn connect(address: &str, node: Node) -> Result<Self, AdsError> {
        Ok(Self::open(channel(address).await?, node))
    }

    /// Opens a stream on a connection that may carry others. What the server says to it is told by the first response.
    pub fn open(channel: Channel, node: Node) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let mut client = client(channel);
        let responses = Responses::opening(async move {
            Ok(client
                .delta_aggregated_resources(UnboundedReceiverStream::new(receiver))
                .await?
                .into_inner())
        });
        Self {
            requests,
            responses,
            node: Some(node),
        }
    }

    /// Asks for resources of a type; `*` is all.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub fn subscribe(&mut self, type_url: &str, names: &[&str]) -> Result<(), AdsError> {
        let resource_names_subscribe = names.iter().map(|&name| name.to_owned()).collect();
        self.send(DeltaDiscoveryRequest {
            resource_names_subscribe,
            ..request(type_url)
        })
    }

    /// Asks for resources of a type again after a reconnect, telling the versions that are already there.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub fn resume(
        &mut self,
        type_url: &str,
        names: &[&str],
        versions: BTreeMap<String, String>,
    ) -> Result<(), AdsError> {
        self.send(DeltaDiscoveryRequest {
            resource_names_subscribe: names.iter().map(|&name| name.to_owned()).collect(),
            initial_resource_versions: versions,
            ..request(type_url)
        })
    }

    /// Asks no longer for resources of a type.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub fn unsubscribe(&mut self, type_url: &str, names: &[&str]) -> Result<(), AdsError> {
        let resource_names_unsubscribe = names.iter().map(|&name| name.to_owned()).collect();
        self.send(DeltaDiscoveryRequest {
            resource_names_unsubscribe,
            ..request(type_url)
        })
    }

    /// Waits for the next response of any type.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub async fn next(&mut self) -> Result<DeltaResponse, AdsError> {
        let response = self.responses.next().await?;
        let DeltaDiscoveryResponse {
            system_version_info,
            resources,
            type_url,
            nonce,
            removed_resources,
            control_plane: _,
        } = response;
        let resources = resources
            .bodies()?
            .into_iter()
            .map(Resource::decode)
            .collect::<Result<_, _>>()?;
        Ok(DeltaResponse {
            type_url,
            system_version: system_version_info,
            nonce,
            resources,
            removed: removed_resources,
        })
    }

    /// Waits for the next response, but not longer than `timeout`.
    ///
    /// # Errors
    ///
    /// When the stream has ended or the time is up.
    pub async fn next_within(&mut self, timeout: Duration) -> Result<DeltaResponse, AdsError> {
        tokio::time::timeout(timeout, self.next())
            .await
            .map_err(|_| AdsError::Timeout(timeout))?
    }

    /// Accepts a response.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub fn ack(&mut self, response: &DeltaResponse) -> Result<(), AdsError> {
        self.send(DeltaDiscoveryRequest {
            response_nonce: response.nonce.clone(),
            ..request(&response.type_url)
        })
    }

    /// Rejects a response.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub fn nack(&mut self, response: &DeltaResponse, reason: &str) -> Result<(), AdsError> {
        self.send(DeltaDiscoveryRequest {
            response_nonce: response.nonce.clone(),
            error_detail: Some(error_detail(reason)),
            ..request(&response.type_url)
        })
    }

    fn send(&mut self, mut request: DeltaDiscoveryRequest) -> Result<(), AdsError> {
        request.node = self.node.take();
        self.requests.send(request).map_err(|_| AdsError::Closed)
    }
}

fn request(type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn error_detail(reason: &str) -> RpcStatus {
    RpcStatus {
        code: INVALID_ARGUMENT,
        message: reason.to_owned(),
        details: Vec::new(),
    }
}

async fn channel(address: &str) -> Result<Channel, AdsError> {
    Ok(Endpoint::from_shared(address.to_owned())?.connect().await?)
}

fn client(channel: Channel) -> AggregatedDiscoveryServiceClient<Channel> {
    AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE)
}

// === impl Responses ===

impl<T: Send + 'static> Responses<T> {
    /// A server may answer the stream only when it has read the first request, so nobody must wait for it here.
    #[allow(
        clippy::disallowed_methods,
        reason = "the task ends with its stream, and its result is awaited"
    )]
    fn opening(open: impl Future<Output = Result<Streaming<T>, Status>> + Send + 'static) -> Self {
        Self::Opening(tokio::spawn(open))
    }

    async fn next(&mut self) -> Result<T, AdsError> {
        loop {
            match self {
                Self::Opening(task) => {
                    let opened = task.await;
                    *self = Self::Closed;
                    *self = Self::Open(Box::new(opened.map_err(|_| AdsError::Closed)?.map_err(Box::new)?));
                }
                Self::Open(responses) => {
                    return responses
                        .message()
                        .await
                        .map_err(Box::new)?
                        .ok_or(AdsError::Closed);
                }
                Self::Closed => return Err(AdsError::Closed),
            }
        }
    }
}
