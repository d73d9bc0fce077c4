//! From requests to answers.

use std::time::Duration;

use mixer_runtime::dispatch::FailureKind;

use crate::world::{World, handler, object};

fn instance(name: &str, template: &str, params: &str) -> String {
    object(
        "instance",
        "istio-system",
        name,
        &format!("{{compiledTemplate: {template}, params: {params}}}"),
    )
}

fn rule(name: &str, condition: &str, handler: &str, instances: &str) -> String {
    object(
        "rule",
        "istio-system",
        name,
        &format!("{{match: '{condition}', actions: [{{handler: {handler}, instances: [{instances}]}}]}}"),
    )
}

fn checks(handlers: &[(&str, i32, &str)]) -> String {
    let mut text = instance("nothing", "checknothing", "{}");
    for (number, (name, code, does)) in handlers.iter().enumerate() {
        text += &handler(name, *code, does);
        text += &rule(&format!("r{number}"), "true", name, "nothing");
    }
    text
}

#[tokio::test]
async fn m117_who_is_denied_learns_by_whom_in_the_order_of_the_rules() {
    let mut world = World::new();
    let text = checks(&[
        ("slow", 7, "answers later"),
        ("fine", 0, "yes"),
        ("quick", 16, "log in"),
    ]);
    world.configure(&text).await;
    let checked = world
        .check(&[("source.name", "a")], &[("anything", 5)])
        .await
        .unwrap();
    assert_eq!(checked.verdict.status.code, 7);
    assert_eq!(
        checked.verdict.status.message,
        "slow.istio-system:answers later, quick.istio-system:log in"
    );
    assert!(
        checked.grants.is_empty(),
        "quotas of a request that may not pass are not touched"
    );
}

#[tokio::test]
async fn m117_a_handler_that_fails_fails_the_check_and_nothing_else() {
    let mut world = World::new();
    for (does, reason) in [
        ("fails", "as it was told"),
        ("panics", "panicked"),
        ("panics later", "panicked"),
        ("never answers", "no answer within"),
    ] {
        world
            .configure(&checks(&[("bad", 0, does), ("good", 0, "yes")]))
            .await;
        let failure = world.check(&[], &[]).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Internal);
        assert!(
            failure.message.starts_with("performing check operation failed: ")
                && failure.message.contains(reason),
            "{failure}"
        );
        assert_eq!(
            world
                .journal
                .take()
                .iter()
                .filter(|line| line.starts_with("check"))
                .count(),
            2
        );
    }
    let text = world.metrics.encode().unwrap();
    let counted = "mixer_runtime_dispatches_total{adapter=\"denier\",error=\"true\",handler=\"bad.istio-system\",meshFunction=\"checknothing\"} 4";
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn m119_conditions_and_namespaces_decide_who_is_asked() {
    let mut world = World::new();
    let text = [
        handler("deny", 7, "no"),
        instance("nothing", "checknothing", "{}"),
        object(
            "rule",
            "weather",
            "r",
            "{match: 'source.name == \"frontend\"', actions: [{handler: deny.istio-system, instances: [nothing.istio-system]}]}",
        ),
    ]
    .concat();
    world.configure(&text).await;
    for (attributes, code) in [
        (
            &[("source.name", "frontend"), ("destination.namespace", "weather")][..],
            7,
        ),
        (
            &[("source.name", "other"), ("destination.namespace", "weather")],
            0,
        ),
        (
            &[("source.name", "frontend"), ("destination.namespace", "other")],
            0,
        ),
        // Nobody knows who it is: the condition cannot be evaluated, and does not hold.
        (&[("destination.namespace", "weather")], 0),
        (
            &[
                ("source.name", "frontend"),
                ("source.namespace", "weather"),
                ("context.reporter.kind", "outbound"),
            ],
            7,
        ),
        (
            &[
                ("source.name", "frontend"),
                ("destination.namespace", "weather"),
                ("context.reporter.kind", "sideways"),
            ],
            0,
        ),
    ] {
        let checked = world.check(attributes, &[]).await.unwrap();
        assert_eq!(checked.verdict.status.code, code, "{attributes:?}");
    }
    let checked = world
        .check(
            &[("source.name", "frontend"), ("destination.namespace", "weather")],
            &[],
        )
        .await
        .unwrap();
    let table = world.engine.table();
    let read: Vec<_> = checked
        .references
        .attributes()
        .map(|(id, present)| (table.vocabulary.name(id), present))
        .collect();
    for expected in [
        ("source.name", true),
        ("destination.namespace", true),
        ("context.reporter.kind", false),
    ] {
        assert!(read.contains(&expected), "{expected:?} is missing in {read:?}");
    }
}

