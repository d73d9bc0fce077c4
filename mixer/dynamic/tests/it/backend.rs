//! Calls of adapters over real connections.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use mesh_api::google::rpc::Status as RpcStatus;
use mesh_api::istio::mixer::adapter::model::v1beta1::quota_result::Result as Granted;
use mesh_api::istio::mixer::adapter::model::v1beta1::{CheckResult, QuotaResult, ReportResult};
use mesh_api::metric::HandleMetricRequest;
use mesh_api::quota::HandleQuotaRequest;
use mesh_api::{Any, listentry};
use mesh_testing::eventually;
use mixer_adapter::QuotaArgs;
use mixer_attribute::Untracked;
use mixer_dynamic::testing::FakeAdapter;
use mixer_dynamic::{Backend, BackendOptions, Template};
use prost::Message as _;
use prost_types::Duration as Span;
use serde_json::{Value as Json, json};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::world::{Attributes, PATIENCE, backend, env, known, ok, options, refused, until};

fn encoded(template: &Arc<Template>, params: &Json) -> Vec<u8> {
    let attributes = Attributes::new();
    let encoder = attributes.compile(template, params).unwrap();
    encoder.encode(&attributes.bag, &mut Untracked).unwrap()
}

async fn check(backend: &Backend) -> Result<mixer_adapter::CheckResult, String> {
    let template = known("listentry");
    let instance = encoded(&template, &json!({"value": "text"}));
    let answer = backend.check(&template, instance, until()).wait().await;
    answer
        .map(|checked| checked.result)
        .map_err(|error| error.to_string())
}

/// `spec 02` §10.2: what generated code of the other side reads, and what it says.
#[tokio::test]
async fn spec_02_10_2_instances_parameters_and_ids_arrive() {
    let adapter = FakeAdapter::start(|_| {
        ok(&CheckResult {
            status: Some(RpcStatus {
                code: 7,
                message: "no".to_owned(),
                ..RpcStatus::default()
            }),
            valid_duration: Some(Span { seconds: 5, nanos: 0 }),
            valid_use_count: 3,
        })
    })
    .await;
    let config = Any {
        type_url: "type.googleapis.com/own.Params".to_owned(),
        value: Bytes::from_static(b"\x08\x01"),
    };
    let backend = backend(BackendOptions {
        config: Some(config.clone()),
        ..options(&adapter.address())
    })
    .await;
    for _ in 0..2 {
        let result = check(&backend).await.unwrap();
        assert_eq!((result.status.code, result.status.message.as_str()), (7, "no"));
        assert_eq!(
            (result.valid_duration, result.valid_use_count),
            (Duration::from_secs(5), 3)
        );
    }
    let calls = adapter.calls();
    let requests: Vec<_> = calls
        .iter()
        .map(|call| listentry::HandleListEntryRequest::decode(call.message.clone()).unwrap())
        .collect();
    assert_eq!(calls[0].path, "/listentry.HandleListEntryService/HandleListEntry");
    assert_eq!(
        requests[0].encode_to_vec(),
        calls[0].message,
        "in the order of numbers"
    );
    assert_eq!(requests[0].instance.as_ref().unwrap().name, "one.instance.ns");
    assert_eq!(requests[0].adapter_config, Some(config));
    let ids: Vec<u64> = requests
        .iter()
        .map(|request| request.dedup_id.parse().unwrap())
        .collect();
    assert_eq!(ids[1], ids[0].wrapping_add(1), "{ids:?}");
    assert!(calls[0].metadata.contains_key("grpc-timeout"));
}

/// `spec 02` §10.3: one call with all instances of a report.
#[tokio::test]
async fn spec_02_10_3_a_report_is_one_call() {
    let adapter = FakeAdapter::start(|_| ok(&ReportResult {})).await;
    let backend = backend(options(&adapter.address())).await;
    let template = known("metric");
    let mut instances = Vec::new();
    for value in 1..=3 {
        instances.extend(encoded(&template, &json!({ "value": value })));
    }
    backend
        .report(&template, instances, until())
        .wait()
        .await
        .unwrap();
    let calls = adapter.calls();
    assert_eq!(calls.len(), 1);
    let request = HandleMetricRequest::decode(calls[0].message.clone()).unwrap();
    assert_eq!((request.instances.len(), request.adapter_config), (3, None));
}

/// `spec 02` §10.3: quotas by full name, with the id of the caller; an answer without that name is an error.
#[tokio::test]
async fn spec_02_10_3_quotas_go_by_their_full_name() {
    let adapter = FakeAdapter::start(|call| {
        let request = HandleQuotaRequest::decode(call.message).unwrap();
        let (name, params) = request.quota_request.unwrap().quotas.pop_first().unwrap();
        let name = if params.best_effort {
            name
        } else {
            "other".to_owned()
        };
        let granted = Granted {
            valid_duration: Some(Span { seconds: 1, nanos: 0 }),
            granted_amount: params.amount / 2,
        };
        assert_eq!(request.dedup_id, "the callers");
        ok(&QuotaResult {
            quotas: [(name, granted)].into(),
        })
    })
    .await;
    let backend = backend(options(&adapter.address())).await;
    let template = known("quota");
    let ask = async |best_effort| {
        let args = QuotaArgs {
            deduplication_id: "the callers".to_owned(),
            amount: 10,
            best_effort,
        };
        let instance = encoded(&template, &json!({"dimensions": {"who": "text"}}));
        let answer = backend.quota(&template, "one.instance.ns", instance, &args, until());
        answer.wait().await.map_err(|error| error.to_string())
    };
    let granted = ask(true).await.unwrap();
    assert_eq!(
        (granted.amount, granted.valid_duration),
        (5, Duration::from_secs(1))
    );
    let error = ask(false).await.unwrap_err();
    assert!(error.contains("has nothing for one.instance.ns"), "{error}");
}

