//! Sessions (`spec 02` §10.1, §10.4).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use mesh_api::Any;
use mesh_api::checknothing::HandleCheckNothingRequest;
use mesh_api::google::rpc::Status as RpcStatus;
use mesh_api::istio::mixer::adapter::model::v1beta1::{
    CheckResult, CloseSessionRequest, CloseSessionResponse, CreateSessionRequest, CreateSessionResponse,
    ValidateRequest, ValidateResponse,
};
use mesh_testing::eventually;
use mixer_adapter::BUILD_LIMIT;
use mixer_attribute::Untracked;
use mixer_dynamic::testing::{Call, FakeAdapter, Reply};
use mixer_dynamic::{Backend, BackendOptions};
use prost::Message as _;
use serde_json::Value as Json;
use tonic::{Code, Status};

use crate::world::{Attributes, PATIENCE, backend, env, known, ok, options, refused, until};

/// What a process with sessions remembers.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<(BTreeSet<String>, usize)>>);

impl Memory {
    /// A process that has made this many sessions before it was started.
    fn after(made: usize) -> Self {
        Self(Arc::new(Mutex::new((BTreeSet::new(), made))))
    }

    fn answer(&self, call: Call, unknown: Code) -> Reply {
        let mut memory = self.0.lock().unwrap();
        if call.path.ends_with("/Validate") {
            let request = ValidateRequest::decode(call.message).unwrap();
            assert_eq!(
                request.inferred_types.keys().collect::<Vec<_>>(),
                ["one.instance.ns"]
            );
            return ok(&ValidateResponse::default());
        }
        if call.path.ends_with("/CreateSession") {
            CreateSessionRequest::decode(call.message).unwrap();
            memory.1 += 1;
            let session_id = format!("session-{}", memory.1);
            memory.0.insert(session_id.clone());
            return ok(&CreateSessionResponse {
                session_id,
                status: None,
            });
        }
        if call.path.ends_with("/CloseSession") {
            let request = CloseSessionRequest::decode(call.message).unwrap();
            memory.0.remove(&request.session_id);
            return ok(&CloseSessionResponse::default());
        }
        let request = HandleCheckNothingRequest::decode(call.message).unwrap();
        let config = request.adapter_config.unwrap();
        assert_eq!(config.type_url, "google.protobuf.Any.type_url");
        let session = String::from_utf8(config.value.to_vec()).unwrap();
        if memory.0.contains(&session) {
            ok(&CheckResult::default())
        } else {
            refused(Status::new(unknown, format!("there is no {session}")))
        }
    }

    fn sessions(&self) -> Vec<String> {
        self.0.lock().unwrap().0.iter().cloned().collect()
    }
}

fn with_sessions(address: &(impl ToString + ?Sized)) -> BackendOptions {
    let inferred = Any {
        type_url: "type.googleapis.com/checknothing.Type".to_owned(),
        ..Any::default()
    };
    BackendOptions {
        session_based: true,
        inferred: [("one.instance.ns".to_owned(), inferred)].into(),
        ..options(address)
    }
}

async fn check(backend: &Backend) -> Result<(), String> {
    let attributes = Attributes::new();
    let template = known("checknothing");
    let encoder = attributes.compile(&template, &Json::Null).unwrap();
    let instance = encoder.encode(&attributes.bag, &mut Untracked).unwrap();
    let answer = backend.check(&template, instance, until()).wait().await;
    answer.map(|_| ()).map_err(|error| error.to_string())
}

/// An adapter that is silent is given up before the runtime gives up, so that the reason is told.
#[tokio::test(start_paused = true)]
async fn spec_02_10_4_an_adapter_that_makes_no_session_is_given_up() {
    let adapter = FakeAdapter::start(|_| std::future::pending().boxed()).await;
    let environment = env();
    let build = Backend::build(with_sessions(&adapter.address()), &environment);
    let built = tokio::time::timeout(BUILD_LIMIT, build).await;
    built.expect("within the limit").unwrap_err();
}

