//! What the rules make of a request.

use mesh_api::istio::mixer::v1::check_request::QuotaParams;
use serde_json::Value;

use crate::harness::{Mixer, object};
use crate::serving::request;

fn rule<'v>(explanation: &'v Value, name: &str, phase: &str) -> &'v Value {
    let rules = explanation["explanation"]["rules"].as_array().unwrap();
    let name = format!("rule istio-system/{name}");
    let found = rules
        .iter()
        .find(|rule| rule["rule"] == name.as_str() && rule["phase"] == phase);
    found.unwrap_or_else(|| panic!("no {name} ({phase}) in {explanation:#}"))
}

#[tokio::test]
async fn pain_25_each_rule_is_explained() {
    let config = [
        object(
            "handler",
            "deny",
            "{compiledAdapter: denier, params: {status: {code: 7, message: 'no'}, validUseCount: 3}}",
        ),
        object(
            "handler",
            "counters",
            "{compiledAdapter: memquota, params: {quotas: [{name: requests.instance.istio-system, maxAmount: 5, validDuration: 1h}]}}",
        ),
        object("handler", "nothing", "{compiledAdapter: noop}"),
        object("instance", "question", "{compiledTemplate: checknothing}"),
        object(
            "instance",
            "requests",
            "{compiledTemplate: quota, params: {dimensions: {who: 'source.name'}}}",
        ),
        object(
            "instance",
            "count",
            "{compiledTemplate: metric, params: {value: '1', dimensions: {path: 'request.path | \"none\"'}}}",
        ),
        object(
            "instance",
            "broken",
            "{compiledTemplate: metric, params: {value: 'response.code'}}",
        ),
        object(
            "rule",
            "denial",
            "{match: 'source.name == \"mallory\"', actions: [{handler: deny, instances: [question]}]}",
        ),
        object(
            "rule",
            "never",
            "{match: 'request.path == \"/\"', actions: [{handler: deny, instances: [question]}]}",
        ),
        object(
            "rule",
            "limit",
            "{actions: [{handler: counters, instances: [requests]}]}",
        ),
        object(
            "rule",
            "told",
            "{actions: [{handler: nothing, instances: [count, broken]}], requestHeaderOperations: [{name: x-by, values: ['source.name']}]}",
        ),
        object(
            "rule",
            "dangling",
            "{actions: [{handler: missing, instances: [question]}]}",
        ),
    ];
    let mixer = Mixer::start(&config.concat(), &[]).await;
    let mut asks = request(&[("source.name", "alice")]);
    let wanted = QuotaParams {
        amount: 3,
        best_effort: true,
    };
    asks.quotas.insert("requests".to_owned(), wanted);
    let explained = mixer.explain(&asks).await;

    assert_eq!(rule(&explained, "denial", "check")["matches"], "false");
    assert_eq!(
        rule(&explained, "denial", "check")["actions"],
        Value::Array(Vec::new())
    );
    let reason = rule(&explained, "never", "check")["matches"].as_str().unwrap();
    assert!(reason.contains("request.path"), "{reason}");
    let limited = &rule(&explained, "limit", "quota")["actions"][0];
    assert_eq!(limited["handler"], "counters.handler.istio-system");
    assert_eq!(limited["adapter"], "memquota");
    assert_eq!(limited["fields"][0][0], "dimensions[who]");
    assert_eq!(limited["fields"][0][1], "alice");
    assert!(
        limited["verdict"].as_str().unwrap().starts_with("3 of 3 granted"),
        "{limited}"
    );
    let told = &rule(&explained, "told", "report")["actions"];
    assert_eq!(told[0]["fields"][1][1], "none", "{told}");
    assert_eq!(told[0]["verdict"], "would be reported");
    let broken = told[1]["verdict"].as_str().unwrap();
    assert!(broken.contains("response.code"), "{broken}");
    let header = &rule(&explained, "told", "headers")["actions"][0];
    assert_eq!(
        (&header["instance"], &header["verdict"]),
        (&"request header x-by".into(), &"REPLACE alice".into())
    );
    let left_out = explained["leftOut"].to_string();
    assert!(
        left_out.contains("rule istio-system/dangling: actions[0].handler: there is no handler missing"),
        "{left_out}"
    );
    assert_eq!(explained["explanation"]["attributes"][0][1], "alice");
    assert!(
        explained["explanation"]["answer"]
            .as_str()
            .unwrap()
            .starts_with("OK")
    );

    // Nobody was told of anything, and the quota is really less.
    assert_eq!(
        mixer.metric("mixer_dispatcher_instances_per_request_count").await,
        0.0
    );
    let again = mixer.explain(&asks).await;
    let limited = &rule(&again, "limit", "quota")["actions"][0]["verdict"];
    assert!(
        limited.as_str().unwrap().starts_with("2 of 3 granted"),
        "{limited}"
    );

    let denied = mixer.explain(&request(&[("source.name", "mallory")])).await;
    let verdict = &rule(&denied, "denial", "check")["actions"][0]["verdict"];
    assert_eq!(verdict, "PERMISSION_DENIED (no), valid for 5s and 3 uses");
    let answer = denied["explanation"]["answer"].as_str().unwrap();
    assert!(
        answer.starts_with("PERMISSION_DENIED (deny.istio-system:no)"),
        "{answer}"
    );
    // Handlers are asked, which is not for whoever may see metrics.
    assert_eq!(mixer.explain_to_everybody(&asks).await, 404);
}
