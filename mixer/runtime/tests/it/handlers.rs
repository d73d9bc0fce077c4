//! Handlers across configurations.

use std::sync::Arc;
use std::time::Duration;

use mesh_testing::eventually;

use crate::world::{World, handler, object};

fn configuration(code: i32, does: &str, condition: &str) -> String {
    [
        handler("h", code, does),
        object(
            "instance",
            "istio-system",
            "nothing",
            "{compiledTemplate: checknothing}",
        ),
        object(
            "rule",
            "istio-system",
            "r",
            &format!("{{match: '{condition}', actions: [{{handler: h, instances: [nothing]}}]}}"),
        ),
    ]
    .concat()
}

#[tokio::test]
async fn m78_m115_a_handler_that_would_be_the_same_is_kept() {
    let mut world = World::new();
    let first = world.configure(&configuration(7, "no", "true")).await;
    let second = world
        .configure(&configuration(7, "no", "source.name == \"x\""))
        .await;
    assert!(Arc::ptr_eq(
        &first.destinations[0].handler,
        &second.destinations[0].handler
    ));
    assert_eq!((world.counts.new, world.counts.reused), (0, 1));
    world.configure(&configuration(8, "no", "true")).await;
    assert_eq!(
        (world.counts.new, world.counts.reused, world.counts.closed),
        (1, 0, 1)
    );
}

async fn closed(world: &World, name: &str) {
    let line = format!("closed {name}.handler.istio-system");
    eventually(Duration::from_secs(30), async || {
        let lines = world.journal.lines();
        if lines.contains(&line) {
            Ok(())
        } else {
            Err(format!("{lines:?}"))
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn m116_a_handler_is_closed_after_its_last_request() {
    let mut world = World::new();
    let text = configuration(7, "no", "true");
    let in_flight = world.configure(&text).await;
    // Another one goes the same way, and has no request.
    let other = text
        .replace("name: h,", "name: other,")
        .replace("handler: h,", "handler: other,");
    world.configure(&other).await;
    world.configure(&text).await;
    closed(&world, "other").await;
    let built = |name: &str| format!("built {name}.handler.istio-system");
    assert_eq!(
        world.journal.lines()[..3],
        [built("h"), built("other"), built("h")],
        "the one that the request has is not the one that is built anew"
    );
    assert_eq!(
        world.journal.lines().len(),
        4,
        "nothing but the other one is closed"
    );
    drop(in_flight);
    closed(&world, "h").await;
}

#[tokio::test]
async fn m115_handlers_that_nobody_uses_are_not_built() {
    let mut world = World::new();
    world.configure(&handler("h", 7, "no")).await;
    assert!(world.handlers.is_empty() && world.journal.lines().is_empty());
}

/// §5.2 MUST-OURS: the handler before stays where the new one cannot be made.
#[tokio::test]
async fn spec_02_5_2_a_handler_that_cannot_be_made_anew_stays_as_it_was() {
    let mut world = World::new();
    let before = world.configure(&configuration(7, "no", "true")).await;
    for (broken, reason) in [
        (
            configuration(7, "no", "true").replace("validUseCount: 3", "validUseCount: -1"),
            "handler istio-system/h: validUseCount: is negative",
        ),
        (
            configuration(7, "no", "true").replace("validUseCount", "useCount"),
            "useCount",
        ),
        (configuration(7, "cannot be built", "true"), "nobody is there"),
        (configuration(7, "panics when built", "true"), "panicked"),
        (
            configuration(7, "is never built", "true"),
            "cannot be built within",
        ),
    ] {
        let now = world.configure(&broken).await;
        let problems = world.problems.join("\n");
        assert!(problems.contains(reason), "{reason} is missing in {problems}");
        assert!(
            Arc::ptr_eq(&before.destinations[0].handler, &now.destinations[0].handler),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn m115_a_handler_that_was_never_built_leaves_its_actions_out() {
    let mut world = World::new();
    let table = world
        .configure(&configuration(7, "panics when built", "true"))
        .await;
    assert!(table.everywhere.checks.is_empty());
    let problems = world.problems.join("\n");
    assert!(
        problems.contains(
            "rule istio-system/r: actions[0].handler: handler h.handler.istio-system is not at work"
        ),
        "{problems}"
    );
    assert_eq!(world.counts.build_failures, 1);
}

/// §9.10: whoever reads the metrics sees the tasks that there are then.
#[tokio::test]
async fn spec_02_9_10_tasks_are_counted_when_somebody_asks() {
    let mut world = World::new();
    world
        .configure(&configuration(0, "starts a daemon", "true"))
        .await;
    world.engine_metrics.show_tasks(&world.handlers);
    for daemons in 0..3 {
        let text = world.metrics.encode().unwrap();
        for line in [
            format!("mixer_handler_daemons_total{{handler=\"h.istio-system\",initConfigID=\"0\"}} {daemons}"),
            "mixer_handler_workers_total{handler=\"h.istio-system\",initConfigID=\"0\"} 0".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is missing in\n{text}");
        }
        world.check(&[], &[]).await.unwrap();
    }
    world.configure("").await;
    world.engine_metrics.show_tasks(&world.handlers);
    let text = world.metrics.encode().unwrap();
    assert!(!text.contains("mixer_handler_daemons_total{"), "{text}");
}
