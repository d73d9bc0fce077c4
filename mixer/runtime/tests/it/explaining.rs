//! What is explained is what is answered.

use mesh_api::istio::mixer::v1::CheckRequest;
use mixer_runtime::dispatch::Phase;
use prost::Message as _;

use crate::world::{World, handler, object};

fn configuration(generator: &str, code: i32, does: &str) -> String {
    let instance = |name: &str, template: &str| {
        object(
            "instance",
            "istio-system",
            name,
            &format!("{{compiledTemplate: {template}}}"),
        )
    };
    let rule = |name: &str, handler: &str, instance: &str| {
        let action = format!("{{actions: [{{handler: {handler}, instances: [{instance}]}}]}}");
        object("rule", "istio-system", name, &action)
    };
    [
        handler("env", 0, generator),
        handler("judge", code, does),
        instance("pods", "kubernetes"),
        instance("nothing", "checknothing"),
        instance("count", "metric"),
        rule("generate", "env", "pods"),
        rule("check", "judge", "nothing"),
        rule("report", "judge", "count"),
    ]
    .concat()
}

/// Pain 25: also where generators or handlers fail.
#[tokio::test]
async fn pain_25_an_explanation_ends_with_what_the_caller_is_told() {
    let mut world = World::new();
    let message = CheckRequest::default().encode_to_vec();
    let request = mixer_attribute::CheckRequest::read(&message).unwrap();
    for (generator, code, does) in [
        ("fails", 0, "yes"),
        ("fails", 7, "no"),
        ("yes", 0, "fails"),
        ("yes", 0, "panics"),
        ("yes", 7, "no"),
        ("yes", 0, ""),
    ] {
        world.configure(&configuration(generator, code, does)).await;
        assert_eq!(world.problems, Vec::<String>::new());
        let table = world.engine.table();
        let explained = world
            .engine
            .explain(&table, &request, world.patience)
            .await
            .unwrap();
        let told = match world.check(&[], &[]).await {
            Ok(checked) if checked.verdict.is_ok() => "OK, valid for 5s and 3 uses".to_owned(),
            Ok(checked) => {
                let message = checked.verdict.status.message;
                format!("PERMISSION_DENIED ({message}), valid for 5s and 3 uses")
            }
            Err(failure) => format!("error: {failure}"),
        };
        assert_eq!(explained.answer, told, "{generator} {code} {does}");
        let asked = explained.rules.iter().any(|rule| rule.phase == Phase::Check);
        assert_eq!(
            asked,
            generator != "fails",
            "nobody is asked whom no call would reach"
        );
    }
}
