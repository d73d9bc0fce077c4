//! Adapters that are told of their configuration once (`spec 02` §10.1).

use std::collections::BTreeMap;

use mesh_api::istio::mixer::adapter::model::v1beta1::infrastructure_backend_client::InfrastructureBackendClient;
use mixer_sdk::model::{CloseSessionRequest, CreateSessionRequest, ValidateRequest};
use mixer_sdk::{Any, Code, RpcStatus};
use tonic::transport::Channel;

use crate::world::{Recorder, channel, check, params, report, serve, session};

type Backend = InfrastructureBackendClient<Channel>;

async fn open(backend: &mut Backend, config: Any, types: &[&str]) -> Result<String, RpcStatus> {
    let inferred_types: BTreeMap<String, Any> = types
        .iter()
        .map(|name| ((*name).to_owned(), Any::default()))
        .collect();
    let request = CreateSessionRequest {
        adapter_config: Some(config),
        inferred_types,
    };
    let answer = backend.create_session(request).await.unwrap().into_inner();
    match answer.status.unwrap_or_default() {
        RpcStatus { code: 0, .. } => Ok(answer.session_id),
        status => {
            assert_eq!(answer.session_id, "");
            Err(status)
        }
    }
}

async fn close(backend: &mut Backend, id: &str) -> i32 {
    let request = CloseSessionRequest {
        session_id: id.to_owned(),
    };
    let answer = backend.close_session(request).await.unwrap().into_inner();
    answer.status.unwrap().code
}

#[tokio::test]
async fn spec_02_10_1_a_session_lives_as_long_as_somebody_uses_it() {
    let recorder = Recorder::new();
    let (_runtime, address) = serve(&recorder, &[]).await;
    let channel = channel(address);
    let mut backend = Backend::new(channel.clone());

    let first = open(&mut backend, params("a"), &["x.instance.ns"]).await.unwrap();
    // Equal parameters and types share a session, which counts.
    assert_eq!(
        open(&mut backend, params("a"), &["x.instance.ns"]).await.unwrap(),
        first
    );
    let other = open(&mut backend, params("a"), &["y.instance.ns"]).await.unwrap();
    assert_ne!(other, first);
    assert_eq!(
        recorder.events.all(),
        ["built a x.instance.ns", "built a y.instance.ns"]
    );

    report(&channel, Some(session(&first)), "one").await.unwrap();
    assert_eq!(
        check(&channel, Some(session(&other)), "me").await.unwrap(),
        "a refuses me"
    );
    assert_eq!(recorder.events.count("a: one"), 1);

    assert_eq!(close(&mut backend, &first).await, 0);
    report(&channel, Some(session(&first)), "two").await.unwrap();
    assert_eq!(recorder.events.count("dropped a"), 0);
    assert_eq!(close(&mut backend, &first).await, 0);
    assert_eq!(recorder.events.count("dropped a"), 1);
    // Mixer knows by the code that it has to make another one.
    let error = report(&channel, Some(session(&first)), "three")
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");
    assert_eq!(close(&mut backend, &first).await, Code::NotFound as i32);
    assert_eq!(
        check(&channel, Some(session(&other)), "you").await.unwrap(),
        "a refuses you"
    );
}

#[tokio::test]
async fn spec_02_10_1_what_is_wrong_with_parameters_is_told_when_the_handler_is_made() {
    let recorder = Recorder::new();
    let (_runtime, address) = serve(&recorder, &[]).await;
    let mut backend = Backend::new(channel(address));
    let mut validate = async |config: Any| {
        let request = ValidateRequest {
            adapter_config: Some(config),
            inferred_types: BTreeMap::new(),
        };
        let answer = backend.validate(request).await.unwrap().into_inner();
        answer.status.unwrap()
    };
    assert_eq!(validate(params("good")).await.code, 0);
    let told = validate(params("bad")).await;
    assert_eq!((told.code, &*told.message), (3, "message: is bad"));
    let foreign = Any {
        type_url: "type.googleapis.com/somebody.Else".to_owned(),
        value: Vec::new().into(),
    };
    let told = validate(foreign).await;
    assert_eq!(told.code, 3);
    assert!(told.message.contains("somebody.Else"), "{told:?}");
    // Nothing was made of any of them.
    assert!(recorder.events.all().is_empty());

    for (name, code) in [("bad", Code::InvalidArgument), ("broken", Code::Unavailable)] {
        let told = open(&mut backend, params(name), &[]).await.unwrap_err();
        assert_eq!(told.code, code as i32, "{told:?}");
    }
}

#[tokio::test]
async fn spec_02_10_1_sessions_of_another_process_are_none_of_this_one() {
    let (one, other) = (Recorder::new(), Recorder::new());
    let (_one, first) = serve(&one, &[]).await;
    let (_other, second) = serve(&other, &[]).await;
    let id = open(&mut Backend::new(channel(first)), params("a"), &[])
        .await
        .unwrap();
    let same = open(&mut Backend::new(channel(second)), params("a"), &[])
        .await
        .unwrap();
    assert_ne!(id, same);
    let error = report(&channel(second), Some(session(&id)), "x")
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}
