//! Adapters of other processes (`spec 02` §10), from objects to answers.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use mesh_api::adapter::template::kubernetes::{self, HandleKubernetesRequest};
use mesh_api::google::rpc::Status as RpcStatus;
use mesh_api::istio::mixer::adapter::model::v1beta1::quota_result::Result as Granted;
use mesh_api::istio::mixer::adapter::model::v1beta1::{
    CheckResult, CloseSessionResponse, CreateSessionResponse, QuotaResult, ReportResult, ValidateResponse,
};
use mesh_api::istio::mixer::v1::header_operation::Operation;
use mesh_api::metric::HandleMetricRequest;
use mesh_api::quota::HandleQuotaRequest;
use mesh_testing::eventually;
use mixer_dynamic::Pace;
use mixer_dynamic::testing::{Call, FakeAdapter, Reply, built_in, compiled};
use mixer_runtime::dispatch::FailureKind;
use prost::Message;
use tonic::Status;

use crate::world::{World, handler, object};

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A check that puts something out (fixture F-2).
pub(crate) const HEADERCHECK: &str = r#"
syntax = "proto3";
package headercheck;
import "google/protobuf/any.proto";
import "istio/mixer/adapter/model/v1beta1/check.proto";
import "istio/mixer/adapter/model/v1beta1/extensions.proto";
option (istio.mixer.adapter.model.v1beta1.template_name) = "headercheck";
option (istio.mixer.adapter.model.v1beta1.template_variety) = TEMPLATE_VARIETY_CHECK_WITH_OUTPUT;
service HandleHeadercheckService {
  rpc HandleHeadercheck(HandleHeadercheckRequest) returns (HandleHeadercheckResponse);
}
message HandleHeadercheckRequest {
  InstanceMsg instance = 1;
  google.protobuf.Any adapter_config = 2;
  string dedup_id = 3;
}
message HandleHeadercheckResponse {
  istio.mixer.adapter.model.v1beta1.CheckResult result = 1;
  OutputMsg output = 2;
}
message InstanceMsg { string key = 1; string name = 72295727; }
message Type {}
message OutputMsg { string value = 1; }
"#;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeadercheckResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) result: Option<CheckResult>,
    #[prost(message, optional, tag = "2")]
    pub(crate) output: Option<HeadercheckOutput>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeadercheckOutput {
    #[prost(string, tag = "1")]
    pub(crate) value: String,
}

#[derive(Clone, PartialEq, Message)]
struct HeadercheckRequest {
    #[prost(message, optional, tag = "1")]
    instance: Option<HeadercheckInstance>,
}

#[derive(Clone, PartialEq, Message)]
struct HeadercheckInstance {
    #[prost(string, tag = "1")]
    key: String,
}

pub(crate) fn world() -> World {
    let mut world = World::new();
    world.patience.call_limit = PATIENCE;
    world.factory = world.factory.with_build_limit(PATIENCE).with_pace(Pace {
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(10),
        ..Pace::default()
    });
    world
}

pub(crate) fn ok(message: &impl Message) -> Reply {
    let bytes = Bytes::from(message.encode_to_vec());
    async move { Ok(bytes) }.boxed()
}

pub(crate) fn template(name: &str, descriptor: &str) -> String {
    object(
        "template",
        "istio-system",
        name,
        &format!("{{descriptor: '{descriptor}'}}"),
    )
}

pub(crate) fn known(name: &str) -> String {
    let file = format!("mixer/template/{name}/template_handler_service.proto");
    template(name, &built_in(&file))
}

pub(crate) fn adapter(templates: &str, more: &str) -> String {
    object(
        "adapter",
        "istio-system",
        "remote",
        &format!("{{description: test, templates: [{templates}]{more}}}"),
    )
}

pub(crate) fn remote(name: &str, address: &(impl ToString + ?Sized), more: &str) -> String {
    let address = address.to_string();
    object(
        "handler",
        "istio-system",
        name,
        &format!("{{adapter: remote, connection: {{address: '{address}'}}{more}}}"),
    )
}

