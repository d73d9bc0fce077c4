//! Whatever an adapter's process answers, in its messages and below them: nothing panics, what is answered to the proxy
//! can be read, and the next call is as good as if nothing had happened.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use mesh_api::Any;
use mesh_api::adapter::template::kubernetes;
use mesh_api::google::rpc::Status as RpcStatus;
use mesh_api::istio::mixer::adapter::model::v1beta1::{
    CheckResult, CloseSessionResponse, CreateSessionResponse, ValidateResponse,
};
use mesh_api::istio::mixer::v1::CheckResponse;
use mesh_api::istio::policy::v1beta1::DirectHttpResponse;
use mesh_runtime::Spawner;
use mesh_testing::eventually;
use mesh_testing::fuzz;
use mesh_testing::objects::Choices;
use mixer_attribute::encode;
use mixer_dynamic::testing::{Call, FakeAdapter, Reply, compiled};
use mixer_runtime::dispatch::{Checked, Patience};
use prost::Message as _;
use prost_types::Duration as Span;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::remote::{
    HEADERCHECK, HeadercheckOutput, HeadercheckResponse, adapter, everybody, instance, ok, remote, rule,
    template, world,
};
use crate::world::{World, object};

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long an answer is waited for that may never come.
const CALL_LIMIT: Duration = Duration::from_millis(300);

/// What is done to answers; nothing where there are no choices.
type Mischief = Arc<Mutex<Option<Choices<'static>>>>;