#[tokio::test]
async fn m14_headers_are_changed_where_the_check_is_passed() {
    let mut world = World::new();
    let headers = object(
        "rule",
        "istio-system",
        "headers",
        "{match: 'request.path == \"/x\"', requestHeaderOperations: [{name: User-Status, values: ['source.name', '\"\"']}, {name: gone, operation: REMOVE}], responseHeaderOperations: [{name: via, values: ['\"mixer\"'], operation: APPEND}]}",
    );
    world.configure(&headers).await;
    assert_eq!(world.problems, Vec::<String>::new());
    let attributes = [("source.name", "gold"), ("request.path", "/x")];
    let directive = world
        .check(&attributes, &[])
        .await
        .unwrap()
        .verdict
        .directive
        .unwrap();
    let of = |operations: &[mesh_api::istio::mixer::v1::HeaderOperation]| -> Vec<_> {
        operations
            .iter()
            .map(|one| format!("{} {}={}", one.operation().as_str_name(), one.name, one.value))
            .collect()
    };
    assert_eq!(
        of(&directive.request_header_operations),
        ["REPLACE user-status=gold", "REMOVE gone="]
    );
    assert_eq!(of(&directive.response_header_operations), ["APPEND via=mixer"]);
    let other = [("source.name", "gold"), ("request.path", "/y")];
    assert_eq!(world.check(&other, &[]).await.unwrap().verdict.directive, None);
    world
        .configure(&[headers, checks(&[("deny", 7, "no")])].concat())
        .await;
    assert_eq!(
        world.check(&attributes, &[]).await.unwrap().verdict.directive,
        None
    );
}

#[tokio::test]
async fn m47_quotas_are_limited_where_an_instance_of_their_name_applies() {
    let mut world = World::new();
    let text = [
        handler("limit", 0, "yes"),
        instance(
            "RequestCount",
            "quota",
            "{dimensions: {source: source.name | \"unknown\"}}",
        ),
        rule("exempt", "source.name == \"tester\"", "limit", "RequestCount"),
        rule("others", "source.name != \"free\"", "limit", "RequestCount"),
    ]
    .concat();
    world.configure(&text).await;
    assert_eq!(world.problems, Vec::<String>::new());
    // One rule that does not apply must not keep another from limiting (§2.6 MUST-OURS).
    let wanted = [("requestcount", 5), ("other", 9)];
    let checked = world.check(&[("source.name", "visitor")], &wanted).await.unwrap();
    assert_eq!(
        (
            checked.grants["requestcount"].amount,
            checked.grants["other"].amount
        ),
        (3, 9)
    );
    assert_eq!(checked.grants["other"].valid_duration.as_secs(), 60);
    assert_eq!(checked.grants["requestcount"].undecided, None);
    assert_eq!(
        world.journal.take().last().unwrap(),
        "quota RequestCount.instance.istio-system \"idrequestcount\""
    );
    let checked = world.check(&[("source.name", "free")], &wanted).await.unwrap();
    assert_eq!(checked.grants["requestcount"].amount, 5, "no rule applies");

    let broken = text.replace("message: 'yes'", "message: fails");
    world.configure(&broken).await;
    let checked = world.check(&[("source.name", "visitor")], &wanted).await.unwrap();
    assert_eq!(
        (
            checked.grants["requestcount"].amount,
            checked.grants["other"].amount
        ),
        (0, 9)
    );
    let undecided = checked.grants["requestcount"].undecided.as_deref();
    assert_eq!(undecided, Some("limit.handler.istio-system: as it was told"));
}