pub(crate) fn instance(name: &str, template: &str, rest: &str) -> String {
    object(
        "instance",
        "istio-system",
        name,
        &format!("{{template: {template}{rest}}}"),
    )
}

pub(crate) fn rule(name: &str, spec: &str) -> String {
    object("rule", "istio-system", name, &format!("{{{spec}}}"))
}

/// An adapter for every template that is used here.
pub(crate) fn everybody(call: Call) -> Reply {
    match call.path.rsplit('/').next().unwrap() {
        "HandleMetric" => ok(&ReportResult {}),
        "HandleQuota" => {
            let request = HandleQuotaRequest::decode(call.message).unwrap();
            let asked = request.quota_request.unwrap().quotas;
            let granted = asked.into_iter().map(|(name, params)| {
                let granted = Granted {
                    valid_duration: None,
                    granted_amount: params.amount.saturating_sub(1),
                };
                (name, granted)
            });
            ok(&QuotaResult {
                quotas: granted.collect(),
            })
        }
        "HandleKubernetes" => {
            let request = HandleKubernetesRequest::decode(call.message).unwrap();
            let pod = format!("pod-of-{}", request.instance.unwrap().source_uid);
            ok(&kubernetes::OutputMsg {
                source_pod_name: pod,
                ..kubernetes::OutputMsg::default()
            })
        }
        "HandleCheckNothing" => ok(&CheckResult::default()),
        other => {
            let status = Status::unimplemented(other);
            async move { Err(status) }.boxed()
        }
    }
}

/// `spec 02` §10.3: templates of objects and those that are built in, sent to another process: check, quota, report and
/// generation.
#[tokio::test]
async fn spec_02_10_3_all_varieties_go_to_another_process() {
    let process = FakeAdapter::start(everybody).await;
    let mut world = world();
    let text = [
        known("metric"),
        adapter("metric, quota, kubernetes, checknothing", ""),
        remote("far", &process.address(), ""),
        instance(
            "count",
            "metric",
            ", params: {value: '1', dimensions: {who: source.name}}",
        ),
        // Built in, by either field.
        instance("requests", "quota", ", params: {dimensions: {who: source.name}}"),
        object(
            "instance",
            "istio-system",
            "nothing",
            "{compiledTemplate: checknothing}",
        ),
        object(
            "instance",
            "istio-system",
            "pods",
            "{compiledTemplate: kubernetes, params: {source_uid: source.uid | \"\"}, \
             attributeBindings: {source.name: 'output.source_pod_name | \"unknown\"'}}",
        ),
        rule(
            "all",
            "actions: [{handler: far, instances: [count, requests, nothing, pods]}]",
        ),
    ]
    .concat();
    world.configure(&text).await;
    assert_eq!(world.problems, Vec::<String>::new());
    let checked = world
        .check(&[("source.uid", "a")], &[("requests", 10)])
        .await
        .unwrap();
    assert!(checked.verdict.is_ok());
    assert_eq!(checked.grants["requests"].amount, 9);
    let quota = HandleQuotaRequest::decode(process.calls_of("/HandleQuota")[0].message.clone()).unwrap();
    assert_eq!(quota.dedup_id, "idrequests");
    assert_eq!(
        quota.quota_request.unwrap().quotas.keys().collect::<Vec<_>>(),
        ["requests.instance.istio-system"]
    );
    world
        .report(&[&[("source.uid", "a")], &[("source.name", "given")]])
        .await
        .unwrap();
    let reports = process.calls_of("/HandleMetric");
    assert_eq!(reports.len(), 1, "one call for all sets");
    let report = HandleMetricRequest::decode(reports[0].message.clone()).unwrap();
    let who: Vec<_> = report
        .instances
        .iter()
        .map(|instance| format!("{:?}", instance.dimensions["who"]))
        .collect();
    assert!(who[0].contains("pod-of-a") && who[1].contains("given"), "{who:?}");
    let table = world.engine.table();
    assert_eq!(table.destinations.len(), 4);
}

