//! `AggregatedMeshConfigService`: the generation before (G2).

use tonic::Code;

use super::wire::{MeshConfigRequest, MeshConfigResponse, SinkNode, Status};
use super::{Ends, GATEWAYS, SIDECARS, channel, open};
use crate::harness::{ConfigDir, Galley, gateway};

type Sink = Ends<MeshConfigRequest, MeshConfigResponse>;

const PATH: &str = "/istio.mcp.v1alpha1.AggregatedMeshConfigService/StreamAggregatedResources";
const INCREMENTAL: &str = "/istio.mcp.v1alpha1.AggregatedMeshConfigService/IncrementalAggregatedResources";

fn subscription(collection: &str) -> MeshConfigRequest {
    MeshConfigRequest {
        sink_node: Some(SinkNode {
            id: "legacy".to_owned(),
            ..SinkNode::default()
        }),
        type_url: collection.to_owned(),
        ..MeshConfigRequest::default()
    }
}

/// An answer names the version that is in force at the sink.
fn answer(response: &MeshConfigResponse, in_force: &str) -> MeshConfigRequest {
    MeshConfigRequest {
        version_info: in_force.to_owned(),
        response_nonce: response.nonce.clone(),
        ..subscription(&response.type_url)
    }
}

#[tokio::test]
async fn g2_the_generation_before_is_served_and_a_refusal_is_no_hot_loop() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80));
    let galley = Galley::start(config.path());
    let mut sink: Sink = open(channel(galley.mcp).await, PATH).await.unwrap();
    sink.send(subscription(GATEWAYS));
    let first = sink.next().await;
    let names = |response: &MeshConfigResponse| -> Vec<String> {
        let resources = response.resources.iter();
        resources.map(|resource| resource.name().to_owned()).collect()
    };
    assert_eq!(
        (first.type_url.as_str(), names(&first)),
        (GATEWAYS, vec!["weather/a".to_owned()])
    );
    let body = first.resources[0].body.as_ref().unwrap();
    assert_eq!(
        body.type_url,
        "type.googleapis.com/istio.networking.v1alpha3.Gateway"
    );
    sink.send(answer(&first, &first.version_info));

    config.write("a.yaml", gateway("a", 80) + &gateway("b", 80));
    let second = sink.next().await;
    assert_eq!(names(&second), ["weather/a", "weather/b"]);
    // Refused: the version in force stays the first.
    sink.send(MeshConfigRequest {
        error_detail: Some(Status {
            code: 3,
            message: "no".to_owned(),
        }),
        ..answer(&second, &first.version_info)
    });
    sink.send(subscription(SIDECARS));
    let next = sink.next().await;
    assert_eq!(
        (
            next.type_url.as_str(),
            next.version_info.as_str(),
            next.resources.len()
        ),
        (SIDECARS, "0", 0),
        "what was refused is not sent again"
    );
    config.write("a.yaml", gateway("c", 80));
    let third = sink.next().await;
    assert_eq!(names(&third), ["weather/c"]);
    sink.send(answer(&third, &third.version_info));

    let incremental: Result<Sink, _> = open(channel(galley.mcp).await, INCREMENTAL).await;
    assert_eq!(
        incremental.err().map(|status| status.code()),
        Some(Code::Unimplemented)
    );
}
