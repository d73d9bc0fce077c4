//! The rules of the sink, one by one.

use mesh_api::Any;
use mesh_api::istio::mcp::v1alpha1::Metadata;

use super::*;

const NOW: Timestamp = Timestamp { seconds: 9, nanos: 0 };
const GATEWAYS: &str = "istio/networking/v1alpha3/gateways";

fn gateway(name: &str, version: &str) -> Resource {
    Resource {
        metadata: Some(Metadata {
            name: name.to_owned(),
            version: version.to_owned(),
            ..Metadata::default()
        }),
        body: Some(Any {
            type_url: "type.googleapis.com/istio.networking.v1alpha3.Gateway".to_owned(),
            ..Any::default()
        }),
    }
}

fn response(nonce: &str, resources: Vec<Resource>) -> Resources {
    Resources {
        system_version_info: format!("v{nonce}"),
        collection: GATEWAYS.to_owned(),
        nonce: nonce.to_owned(),
        resources,
        ..Resources::default()
    }
}

/// Applies a response and gives what changed (names and versions, or a minus sign), its errors and the ACK.
fn accept(state: &mut SinkState, response: Resources) -> (Vec<String>, Vec<String>, RequestResources) {
    let Step::Apply(change, pending) = state.on_response(response, NOW) else {
        panic!("refused")
    };
    let told = |config: &Config| format!("{}@{}", config.meta.key.resource_name(), config.meta.version);
    let mut objects: Vec<String> = change.content.objects().iter().map(told).collect();
    if let Content::Changes { gone, .. } = &change.content {
        objects.extend(gone.iter().map(|key| format!("-{}", key.resource_name())));
    }
    let errors = change.errors.iter().map(ToString::to_string).collect();
    (objects, errors, state.accept(pending))
}

fn refused(step: Step) -> Refusal {
    match step {
        Step::Refuse(refusal) => refusal,
        Step::Apply(change, _) => panic!("applied {change:?}"),
    }
}

#[test]
fn g3_2_a_stream_begins_with_one_request_for_each_collection() {
    let state = SinkState::new([Kind::Gateway, Kind::Node], false);
    let requests = state.connect();
    let collections: Vec<_> = requests
        .iter()
        .map(|request| request.collection.as_str())
        .collect();
    assert_eq!(collections, [GATEWAYS, "k8s/core/v1/nodes"]);
    assert!(requests.iter().all(|request| {
        request.response_nonce.is_empty()
            && request.error_detail.is_none()
            && request.initial_resource_versions.is_empty()
    }));
}

#[test]
fn p5_4_a_bad_resource_is_left_out_and_the_batch_is_acknowledged() {
    let mut state = SinkState::new([Kind::Gateway], false);
    let mut nameless = gateway("x", "1");
    nameless.metadata = None;
    let batch = vec![
        gateway("ns/b", "1"),
        nameless,
        gateway("ns/a", "2"),
        gateway("ns/b", "3"),
    ];
    let (objects, errors, ack) = accept(&mut state, response("4", batch));
    assert_eq!(objects, ["ns/a@2", "ns/b@1"]);
    assert_eq!(
        errors,
        [
            "Gateway: metadata: is missing",
            "Gateway ns/b: was sent twice, the first one counts"
        ]
    );
    assert_eq!(
        (ack.collection.as_str(), ack.response_nonce.as_str()),
        (GATEWAYS, "4")
    );
    assert_eq!(ack.error_detail, None);
}

#[test]
fn g3_2_an_unknown_collection_is_refused_as_unimplemented() {
    let state = SinkState::new([Kind::Gateway], false);
    let unknown = Resources {
        collection: "some/new/things".to_owned(),
        ..response("1", vec![])
    };
    let refusal = refused(state.on_response(unknown, NOW));
    assert_eq!(refusal.code, Code::Unimplemented);
    assert_eq!(refusal.request.collection, "some/new/things");
    assert_eq!(refusal.request.response_nonce, "1");
    let status = refusal.request.error_detail.unwrap();
    assert_eq!(
        (status.code, status.message.as_str()),
        (12, "unsupported collection \"some/new/things\"")
    );
}

#[test]
fn g3_2_a_change_that_is_not_applied_is_refused_as_invalid() {
    let state = SinkState::new([Kind::Gateway], false);
    let Step::Apply(_, pending) = state.on_response(response("1", vec![]), NOW) else {
        panic!("refused")
    };
    let refusal = state.reject(pending, "too much".to_owned());
    let status = refusal.request.error_detail.unwrap();
    assert_eq!((status.code, status.message.as_str()), (3, "too much"));
    assert_eq!(
        (
            refusal.request.collection.as_str(),
            refusal.request.response_nonce.as_str()
        ),
        (GATEWAYS, "1")
    );
}

#[test]
fn changes_that_were_not_asked_for_are_refused() {
    let state = SinkState::new([Kind::Gateway], false);
    let changes = Resources {
        incremental: true,
        ..response("1", vec![])
    };
    assert_eq!(
        refused(state.on_response(changes, NOW)).code,
        Code::InvalidArgument
    );
}

#[test]
fn changes_are_delivered_as_such_and_survive_the_stream() {
    let mut state = SinkState::new([Kind::Gateway], true);
    accept(
        &mut state,
        response("1", vec![gateway("ns/a", "1"), gateway("ns/b", "1")]),
    );

    let changes = Resources {
        incremental: true,
        removed_resources: vec!["ns/b".to_owned()],
        ..response("2", vec![gateway("ns/c", "1"), gateway("ns/a", "2")])
    };
    let (objects, ..) = accept(&mut state, changes);
    assert_eq!(objects, ["ns/a@2", "ns/c@1", "-ns/b"]);
    assert_eq!(state.len(GATEWAYS), 2);

    // What is refused changes nothing.
    let Step::Apply(_, pending) = state.on_response(response("3", vec![]), NOW) else {
        panic!("refused")
    };
    state.reject(pending, "no".to_owned());

    // An object that is no longer readable is gone.
    let mut bad = gateway("ns/a", "3");
    bad.body = None;
    let changes = Resources {
        incremental: true,
        ..response("4", vec![bad])
    };
    let (objects, errors, _) = accept(&mut state, changes);
    assert_eq!(objects, ["-ns/a"]);
    assert_eq!(errors, ["Gateway ns/a: body: is missing"]);

    let versions = &state.connect()[0].initial_resource_versions;
    assert_eq!(versions, &BTreeMap::from([("ns/c".to_owned(), "1".to_owned())]));
}