#[test]
fn fuzz_adapters() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (messages, wire) = (Mischief::default(), Mischief::default());
    let said = Arc::clone(&messages);
    let (process, far, mut world) = runtime.block_on(async {
        let process = FakeAdapter::start(move |call| reply(call, &said)).await;
        let far = relay(process.address(), Arc::clone(&wire)).await;
        (process, far, world())
    });
    let headercheck = template("headercheck", &compiled("headercheck.proto", HEADERCHECK));
    fuzz::rounds("adapters", |choices| {
        let before = fuzz::panics();
        runtime.block_on(async {
            world.patience.call_limit = CALL_LIMIT;
            let text = [headercheck.clone(), configuration(far, choices)].concat();
            let mischief =
                |choices: &mut Choices<'_>| Some(Choices::seeded(choices.below(usize::MAX) as u64));
            *messages.lock().unwrap() = mischief(choices);
            if choices.chance(20) {
                *wire.lock().unwrap() = mischief(choices);
            }
            world.configure("").await;
            world.configure(&text).await;
            for _ in 0..=choices.below(3) {
                call(&world, choices).await;
            }
            *messages.lock().unwrap() = None;
            *wire.lock().unwrap() = None;
            recovered(&mut world, &text).await;
            world.configure("").await;
            process.forget();
        });
        assert_eq!(fuzz::panics(), before, "somebody caught a panic");
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
}

/// What asks the process for everything that there is.
fn configuration(far: SocketAddr, choices: &mut Choices<'_>) -> String {
    let sessions = ["", ", sessionBased: true"][choices.below(2)];
    let generator = object(
        "instance",
        "istio-system",
        "pods",
        "{compiledTemplate: kubernetes, params: {source_uid: source.uid | \"\"}, \
         attributeBindings: {source.name: 'output.source_pod_name | \"unknown\"'}}",
    );
    let pods = ["", ", pods"][choices.below(2)];
    [
        adapter("metric, quota, kubernetes, checknothing, headercheck", sessions),
        remote("far", &far, ""),
        instance("count", "metric", ", params: {value: '1'}"),
        instance("requests", "quota", ""),
        instance("nothing", "checknothing", ""),
        instance("keyinstance", "headercheck", ", params: {key: '\"key\"'}"),
        generator,
        rule(
            "all",
            &format!("actions: [{{handler: far, instances: [count, requests, nothing{pods}]}}]"),
        ),
        rule(
            "headers",
            "match: 'request.path == \"/headers\"', \
             actions: [{handler: far, instances: [keyinstance], name: x}], \
             requestHeaderOperations: [{name: a, values: [x.output.value]}]",
        ),
    ]
    .concat()
}

/// A call, and what the proxy gets of it.
async fn call(world: &World, choices: &mut Choices<'_>) {
    let path = *choices.one_of(&["/", "/headers"]);
    let amount = *choices.one_of(&[0, 1, -1, i64::MAX, i64::MIN]);
    match choices.below(3) {
        0 => {
            let _ = world.report(&[&[("request.path", path)], &[]]).await;
        }
        _ => {
            let checked = world
                .check(&[("request.path", path)], &[("requests", amount)])
                .await;
            if let Ok(checked) = checked {
                response(world, checked);
            }
        }
    }
}

/// The answer to a proxy, which it can read.
fn response(world: &World, checked: Checked) {
    let table = world.engine.table();
    let read = |references| encode::referenced_attributes(references, &table.vocabulary, 221);
    let quotas = checked.grants.iter().map(|(name, grant)| {
        let result = encode::quota_result(grant.amount, grant.valid_duration, read(&grant.references));
        (name.clone(), result)
    });
    let verdict = checked.verdict;
    let response = CheckResponse {
        quotas: quotas.collect(),
        precondition: Some(encode::precondition_result(
            verdict.status.code,
            verdict.status.message,
            verdict.valid_duration,
            verdict.valid_use_count,
            read(&checked.references),
            verdict.directive,
        )),
    };
    let again = CheckResponse::decode(response.encode_to_vec().as_slice()).unwrap();
    assert_eq!(again, response);
    let valid = again.precondition.unwrap().valid_duration.unwrap();
    assert!((0..=315_576_000_000).contains(&valid.seconds), "{valid:?}");
}

/// Waits until the process, which is sane now, is asked again and understood.
async fn recovered(world: &mut World, text: &str) {
    world.patience = Patience {
        call_limit: PATIENCE,
        ..world.patience
    };
    world.configure("").await;
    world.configure(text).await;
    assert_eq!(world.problems, Vec::<String>::new());
    eventually(PATIENCE, async || {
        match world
            .check(&[("request.path", "/headers")], &[("requests", 10)])
            .await
        {
            Ok(checked) if checked.verdict.is_ok() && checked.grants["requests"].amount == 9 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    world.report(&[&[]]).await.unwrap();
}

/// What a process says that is sane, or something like it.
fn reply(call: Call, mischief: &Mischief) -> Reply {
    let mut mischief = mischief.lock().unwrap();
    let Some(choices) = &mut *mischief else {
        return sane(call);
    };
    if choices.chance(15) {
        let status = refusal(choices);
        return async move { Err(status) }.boxed();
    }
    let message = match call.path.rsplit('/').next().unwrap() {
        "HandleCheckNothing" => check_result(choices).encode_to_vec(),
        "HandleHeadercheck" => {
            let output = choices.chance(70).then(|| HeadercheckOutput {
                value: fuzz::string(choices),
            });
            HeadercheckResponse {
                result: choices.chance(70).then(|| check_result(choices)),
                output,
            }
            .encode_to_vec()
        }
        "HandleKubernetes" => kubernetes::OutputMsg {
            source_pod_name: fuzz::string(choices),
            ..kubernetes::OutputMsg::default()
        }
        .encode_to_vec(),
        "Validate" => ValidateResponse {
            status: choices.chance(20).then(|| status(choices)),
        }
        .encode_to_vec(),
        "CreateSession" => CreateSessionResponse {
            session_id: fuzz::string(choices),
            status: choices.chance(20).then(|| status(choices)),
        }
        .encode_to_vec(),
        // Whatever the others say is changed below.
        _ => {
            let damage = choices.chance(50);
            let seed = choices.below(usize::MAX) as u64;
            return async move {
                let said = sane(call).await?;
                let mut choices = Choices::seeded(seed);
                Ok(match damage {
                    true => fuzz::message_changed(&said, &mut choices).into(),
                    false => said,
                })
            }
            .boxed();
        }
    };
    let message = match choices.below(6) {
        0 => fuzz::damaged(message, choices),
        1 => Vec::new(),
        // More than is taken.
        2 if choices.chance(10) => vec![0; 5 << 20],
        3 => message,
        _ => fuzz::message_changed(&message, choices),
    };
    async move { Ok(Bytes::from(message)) }.boxed()
}

fn sane(call: Call) -> Reply {
    match call.path.rsplit('/').next().unwrap() {
        "Validate" => ok(&ValidateResponse::default()),
        "CreateSession" => ok(&CreateSessionResponse {
            session_id: "session".to_owned(),
            status: None,
        }),
        "CloseSession" => ok(&CloseSessionResponse::default()),
        "HandleHeadercheck" => ok(&HeadercheckResponse {
            result: None,
            output: None,
        }),
        _ => everybody(call),
    }
}

/// An error of gRPC, with whatever may stand beside it.
fn refusal(choices: &mut Choices<'_>) -> Status {
    let mut metadata = MetadataMap::new();
    if let Ok(value) = fuzz::string(choices).parse() {
        metadata.insert("x-reason", value);
    }
    Status::with_details_and_metadata(
        Code::from(*choices.one_of(&[0, 1, 2, 3, 5, 13, 14, 16, 99, -1])),
        fuzz::string(choices),
        Bytes::from(fuzz::string(choices)),
        metadata,
    )
}

fn status(choices: &mut Choices<'_>) -> RpcStatus {
    let direct = DirectHttpResponse {
        code: *choices.one_of(&[0, 200, 303, -1, i32::MAX]),
        body: fuzz::string(choices),
        headers: [(fuzz::string(choices), fuzz::string(choices))].into(),
    };
    let mut direct = Any::pack(&direct);
    if choices.chance(50) {
        direct.value = fuzz::message_changed(&direct.value, choices).into();
    }
    let other = Any {
        type_url: fuzz::string(choices),
        value: fuzz::string(choices).into(),
    };
    RpcStatus {
        code: *choices.one_of(&[0, 7, 16, -1, 1333, i32::MIN, i32::MAX]),
        message: fuzz::string(choices),
        details: vec![other, direct],
    }
}

fn check_result(choices: &mut Choices<'_>) -> CheckResult {
    CheckResult {
        status: choices.chance(80).then(|| status(choices)),
        valid_duration: choices.chance(80).then(|| Span {
            seconds: *choices.one_of(&[0, 1, -1, i64::MAX, i64::MIN, 315_576_000_000]),
            nanos: *choices.one_of(&[0, 1, -1, 1_000_000_000, i32::MIN, i32::MAX]),
        }),
        valid_use_count: *choices.one_of(&[0, 1, -1, i32::MIN, i32::MAX]),
    }
}

/// Something between Mixer and an adapter that may change what the adapter sends, or cut the connection.
async fn relay(adapter: SocketAddr, mischief: Mischief) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Spawner::default().spawn("relay", async move {
        while let Ok((mixer, _)) = listener.accept().await {
            let Ok(adapter) = TcpStream::connect(adapter).await else {
                continue;
            };
            let (mut from_mixer, to_mixer) = mixer.into_split();
            let (from_adapter, mut to_adapter) = adapter.into_split();
            Spawner::default().spawn("there", async move {
                let _ = tokio::io::copy(&mut from_mixer, &mut to_adapter).await;
            });
            Spawner::default().spawn("back", back(from_adapter, to_mixer, Arc::clone(&mischief)));
        }
    });
    address
}

async fn back(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mischief: Mischief,
) {
    let mut buffer = vec![0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mut chunk = buffer[..length].to_vec();
        if let Some(choices) = &mut *mischief.lock().unwrap() {
            match choices.below(6) {
                0 => chunk = fuzz::damaged(chunk, choices),
                1 => chunk = fuzz::string(choices).into_bytes(),
                2 => return,
                _ => {}
            }
        }
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
}