/// `spec 02` §10.3: what an adapter says that cannot be understood is an error, and the next call is answered.
#[tokio::test]
async fn answers_that_are_garbage_are_errors_of_one_call() {
    let adapter = FakeAdapter::start(|call| {
        let request = listentry::HandleListEntryRequest::decode(call.message).unwrap();
        let bytes: &[u8] = match request.dedup_id.bytes().last().unwrap() % 3 {
            0 => b"\xff\xff\xff\xff",
            1 => b"\x0a\x7f\x01",
            _ => return refused(Status::new(Code::Internal, "the adapter is unwell")),
        };
        async move { Ok(Bytes::from_static(bytes)) }.boxed()
    })
    .await;
    let backend = backend(options(&adapter.address())).await;
    let mut told = BTreeSet::new();
    for _ in 0..12 {
        told.insert(check(&backend).await.unwrap_err());
    }
    assert!(
        told.iter().any(|error| error.contains("cannot be read")),
        "{told:?}"
    );
    assert!(told.contains("Internal: the adapter is unwell"), "{told:?}");
}

/// `spec 02` §10.3: the time limit of the connection, and that of the caller.
#[tokio::test]
async fn spec_02_10_3_a_slow_adapter_is_given_up() {
    let adapter = FakeAdapter::start(|_| std::future::pending().boxed()).await;
    let mut limited = options(&adapter.address());
    limited.connection.timeout = Some(Span {
        seconds: 0,
        nanos: 20_000_000,
    });
    let own = backend(limited).await;
    let error = check(&own).await.unwrap_err();
    assert!(
        error.contains("no answer within 20ms") || error.contains("Timeout expired"),
        "{error}"
    );
    let of_caller = backend(options(&adapter.address())).await;
    let template = known("listentry");
    let instance = encoded(&template, &json!({"value": "text"}));
    let soon = Instant::now() + Duration::from_millis(20);
    of_caller
        .check(&template, instance, soon)
        .wait()
        .await
        .unwrap_err();
    let mut negative = options(&adapter.address());
    negative.connection.timeout = Some(Span {
        seconds: -1,
        nanos: 0,
    });
    let error = Backend::build(negative, &env()).await.unwrap_err();
    assert!(error.to_string().starts_with("connection.timeout: "), "{error}");
}

/// A process that dies in a call fails that call; while it is gone calls fail at once; when it is back they are answered.
#[tokio::test]
async fn an_adapter_that_dies_in_a_call_is_called_again_when_it_is_back() {
    let first = FakeAdapter::start(|_| std::future::pending().boxed()).await;
    let port = first.address().port();
    let backend = backend(options(&first.address())).await;
    let waiting = backend.clone();
    let call = mesh_runtime::Spawner::default().spawn("call", async move {
        let error = check(&waiting).await.unwrap_err();
        assert!(!error.contains("no answer within"), "{error}");
    });
    eventually(PATIENCE, async || match first.calls().len() {
        0 => Err("no call yet"),
        _ => Ok(()),
    })
    .await
    .unwrap();
    drop(first);
    call.join().await.unwrap();
    let error = check(&backend).await.unwrap_err();
    assert!(!error.is_empty());
    let second = FakeAdapter::listen(port, None, |_| ok(&CheckResult::default())).await;
    eventually(PATIENCE, async || check(&backend).await)
        .await
        .unwrap();
    assert_eq!(second.calls().len(), 1);
}

/// `spec 02` §10.3: what has no address cannot be built.
#[tokio::test]
async fn spec_02_10_3_an_adapter_needs_an_address() {
    for (address, reason) in [
        ("", "connection.address: is missing"),
        ("127.0.0.1", "connection.address: "),
        (":9999", "has no host"),
        ("127.0.0.1:0", "has no port"),
    ] {
        let error = Backend::build(options(address), &env()).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{address}: {error}");
    }
}

/// `spec 02` §10.3: all addresses of a name in turn, but for those that cannot be connected to.
#[tokio::test]
async fn spec_02_10_3_addresses_are_called_in_turn() {
    // `localhost` may have both families: on a port where only one listens, the other is left alone.
    let adapter = FakeAdapter::start(|_| ok(&CheckResult::default())).await;
    let backend = backend(options(&format!("localhost:{}", adapter.address().port()))).await;
    eventually(PATIENCE, async || check(&backend).await)
        .await
        .unwrap();
    for _ in 0..4 {
        eventually(PATIENCE, async || check(&backend).await)
            .await
            .unwrap();
    }
    assert_eq!(adapter.calls().len(), 5);
}