/// Fixture F-2: what a check puts out goes into headers; nothing does when a check refuses.
#[tokio::test]
async fn m14_header_operations_take_what_checks_put_out() {
    let process = FakeAdapter::start(|call| {
        let key = HeadercheckRequest::decode(call.message)
            .unwrap()
            .instance
            .unwrap()
            .key;
        let code = if key == "denied" { 7 } else { 0 };
        ok(&HeadercheckResponse {
            result: Some(CheckResult {
                status: Some(RpcStatus {
                    code,
                    ..RpcStatus::default()
                }),
                ..CheckResult::default()
            }),
            output: (key != "silent").then(|| HeadercheckOutput {
                value: format!("status-of-{key}"),
            }),
        })
    })
    .await;
    let mut world = world();
    let text = [
        template("headercheck", &compiled("headercheck.proto", HEADERCHECK)),
        adapter("headercheck", ""),
        remote("headercheck", &process.address(), ""),
        instance("keyinstance", "headercheck", ", params: {key: source.name}"),
        rule(
            "f-2",
            "match: 'source.name != \"other\"', \
             actions: [{handler: headercheck, instances: [keyinstance], name: x}], \
             requestHeaderOperations: [{name: User-Status, values: [x.output.value]}, \
             {name: user-group, values: [x.output.value, '\"fixed\"'], operation: APPEND}, \
             {name: user-secret, operation: REMOVE}], \
             responseHeaderOperations: [{name: seen, values: ['x.output.value | \"nothing\"']}]",
        ),
    ]
    .concat();
    world.configure(&text).await;
    assert_eq!(world.problems, Vec::<String>::new());
    let directive = async |name: &str| {
        let checked = world.check(&[("source.name", name)], &[]).await.unwrap();
        checked.verdict.directive
    };
    let of = |operations: Vec<mesh_api::istio::mixer::v1::HeaderOperation>| -> Vec<_> {
        operations
            .into_iter()
            .map(|one| (one.operation(), one.name, one.value))
            .collect()
    };
    let text = |operation, name: &str, value: &str| (operation, name.to_owned(), value.to_owned());
    let given = directive("frontend").await.unwrap();
    assert_eq!(
        of(given.request_header_operations),
        [
            text(Operation::Replace, "user-status", "status-of-frontend"),
            text(Operation::Append, "user-group", "status-of-frontend"),
            text(Operation::Append, "user-group", "fixed"),
            text(Operation::Remove, "user-secret", ""),
        ]
    );
    assert_eq!(
        of(given.response_header_operations),
        [text(Operation::Replace, "seen", "status-of-frontend")]
    );
    // What was not put out is absent.
    let silent = directive("silent").await.unwrap();
    assert_eq!(
        of(silent.request_header_operations),
        [
            text(Operation::Append, "user-group", "fixed"),
            text(Operation::Remove, "user-secret", ""),
        ]
    );
    assert_eq!(silent.response_header_operations[0].value, "nothing");
    assert_eq!(
        directive("denied").await,
        None,
        "a check that refuses applies none"
    );
    assert_eq!(
        directive("other").await,
        None,
        "nor does a rule that does not match"
    );
}

