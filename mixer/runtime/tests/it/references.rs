//! What refers to something that is not there.

use crate::world::{World, handler, object};

/// Each with what is told about it: object, field, reason. Nothing else is.
#[tokio::test]
async fn pain_25_no_reference_dangles_in_silence() {
    let here = |kind: &str, spec: &str| object(kind, "istio-system", "x", spec);
    let action = "actions: [{handler: deny, instances: [nothing]}]";
    for (text, expected) in [
        (
            here("handler", "{compiledAdapter: nobody}"),
            "handler istio-system/x: compiledAdapter: there is no adapter nobody",
        ),
        (
            here("handler", "{compiledAdapter: denier, adapter: other}"),
            "handler istio-system/x: adapter: a handler is made of compiledAdapter or of adapter, not of both",
        ),
        (
            here("instance", "{}"),
            "instance istio-system/x: compiledTemplate: an instance needs a template",
        ),
        (
            here("instance", "{compiledTemplate: nobody}"),
            "instance istio-system/x: compiledTemplate: there is no template nobody",
        ),
        (
            here(
                "instance",
                "{compiledTemplate: listentry, params: {value: no.such}}",
            ),
            "instance istio-system/x: params.value: unknown attribute no.such",
        ),
        (
            here(
                "instance",
                "{compiledTemplate: kubernetes, params: {}, attributeBindings: {no.such: '$out.source_pod_name'}}",
            ),
            "instance istio-system/x: params.attributeBindings[no.such]: unknown attribute no.such",
        ),
        (
            here("rule", &format!("{{match: 'no.such == 1', {action}}}")),
            "rule istio-system/x: match: unknown attribute no.such",
        ),
        (
            here("rule", "{actions: [{handler: nobody, instances: [nothing]}]}"),
            "rule istio-system/x: actions[0].handler: there is no handler nobody.handler.istio-system",
        ),
        (
            here("rule", "{actions: [{handler: deny, instances: [nobody]}]}"),
            "rule istio-system/x: actions[0].instances[0]: there is no instance nobody.instance.istio-system",
        ),
        (
            here(
                "rule",
                &format!("{{{action}, requestHeaderOperations: [{{name: h, values: [no.such]}}]}}"),
            ),
            "rule istio-system/x: requestHeaderOperations[0].values[0]: unknown attribute no.such",
        ),
        (
            object("rule", "weather", "x", &format!("{{{action}}}")),
            "rule weather/x: actions[0].handler: there is no handler deny.handler.weather",
        ),
    ] {
        let mut world = World::new();
        let nothing = object(
            "instance",
            "istio-system",
            "nothing",
            "{compiledTemplate: checknothing}",
        );
        world
            .configure(&[handler("deny", 7, "no"), nothing, text].concat())
            .await;
        let told = world.problems.join("\n");
        assert!(told.contains(expected), "{expected}\nis missing in\n{told}");
        // The rule has nothing left to do, which may be told too.
        let of_it = world.problems.iter().filter(|problem| problem.contains("/x"));
        assert_eq!(of_it.count(), world.problems.len(), "{told}");
    }
}
