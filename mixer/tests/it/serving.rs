//! Check and Report over gRPC.

use mesh_api::istio::mixer::v1::check_request::QuotaParams;
use mesh_api::istio::mixer::v1::{CheckRequest, CompressedAttributes, ReportRequest};
use tonic::Code;

use crate::harness::{Mixer, attributes, object};

fn configuration(condition: &str) -> String {
    [
        object("handler", "nothing", "{compiledAdapter: noop}"),
        object("instance", "question", "{compiledTemplate: checknothing}"),
        object("instance", "count", "{compiledTemplate: metric, params: {value: '1'}}"),
        object("instance", "requests", "{compiledTemplate: quota}"),
        object(
            "rule",
            "all",
            &format!("{{match: '{condition}', actions: [{{handler: nothing, instances: [question, count, requests]}}]}}"),
        ),
    ]
    .concat()
}

pub(crate) fn request(pairs: &[(&str, &str)]) -> CheckRequest {
    CheckRequest {
        attributes: Some(attributes(pairs)),
        ..CheckRequest::default()
    }
}

#[tokio::test]
async fn m104_m117_m118_check_quota_and_report_are_answered() {
    let mixer = Mixer::start(&configuration("true"), &[]).await;
    let mut check = request(&[("source.name", "frontend")]);
    let wanted = QuotaParams {
        amount: 3,
        best_effort: true,
    };
    check.quotas.insert("requests".to_owned(), wanted);
    let answer = mixer.check(check).await.unwrap();
    let precondition = answer.precondition.unwrap();
    assert_eq!(precondition.status.unwrap().code, 0);
    assert_eq!(precondition.valid_use_count, 1_000_000_000, "that of the adapter");
    assert!(precondition.valid_duration.is_some() && precondition.referenced_attributes.is_some());
    let quota = &answer.quotas["requests"];
    assert_eq!(quota.granted_amount, 3);
    assert!(quota.valid_duration.is_some() && quota.referenced_attributes.is_some());

    let report = ReportRequest {
        attributes: vec![
            attributes(&[("source.name", "a")]),
            attributes(&[("source.name", "b")]),
        ],
        repeated_attributes_semantics: 1,
        ..ReportRequest::default()
    };
    mixer.report(report).await.unwrap();
    let (_, metrics) = mixer.get("/metrics").await;
    for line in [
        "mixer_runtime_dispatches_total{adapter=\"noop\",error=\"false\",handler=\"nothing.istio-system\",meshFunction=\"metric\"} 1",
        "mixer_runtime_dispatches_total{adapter=\"noop\",error=\"false\",handler=\"nothing.istio-system\",meshFunction=\"checknothing\"} 1",
        "grpc_io_server_completed_rpcs{grpc_server_method=\"istio.mixer.v1.Mixer/Report\",grpc_server_status=\"OK\"} 1",
        "mixer_config_rule_configs_total{configID=\"0\"} 1",
        "mixer_config_rule_config_count{configID=\"0\"} 1",
        "mixer_handler_new_handlers_total{configID=\"0\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
}

#[tokio::test]
async fn m15_m78_a_changed_rule_counts_and_the_handler_stays() {
    let mixer = Mixer::start(&configuration("true"), &[]).await;
    let uses = async || {
        let answer = mixer
            .check(request(&[("source.name", "frontend")]))
            .await
            .unwrap();
        answer.precondition.unwrap().valid_use_count
    };
    assert_eq!(uses().await, 1_000_000_000);
    mixer.configure(&configuration("source.name == \"other\"")).await;
    assert_eq!(uses().await, 10_000, "nobody was asked");
    let running = &mixer.json("/debug/configz").await["running"];
    assert_eq!(running[0]["configId"], 0, "{running}");
    let routes = mixer.json("/debug/routez").await;
    let group = &routes["namespaces"]["*"]["checks"][0]["groups"][0];
    assert_eq!(group["match"], "source.name == \"other\"");
    assert_eq!(group["instances"][0]["rule"], "rule istio-system/all");
}

#[tokio::test]
async fn pain_23_objects_that_are_wrong_are_shown_and_harm_nobody() {
    let wrong = object(
        "rule",
        "dangling",
        "{actions: [{handler: missing, instances: [question]}]}",
    );
    let mixer = Mixer::start(&[configuration("true"), wrong].concat(), &[]).await;
    let errors = mixer.json("/debug/errors").await["errors"].clone();
    let fields: Vec<_> = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|error| format!("{} {}", error["object"], error["field"]))
        .collect();
    assert!(
        fields.contains(&"\"rule istio-system/dangling\" \"actions[0].handler\"".to_owned()),
        "{errors}"
    );
    let answer = mixer.check(request(&[])).await.unwrap();
    assert_eq!(answer.precondition.unwrap().valid_use_count, 1_000_000_000);
}