/// §5.8: what instances of different templates put out under one name could be taken for each other.
#[tokio::test]
async fn spec_02_5_8_outputs_of_different_templates_do_not_share_a_name() {
    let process = FakeAdapter::start(everybody).await;
    let mut world = world();
    let other = HEADERCHECK
        .replace("headercheck", "numbercheck")
        .replace("Headercheck", "Numbercheck")
        .replace(
            "OutputMsg { string value = 1; }",
            "OutputMsg { int64 value = 1; }",
        );
    let text = [
        template("headercheck", &compiled("headercheck.proto", HEADERCHECK)),
        template("numbercheck", &compiled("numbercheck.proto", &other)),
        adapter("headercheck, numbercheck", ""),
        remote("far", &process.address(), ""),
        instance("text", "headercheck", ", params: {key: source.name}"),
        instance("more", "headercheck", ", params: {key: source.uid}"),
        instance("number", "numbercheck", ", params: {key: source.name}"),
        rule(
            "same",
            "actions: [{handler: far, instances: [text, more], name: x}], \
             requestHeaderOperations: [{name: a, values: [x.output.value]}]",
        ),
        rule(
            "mixed",
            "actions: [{handler: far, instances: [text, number], name: x}], \
             requestHeaderOperations: [{name: a, values: [x.output.value]}]",
        ),
    ]
    .concat();
    world.configure(&text).await;
    assert_eq!(world.problems.len(), 2, "{:#?}", world.problems);
    for (problem, expected) in world.problems.iter().zip([
        "rule istio-system/mixed: actions[0].name: what instances of different templates put out cannot have one name",
        "rule istio-system/mixed: requestHeaderOperations[0].values[0]: unknown attribute x.output.value",
    ]) {
        assert!(problem.starts_with(expected), "{problem}");
    }
}

/// `spec 02` §5.9: what is wrong is told with object, field and reason, and harms nothing else.
#[tokio::test]
async fn spec_02_10_3_objects_that_are_wrong_are_told_and_harm_nobody() {
    let process = FakeAdapter::start(everybody).await;
    let mut world = world();
    let text = [
        handler("near", 0, "yes"),
        object(
            "instance",
            "istio-system",
            "nothing",
            "{compiledTemplate: checknothing}",
        ),
        template("garbage", "AAAA"),
        template("empty", ""),
        adapter("metric, missing", ""),
        object(
            "adapter",
            "istio-system",
            "broken",
            "{config: '?', templates: [metric]}",
        ),
        object("adapter", "istio-system", "idle", "{templates: [garbage]}"),
        remote("far", &process.address(), ""),
        remote("lost", "", ""),
        remote("demanding", &process.address(), ", params: {unknown: 1}"),
        object(
            "handler",
            "istio-system",
            "nobody",
            "{adapter: nobody, connection: {address: 'a:1'}}",
        ),
        instance("count", "metric", ", params: {value: '1'}"),
        instance("wrong", "metric", ", params: {value: unknown.attribute}"),
        instance("strange", "garbage", ""),
        rule(
            "good",
            "actions: [{handler: near, instances: [nothing]}, {handler: far, instances: [count]}]",
        ),
        rule(
            "bad",
            "actions: [{handler: far, instances: [nothing, wrong]}, {handler: near, instances: [count]}]",
        ),
        rule(
            "lost",
            "actions: [{handler: lost, instances: [count]}, {handler: demanding, instances: [count]}]",
        ),
        rule(
            "outputs",
            "actions: [{handler: near, instances: [nothing], name: x}], \
             requestHeaderOperations: [{name: a, values: [x.output.value]}]",
        ),
    ]
    .concat();
    world.configure(&text).await;
    let problems = world.problems.join("\n");
    for expected in [
        "template istio-system/garbage: descriptor: ",
        "template istio-system/empty: descriptor: the descriptor is missing",
        "adapter istio-system/remote: templates[1]: there is no template missing.template.istio-system",
        "adapter istio-system/broken: config: the descriptor is not base64",
        "adapter istio-system/idle: templates: the adapter serves no template",
        "handler istio-system/nobody: adapter: there is no adapter nobody.adapter.istio-system",
        "handler istio-system/lost: connection.address: is missing",
        "handler istio-system/demanding: params.unknown: the adapter has no parameters",
        "instance istio-system/wrong: params.value: ",
        "instance istio-system/strange: template: there is no template garbage.template.istio-system",
        "rule istio-system/bad: actions[0].instances[0]: instance nothing.instance.istio-system is of template checknothing, which adapter remote.adapter.istio-system does not serve",
        "rule istio-system/bad: actions[1].instances[0]: instance count.instance.istio-system is of template metric, which adapter denier does not serve",
        "rule istio-system/outputs: requestHeaderOperations[0].values[0]: ",
    ] {
        assert!(
            problems.contains(expected),
            "{expected}\nis missing in\n{problems}"
        );
    }
    assert!(world.check(&[], &[]).await.unwrap().verdict.is_ok());
    world.report(&[&[]]).await.unwrap();
    assert_eq!(process.calls_of("/HandleMetric").len(), 1);
}

