//! The ADS client against a server that answers every request with what it was asked.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use mesh_api::envoy::config::cluster::v3::Cluster;
use mesh_api::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use mesh_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest, Resource};
use mesh_api::{Any, DeltaDiscoveryResponse, DiscoveryResponse, Framed, type_url};
use mesh_testing::ads::{AdsClient, AdsError, DeltaClient, node};
use mesh_testing::ports;
use prost::Message as _;
use serde_json::json;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

const SOON: Duration = Duration::from_secs(10);

/// Answers with a cluster per name, and tells the test what it was asked.
struct Server {
    sotw: UnboundedSender<DiscoveryRequest>,
    delta: UnboundedSender<DeltaDiscoveryRequest>,
}

type Responses<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

fn cluster(name: &str) -> Any {
    Any::pack(&Cluster {
        name: name.to_owned(),
        ..Cluster::default()
    })
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        requests: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let mut requests = requests.into_inner();
        let seen = self.sotw.clone();
        // The stream is answered only after its first request, as some servers do.
        let mut next = requests.message().await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::task::spawn(async move {
            let mut count = 0;
            while let Some(request) = next {
                count += 1;
                let bodies: Vec<Bytes> = request
                    .resource_names
                    .iter()
                    .map(|name| cluster(name).encode_to_vec().into())
                    .collect();
                let response = DiscoveryResponse {
                    version_info: format!("v{count}"),
                    nonce: format!("n{count}"),
                    type_url: request.type_url.clone(),
                    resources: Framed::new(&bodies),
                    control_plane: None,
                };
                let fresh = request.response_nonce.is_empty();
                if seen.send(request).is_err() || fresh && sender.send(Ok(response)).is_err() {
                    return;
                }
                next = requests.message().await.ok().flatten();
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }

    async fn delta_aggregated_resources(
        &self,
        requests: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let mut requests = requests.into_inner();
        let seen = self.delta.clone();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::task::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let resource = |name: &String| Resource {
                    name: name.clone(),
                    version: "1".to_owned(),
                    resource: Some(cluster(name)),
                    ..Resource::default()
                };
                let bodies: Vec<Bytes> = request
                    .resource_names_subscribe
                    .iter()
                    .map(|name| resource(name).encode_to_vec().into())
                    .collect();
                let response = DeltaDiscoveryResponse {
                    system_version_info: "s".to_owned(),
                    nonce: "n".to_owned(),
                    type_url: request.type_url.clone(),
                    resources: Framed::new(&bodies),
                    removed_resources: request.resource_names_unsubscribe.clone(),
                    control_plane: None,
                };
                let fresh = request.response_nonce.is_empty();
                if seen.send(request).is_err() || fresh && sender.send(Ok(response)).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }
}

/// Starts a server; it ends with the test's runtime.
async fn serve() -> (
    String,
    UnboundedReceiver<DiscoveryRequest>,
    UnboundedReceiver<DeltaDiscoveryRequest>,
) {
    let (sotw, sotw_seen) = mpsc::unbounded_channel();
    let (delta, delta_seen) = mpsc::unbounded_channel();
    let (listener, address) = ports::listen().await.unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(AggregatedDiscoveryServiceServer::new(Server { sotw, delta }))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::task::spawn(server);
    (format!("http://{address}"), sotw_seen, delta_seen)
}

#[tokio::test]
async fn state_of_the_world_repeats_names_version_and_nonce() {
    let (address, mut seen, _delta) = serve().await;
    let node = node(
        "sidecar~1",
        &json!({"LABELS": {"app": "a"}, "N": [1, null, true]}),
    );
    let mut client = AdsClient::connect(&address, node.clone()).await.unwrap();

    client.request(type_url::CLUSTER, &["a", "b"]).unwrap();
    let response = client.next_within(SOON).await.unwrap();
    assert_eq!(response.type_url, type_url::CLUSTER);
    assert_eq!(response.resources, [cluster("a"), cluster("b")]);
    client.ack(&response).unwrap();
    client.nack(&response, "too many").unwrap();
    client.request(type_url::ROUTE, &["80"]).unwrap();
    assert_eq!(client.accept(type_url::ROUTE, SOON).await.unwrap().version, "v4");

    let first = seen.recv().await.unwrap();
    assert_eq!(first.node, Some(node));
    let ack = seen.recv().await.unwrap();
    assert_eq!(
        (ack.version_info.as_str(), ack.response_nonce.as_str(), ack.node),
        ("v1", "n1", None)
    );
    assert_eq!(ack.resource_names, ["a", "b"]);
    let nack = seen.recv().await.unwrap();
    assert_eq!(nack.error_detail.unwrap().message, "too many");
    assert_eq!(nack.version_info, "v1");
    let other = seen.recv().await.unwrap();
    assert_eq!(
        (other.type_url.as_str(), other.version_info.as_str()),
        (type_url::ROUTE, "")
    );
}

#[tokio::test]
async fn delta_subscribes_and_unsubscribes() {
    let (address, _sotw, mut seen) = serve().await;
    let mut client = DeltaClient::connect(&address, node("sidecar~1", &json!({})))
        .await
        .unwrap();
    client.subscribe(type_url::CLUSTER, &["a"]).unwrap();
    let response = client.next_within(SOON).await.unwrap();
    assert_eq!(response.resources[0].name, "a");
    assert_eq!(response.resources[0].resource, Some(cluster("a")));
    client.ack(&response).unwrap();
    client.nack(&response, "no").unwrap();
    client.unsubscribe(type_url::CLUSTER, &["a"]).unwrap();
    assert_eq!(client.next_within(SOON).await.unwrap().removed, ["a"]);
    client
        .resume(
            type_url::CLUSTER,
            &["*"],
            BTreeMap::from([("a".to_owned(), "1".to_owned())]),
        )
        .unwrap();

    assert!(seen.recv().await.unwrap().node.is_some());
    assert_eq!(seen.recv().await.unwrap().response_nonce, "n");
    assert_eq!(seen.recv().await.unwrap().error_detail.unwrap().code, 3);
    assert_eq!(seen.recv().await.unwrap().resource_names_unsubscribe, ["a"]);
    assert_eq!(seen.recv().await.unwrap().initial_resource_versions["a"], "1");
}

#[tokio::test]
async fn silence_and_absence_are_errors() {
    let (address, _sotw, _delta) = serve().await;
    let mut client = AdsClient::connect(&address, node("a", &json!({}))).await.unwrap();
    let error = client.next_within(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, AdsError::Timeout(_)), "{error}");

    let port = ports::unused().unwrap();
    let error = AdsClient::connect(&format!("http://127.0.0.1:{port}"), node("a", &json!({})))
        .await
        .unwrap_err();
    assert!(matches!(error, AdsError::Connect(_)), "{error}");
}
