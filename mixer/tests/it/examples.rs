//! Examples of chapter 4 of the book, asked of a running `mixs` (`spec 02` §13.1).

use crate::harness::{Facts, Mixer, object};

/// A rule that refuses what its condition holds for, with its own name in the answer.
fn refusal(name: &str, condition: Option<&str>) -> String {
    let condition = condition.map_or_else(String::new, |text| format!("match: '{text}', "));
    [
        object(
            "handler",
            name,
            &format!("{{compiledAdapter: denier, params: {{status: {{code: 7, message: {name}}}}}}}"),
        ),
        object(
            "rule",
            name,
            &format!("{{{condition}actions: [{{handler: {name}, instances: [nothing]}}]}}"),
        ),
    ]
    .concat()
}

/// Attributes and an instance for [`refusal`].
fn world() -> String {
    [
        object(
            "attributemanifest",
            "more",
            "{attributes: {source.labels: {valueType: STRING_MAP}, source.workload.name: {valueType: STRING}, \
             context.protocol: {valueType: STRING}}}",
        ),
        object("instance", "nothing", "{compiledTemplate: checknothing}"),
    ]
    .concat()
}

/// The names of the rules that refuse a request.
async fn refusals(mixer: &Mixer, request: &Facts) -> Vec<String> {
    let answer = mixer.check(request.check()).await.unwrap();
    let status = answer.precondition.unwrap().status.unwrap();
    let names = status
        .message
        .split(", ")
        .filter_map(|refusal| refusal.split_once(':'));
    names.map(|(_, name)| name.to_owned()).collect()
}

#[tokio::test]
async fn m05_a_condition_on_labels_of_the_caller() {
    let condition = "source.labels[\"app\"] == \"forecast\" && source.labels[\"version\"] == \"v2\"";
    let config = [world(), refusal("forecast-v2", Some(condition))].concat();
    let mixer = Mixer::start(&config, &[]).await;
    let labels = |entries: &[(&'static str, &'static str)]| Facts::default().map("source.labels", entries);
    let v2 = labels(&[("app", "forecast"), ("version", "v2")]);
    assert_eq!(refusals(&mixer, &v2).await, ["forecast-v2"]);
    let none: [&str; 0] = [];
    let v1 = labels(&[("app", "forecast"), ("version", "v1")]);
    assert_eq!(refusals(&mixer, &v1).await, none);
    // A label that is not there reads as nothing.
    assert_eq!(refusals(&mixer, &labels(&[("app", "forecast")])).await, none);
    // Without labels the condition cannot be evaluated, and does not hold.
    assert_eq!(refusals(&mixer, &Facts::default()).await, none);
}

#[tokio::test]
async fn m12_a_prefix_matches_and_a_rule_without_condition_always_counts() {
    let prefix = "match(source.workload.name, \"forecast*\")";
    let config = [world(), refusal("always", None), refusal("prefix", Some(prefix))].concat();
    let mixer = Mixer::start(&config, &[]).await;
    let workload = |name: &str| Facts::default().text("source.workload.name", name);
    assert_eq!(
        refusals(&mixer, &workload("forecast-v1")).await,
        ["always", "prefix"]
    );
    assert_eq!(refusals(&mixer, &workload("frontend")).await, ["always"]);
    assert_eq!(refusals(&mixer, &workload("new-forecast")).await, ["always"]);
    // Nothing is known of the workload: that condition does not hold, the other rule counts.
    assert_eq!(refusals(&mixer, &Facts::default()).await, ["always"]);
}

/// Every way to name a handler and an instance leads to them.
#[tokio::test]
async fn m13_actions_find_their_handlers_and_instances() {
    let action = |name: &str, handler: &str, instance: &str| {
        let spec = format!("{{actions: [{{handler: {handler}, instances: [{instance}]}}]}}");
        object("rule", name, &spec)
    };
    let config = [
        world(),
        object(
            "handler",
            "uniform",
            "{compiledAdapter: denier, params: {status: {code: 7, message: uniform}}}",
        ),
        object("denier", "legacy", "{status: {code: 7, message: legacy}}"),
        object("checknothing", "empty", "{}"),
        action("a-short", "uniform", "nothing"),
        action("b-namespace", "uniform.istio-system", "nothing.istio-system"),
        action("c-kind", "legacy.denier", "empty.checknothing"),
        action(
            "d-full",
            "legacy.denier.istio-system",
            "nothing.instance.istio-system",
        ),
    ];
    let mixer = Mixer::start(&config.concat(), &[]).await;
    let errors = mixer.json("/debug/errors").await;
    assert_eq!(errors["errors"].as_array().unwrap().len(), 0, "{errors}");
    let found = refusals(&mixer, &Facts::default()).await;
    assert_eq!(found, ["uniform", "uniform", "legacy", "legacy"]);
}
