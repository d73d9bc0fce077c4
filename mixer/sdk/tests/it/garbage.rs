//! What no Mixer says.

use bytes::Bytes;
use http::uri::PathAndQuery;
use mesh_runtime::grpc::BytesCodec;
use mixer_sdk::{Any, Code, RpcStatus, Status};
use prost::{Message as _, Name as _};
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::Channel;

use crate::world::{Recorder, channel, check, params, report, serve};

const METRIC: &str = "/metric.HandleMetricService/HandleMetric";
const CREATE: &str = "/istio.mixer.adapter.model.v1beta1.InfrastructureBackend/CreateSession";

async fn send(channel: &Channel, path: &'static str, message: &[u8]) -> Result<Bytes, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let request = Request::new(Bytes::copy_from_slice(message));
    let answer = grpc
        .unary(request, PathAndQuery::from_static(path), BytesCodec)
        .await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn spec_02_10_2_garbage_is_refused_and_harms_nothing_else() {
    let recorder = Recorder::new();
    let (_runtime, address) = serve(&recorder, &[]).await;
    let channel = channel(address);

    // A length that is none, a field that does not end, a group that nobody began, and a text that is none.
    let ends_early = [0x0a, 0x7f, 0x01];
    let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let group = [0x0c];
    let text = [0x1a, 0x02, 0xc3, 0x28];
    for bytes in [&ends_early[..], &huge, &group, &text] {
        let error = send(&channel, METRIC, bytes).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal, "{bytes:?}: {error}");
        assert!(send(&channel, CREATE, &huge).await.is_err());
    }
    let error = send(&channel, "/metric.HandleMetricService/HandleNothing", &[])
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    let error = send(&channel, "/edge.HandleEdgeService/HandleEdge", &[])
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);

    // Parameters of the right name that are something else.
    let damaged = Any {
        type_url: format!("type.googleapis.com/{}", RpcStatus::full_name()),
        value: Bytes::from_static(&[0x12, 0x7f]),
    };
    let error = report(&channel, Some(damaged), "x").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    // A session whose id is no text.
    let session = Any {
        type_url: "google.protobuf.Any.type_url".to_owned(),
        value: Bytes::from_static(&[0xc3, 0x28]),
    };
    let error = report(&channel, Some(session), "x").await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");

    // A call about nothing is one.
    let nothing = mesh_api::listentry::HandleListEntryRequest {
        adapter_config: Some(params("a")),
        ..Default::default()
    };
    let path = "/listentry.HandleListEntryService/HandleListEntry";
    send(&channel, path, &nothing.encode_to_vec()).await.unwrap();
    assert_eq!(
        check(&channel, Some(params("a")), "me").await.unwrap(),
        "a refuses me"
    );
}

#[tokio::test]
async fn spec_02_10_2_a_fault_in_a_handler_is_one_of_its_call() {
    let recorder = Recorder::new();
    let (_runtime, address) = serve(&recorder, &[]).await;
    let channel = channel(address);
    check(&channel, Some(params("a")), "panic").await.unwrap_err();
    assert_eq!(
        check(&channel, Some(params("a")), "me").await.unwrap(),
        "a refuses me"
    );
    assert_eq!(recorder.events.all(), ["built a"]);
}