#[tokio::test]
async fn m118_m107_each_destination_is_told_a_whole_report_at_once() {
    let mut world = World::new();
    let text = [
        handler("one", 0, "yes"),
        handler("two", 0, "fails"),
        instance(
            "count",
            "metric",
            "{value: '1', dimensions: {path: request.path}}",
        ),
        rule("r1", "true", "one", "count"),
        rule("r2", "request.path == \"/b\"", "two", "count"),
    ]
    .concat();
    world.configure(&text).await;
    world.journal.take();
    world.report(&[&[("request.path", "/a")]]).await.unwrap();
    assert_eq!(world.journal.take().len(), 1);
    let failure = world
        .report(&[
            &[("request.path", "/a")],
            &[("source.name", "x")],
            &[("request.path", "/b")],
        ])
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unknown);
    // A set without a path, and a handler that fails.
    assert!(
        failure
            .message
            .contains("count.instance.istio-system: field dimensions[path]"),
        "{failure}"
    );
    assert!(
        failure
            .message
            .contains("two.handler.istio-system: as it was told"),
        "{failure}"
    );
    let told = world.journal.take();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("/a") && told[0].contains("/b"), "{told:?}");
}

/// The generators of a report's sets are waited for together: here none answers before all three are asked.
#[tokio::test]
async fn m57_the_sets_of_a_report_do_not_wait_for_each_other() {
    let mut world = World::new();
    let text = [
        handler("env", 0, "answers three together"),
        handler("told", 0, "yes"),
        instance(
            "attributes",
            "kubernetes",
            "{source_uid: source.uid}, attributeBindings: {source.name: '$out.source_pod_name | \"unknown\"'}",
        ),
        instance("count", "metric", "{value: '1', dimensions: {name: source.name}}"),
        rule("generate", "true", "env", "attributes"),
        rule("report", "true", "told", "count"),
    ]
    .concat();
    world.configure(&text).await;
    assert_eq!(world.problems, Vec::<String>::new());
    world.patience.call_limit = Duration::from_secs(10);
    world
        .report(&[
            &[("source.uid", "a")],
            &[("source.uid", "b")],
            &[("source.uid", "c")],
        ])
        .await
        .unwrap();
    let told = world.journal.take();
    let metrics = told.last().unwrap();
    let places: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| metrics.find(&format!("pod-of-{name}")).unwrap())
        .collect();
    assert!(places.is_sorted(), "the sets stay in their order: {metrics}");
}

#[tokio::test]
async fn m57_generators_come_first_and_replace_nothing() {
    let mut world = World::new();
    let kubernetes = object(
        "instance",
        "istio-system",
        "attributes",
        "{compiledTemplate: kubernetes, params: {source_uid: 'source.uid | \"\"'}, attributeBindings: {source.name: '$out.source_pod_name | \"unknown\"', source.namespace: 'output.source_namespace', request.path: '$out.source_owner | \"none\"'}}",
    );
    let text = [
        handler("env", 0, "yes"),
        handler("deny", 7, "no"),
        kubernetes,
        instance("nothing", "checknothing", "{}"),
        instance(
            "count",
            "metric",
            "{value: '1', dimensions: {name: source.name, namespace: source.namespace, path: request.path}}",
        ),
        rule("generate", "true", "env", "attributes"),
        rule("check", "source.name == \"pod-of-a\"", "deny", "nothing"),
        rule("report", "true", "env", "count"),
    ]
    .concat();
    world.configure(&text).await;
    assert_eq!(world.problems, Vec::<String>::new());
    let checked = world.check(&[("source.uid", "a")], &[]).await.unwrap();
    assert_eq!(checked.verdict.status.code, 7);
    // The caller does not have what was generated: to use the answer again it must see that it is still absent.
    let table = world.engine.table();
    let read: Vec<_> = checked.references.attributes().collect();
    for (name, present) in [("source.uid", true), ("source.name", false)] {
        let id = table.vocabulary.id(name).unwrap();
        assert!(read.contains(&(id, present)), "{name}: {read:?}");
    }
    let checked = world
        .check(&[("source.uid", "a"), ("source.name", "given")], &[])
        .await
        .unwrap();
    assert_eq!(checked.verdict.status.code, 0, "what the request brought stays");
    world.journal.take();
    world
        .report(&[
            &[("source.uid", "a"), ("source.namespace", "own")],
            &[("source.uid", "b")],
        ])
        .await
        .unwrap();
    let told = world.journal.take();
    let metrics = told.last().unwrap();
    for expected in ["pod-of-a", "own", "pod-of-b", "found", "none"] {
        assert!(metrics.contains(expected), "{expected} is missing in {metrics}");
    }
}