#[tokio::test]
async fn hostile_requests_are_refused_and_harm_nobody() {
    let mixer = Mixer::start(&configuration("true"), &["--maxMessageSize=10000"]).await;
    let mut twice = attributes(&[("source.name", "a")]);
    twice.int64s.insert(-1, 5);
    let refused = CheckRequest {
        attributes: Some(twice),
        ..CheckRequest::default()
    };
    assert_eq!(
        mixer.check(refused).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let too_many_words = CheckRequest {
        global_word_count: 10_000,
        ..request(&[])
    };
    let status = mixer.check(too_many_words).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status
            .message()
            .starts_with("Request could not be processed due to invalid"),
        "{status}"
    );
    let too_long = CheckRequest {
        attributes: Some(CompressedAttributes {
            words: vec!["x".repeat(20_000)],
            ..CompressedAttributes::default()
        }),
        ..CheckRequest::default()
    };
    assert_eq!(mixer.check(too_long).await.unwrap_err().code(), Code::OutOfRange);
    // An index that stands for nothing makes an attribute absent.
    let mut outside = CompressedAttributes::default();
    outside.strings.insert(-77, i32::MIN);
    let answer = mixer
        .check(CheckRequest {
            attributes: Some(outside),
            ..CheckRequest::default()
        })
        .await;
    assert_eq!(answer.unwrap().precondition.unwrap().status.unwrap().code, 0);
}

#[tokio::test]
async fn spec_02_9_9_requests_beyond_the_rate_are_refused() {
    let flags = [
        "--loadsheddingMode=enforce",
        "--maxRequestsPerSecond=0.001",
        "--burstSize=1",
    ];
    let mixer = Mixer::start(&configuration("true"), &flags).await;
    mixer.check(request(&[])).await.unwrap();
    let status = mixer.check(request(&[])).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::Unavailable,
            "Server is currently overloaded. Please try again."
        )
    );
    let (_, metrics) = mixer.get("/metrics").await;
    assert!(
        metrics.contains("mixer_loadshedding_requests_throttled 1"),
        "{metrics}"
    );
}

/// Words and attributes without end take their time and nothing else: who asks meanwhile is answered.
#[tokio::test]
async fn dictionaries_of_10_mb_are_read_and_harm_nobody() {
    let mixer = Mixer::start(&configuration("true"), &["--maxMessageSize=20000000"]).await;
    let mut set = attributes(&[("source.name", "frontend")]);
    set.words
        .extend((0..500_000).map(|number| format!("word-{number:015}")));
    // Names that stand for nothing, and one attribute by two names.
    set.strings.extend((3..200_000).map(|number| (-number, i32::MIN)));
    let check = CheckRequest {
        attributes: Some(set.clone()),
        ..CheckRequest::default()
    };
    let report = ReportRequest {
        default_words: std::mem::take(&mut set.words),
        attributes: vec![set.clone(), attributes(&[]), set],
        repeated_attributes_semantics: 1,
        ..ReportRequest::default()
    };
    let others = async {
        for _ in 0..20 {
            mixer.check(request(&[("source.name", "a")])).await.unwrap();
        }
    };
    let (large, told, ()) = tokio::join!(mixer.check(check.clone()), mixer.report(report), others);
    assert_eq!(
        large.unwrap().precondition.unwrap().valid_use_count,
        1_000_000_000
    );
    told.unwrap();
    let mut twice = check;
    let set = twice.attributes.as_mut().unwrap();
    set.words.push("source.name".to_owned());
    set.strings.insert(-i32::try_from(set.words.len()).unwrap(), -2);
    let status = mixer.check(twice).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "duplicate attribute source.name")
    );
}