/// `spec 02` §2.4.7, §2.6, §2.7: an adapter that cannot be reached fails checks and reports, and refuses quotas.
#[tokio::test]
async fn spec_02_10_3_failures_are_those_of_any_adapter() {
    let process = FakeAdapter::start(everybody).await;
    let mut world = world();
    let text = [
        adapter("metric, quota, checknothing", ""),
        remote("far", &process.address(), ""),
        instance("count", "metric", ", params: {value: '1'}"),
        instance("requests", "quota", ""),
        instance("nothing", "checknothing", ""),
        rule(
            "q",
            "match: 'source.name == \"quota\"', actions: [{handler: far, instances: [requests]}]",
        ),
        rule(
            "c",
            "match: 'source.name == \"check\"', actions: [{handler: far, instances: [nothing]}]",
        ),
        rule("r", "actions: [{handler: far, instances: [count]}]"),
    ]
    .concat();
    world.configure(&text).await;
    assert_eq!(world.problems, Vec::<String>::new());
    drop(process);
    let failure = world.check(&[("source.name", "check")], &[]).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Internal);
    let expected = "performing check operation failed: far.handler.istio-system: ";
    assert!(failure.message.starts_with(expected), "{failure}");
    let checked = world
        .check(&[("source.name", "quota")], &[("requests", 5)])
        .await
        .unwrap();
    assert_eq!(
        (
            checked.grants["requests"].amount,
            checked.grants["requests"].valid_duration
        ),
        (0, Duration::ZERO)
    );
    let failure = world.report(&[&[]]).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unknown);
}

/// `spec 02` §10.4: the session of a handler that changed is closed when nobody uses it any more; an unrelated change
/// leaves it alone.
#[tokio::test]
async fn spec_02_10_4_sessions_follow_the_configuration() {
    let made = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let process = FakeAdapter::start(move |call| match call.path.rsplit('/').next().unwrap() {
        "Validate" => ok(&ValidateResponse::default()),
        "CreateSession" => {
            let number = made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            ok(&CreateSessionResponse {
                session_id: format!("session-{number}"),
                status: None,
            })
        }
        "CloseSession" => ok(&CloseSessionResponse::default()),
        _ => everybody(call),
    })
    .await;
    let mut world = world();
    let text = |value: &str, condition: &str| {
        [
            adapter("metric", ", sessionBased: true"),
            remote("far", &process.address(), ""),
            instance("count", "metric", &format!(", params: {{value: {value}}}")),
            rule(
                "r",
                &format!("match: '{condition}', actions: [{{handler: far, instances: [count]}}]"),
            ),
        ]
        .concat()
    };
    world.configure(&text("'1'", "true")).await;
    assert_eq!(world.problems, Vec::<String>::new());
    world.report(&[&[]]).await.unwrap();
    let session = || {
        let call = process.calls_of("/HandleMetric").pop().unwrap();
        let config = HandleMetricRequest::decode(call.message)
            .unwrap()
            .adapter_config
            .unwrap();
        String::from_utf8(config.value.to_vec()).unwrap()
    };
    assert_eq!(session(), "session-0");
    world.configure(&text("'2'", "source.name != \"\"")).await;
    assert_eq!(world.counts.reused, 1, "the same types under another condition");
    // Another type of what is sent is another session.
    world.configure(&text("'\"text\"'", "true")).await;
    assert_eq!(world.counts.new, 1);
    world.report(&[&[]]).await.unwrap();
    assert_eq!(session(), "session-1");
    let closed = || process.calls_of("/CloseSession").len();
    eventually(PATIENCE, async || match closed() {
        1 => Ok(()),
        other => Err(format!("{other} sessions are closed")),
    })
    .await
    .unwrap();
}