#[tokio::test]
async fn spec_02_10_4_a_session_is_made_used_and_closed() {
    let memory = Memory::default();
    let remembers = memory.clone();
    let adapter = FakeAdapter::start(move |call| remembers.answer(call, Code::NotFound)).await;
    let backend = backend(with_sessions(&adapter.address())).await;
    assert_eq!(memory.sessions(), ["session-1"], "before the first call");
    for _ in 0..3 {
        check(&backend).await.unwrap();
    }
    let paths: Vec<_> = adapter.calls().into_iter().map(|call| call.path).collect();
    assert!(paths[0].ends_with("/Validate") && paths[1].ends_with("/CreateSession"));
    assert_eq!(paths.len(), 5);
    backend.close().await;
    assert_eq!(memory.sessions(), Vec::<String>::new());
}

#[tokio::test]
async fn spec_02_10_1_what_an_adapter_refuses_is_not_built() {
    for (method, text) in [
        (
            "/Validate",
            "the adapter refuses the parameters: InvalidArgument: not these",
        ),
        (
            "/CreateSession",
            "the adapter refuses a session: InvalidArgument: not these",
        ),
    ] {
        let adapter = FakeAdapter::start(move |call| {
            let refusal = RpcStatus {
                code: 3,
                message: "not these".to_owned(),
                ..RpcStatus::default()
            };
            let status = call.path.ends_with(method).then_some(refusal);
            match call.path.ends_with("/Validate") {
                true => ok(&ValidateResponse { status }),
                false => ok(&CreateSessionResponse {
                    status,
                    session_id: "none".to_owned(),
                }),
            }
        })
        .await;
        let error = Backend::build(with_sessions(&adapter.address()), &env())
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    let gone = options("127.0.0.1:1");
    let gone = BackendOptions {
        session_based: true,
        ..gone
    };
    Backend::build(gone, &env()).await.unwrap_err();
}

/// `spec 02` §10.4: after a restart of the adapter the session is made anew, and no call fails for it that the process
/// has answered, whatever it says of a session that it does not know.
#[tokio::test]
async fn spec_02_10_4_a_session_that_was_lost_is_made_anew() {
    for code in [Code::NotFound, Code::InvalidArgument] {
        let memory = Memory::default();
        let adapter = FakeAdapter::start(move |call| memory.answer(call, code)).await;
        let port = adapter.address().port();
        let backend = backend(with_sessions(&adapter.address())).await;
        check(&backend).await.unwrap();
        drop(adapter);
        let memory = Memory::after(7);
        let remembers = memory.clone();
        let again = FakeAdapter::listen(port, None, move |call| remembers.answer(call, code)).await;
        // Until the loss of the connection is noticed.
        eventually(PATIENCE, async || check(&backend).await)
            .await
            .unwrap();
        assert_eq!(memory.sessions(), ["session-8"], "{code:?}");
        assert_eq!(again.calls_of("/CreateSession").len(), 1);
        for _ in 0..3 {
            check(&backend).await.unwrap();
        }
        assert_eq!(again.calls_of("/CreateSession").len(), 1);
        backend.close().await;
        assert_eq!(memory.sessions(), Vec::<String>::new());
    }
}

/// An error of a call is no reason for another session.
#[tokio::test]
async fn spec_02_10_4_other_errors_leave_the_session_alone() {
    let memory = Memory::default();
    let adapter = FakeAdapter::start(move |call| match call.path.ends_with("/HandleCheckNothing") {
        true => refused(Status::internal("unwell")),
        false => memory.answer(call, Code::NotFound),
    })
    .await;
    let backend = backend(with_sessions(&adapter.address())).await;
    for _ in 0..3 {
        assert_eq!(check(&backend).await.unwrap_err(), "Internal: unwell");
    }
    assert_eq!(adapter.calls_of("/CreateSession").len(), 1);
    assert_eq!(adapter.calls_of("/HandleCheckNothing").len(), 3);
}
