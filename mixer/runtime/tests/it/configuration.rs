//! From objects to routes.

use std::sync::Arc;
use std::time::Duration;

use mesh_config::{ConfigKey, Kind};
use mixer_runtime::config::{Replaced, Snapshot, StoreEvent};
use mixer_runtime::{Controller, ControllerOptions, Engine};
use tokio::sync::mpsc;

use crate::adapter::MAY_BE_BUILT;
use crate::world::{MANIFEST, World, events, handler, object, state};

fn check(namespace: &str, name: &str, rest: &str) -> String {
    object(
        "rule",
        namespace,
        name,
        &format!(
            "{{actions: [{{handler: deny.handler.istio-system, instances: [nothing.instance.istio-system]}}]{rest}}}"
        ),
    )
}

fn nothing() -> String {
    object(
        "instance",
        "istio-system",
        "nothing",
        "{compiledTemplate: checknothing}",
    )
}

#[tokio::test]
async fn pain_25_m115_what_is_dangling_is_told_and_the_rest_counts() {
    let mut world = World::new();
    let text = [
        handler("deny", 7, "no"),
        nothing(),
        object(
            "instance",
            "istio-system",
            "wrong",
            "{compiledTemplate: metric, params: {value: unknown.attribute}}",
        ),
        object(
            "instance",
            "istio-system",
            "foreign",
            "{compiledTemplate: listentry, params: {value: source.name}}",
        ),
        object("handler", "istio-system", "nobody", "{compiledAdapter: nobody}"),
        object("handler", "istio-system", "empty", "{}"),
        check("istio-system", "good", ""),
        object(
            "rule",
            "istio-system",
            "half",
            "{actions: [{handler: deny, instances: [nothing, nothing, missing, wrong, foreign]}, {handler: missing, instances: [nothing]}]}",
        ),
        object("rule", "istio-system", "unmatched", "{match: 'source.name == 1', actions: [{handler: deny, instances: [nothing]}]}"),
        object("rule", "istio-system", "idle", "{match: 'true'}"),
    ]
    .concat();
    let table = world.configure(&text).await;
    let problems = world.problems.join("\n");
    for expected in [
        "handler istio-system/empty: compiledAdapter: a handler needs an adapter",
        "handler istio-system/nobody: compiledAdapter: there is no adapter nobody",
        "instance istio-system/wrong: params.value: ",
        "rule istio-system/half: actions[0].instances[1]: instance nothing.instance.istio-system is there already",
        "rule istio-system/half: actions[0].instances[2]: there is no instance missing.instance.istio-system",
        "rule istio-system/half: actions[0].instances[3]: there is no instance wrong.instance.istio-system",
        "rule istio-system/half: actions[0].instances[4]: instance foreign.instance.istio-system is of template listentry, which adapter denier does not serve",
        "rule istio-system/half: actions[1].handler: there is no handler missing.handler.istio-system",
        "rule istio-system/unmatched: match: ",
        "rule istio-system/idle: the rule has no valid action and no header operation",
    ] {
        assert!(
            problems.contains(expected),
            "{expected}\nis missing in\n{problems}"
        );
    }
    assert!(
        problems.contains("unknown attribute unknown.attribute"),
        "{problems}"
    );
    let group = &table.everywhere.checks[0].groups[0];
    assert_eq!(group.instances.len(), 2, "of the good rule, and of the good half");
    let counts = Snapshot::new(0, state(&text).objects(), &world.adapters).counts;
    assert_eq!(counts.unsatisfied_actions, 2, "the lost one, and the half one");
}

#[tokio::test]
async fn m116_what_a_namespace_adds_nothing_to_it_shares() {
    let mut world = World::new();
    let send = "{actions: [{handler: deny.handler.istio-system, instances: [count.instance.istio-system]}]}";
    let text = [
        handler("deny", 0, "yes"),
        nothing(),
        object(
            "instance",
            "istio-system",
            "count",
            "{compiledTemplate: metric, params: {value: '1'}}",
        ),
        check("istio-system", "mesh", ""),
        object("rule", "istio-system", "told", send),
        check("weather", "own", ""),
    ]
    .concat();
    let table = world.configure(&text).await;
    assert_eq!(world.problems, Vec::<String>::new());
    let (all, own) = (&table.everywhere, &table.namespaces["weather"]);
    assert!(Arc::ptr_eq(&all.reports[0], &own.reports[0]));
    assert_eq!(all.checks[0].groups[0].instances.len(), 1);
    assert_eq!(own.checks[0].groups[0].instances.len(), 2);
}

#[tokio::test]
async fn m116_rules_of_the_default_namespace_come_first_in_all_others() {
    let mut world = World::new();
    let text = [
        handler("deny", 0, "yes"),
        nothing(),
        check("istio-system", "mesh", ", match: 'source.name == \"a\"'"),
        check("weather", "own", ", match: 'source.name == \"a\"'"),
        check("weather", "always", ""),
        object(
            "rule",
            "istio-system",
            "headers",
            "{requestHeaderOperations: [{name: X-Mesh, values: ['source.name']}]}",
        ),
    ]
    .concat();
    let table = world.configure(&text).await;
    assert_eq!(world.problems, Vec::<String>::new());
    assert_eq!(table.conditions.len(), 1, "equal texts are one condition");
    assert_eq!(table.destinations.len(), 1);
    let weather = &table.namespaces["weather"];
    let groups = &weather.checks[0].groups;
    let rules = |number: usize| -> Vec<_> {
        groups[number]
            .instances
            .iter()
            .map(|instance| instance.rule.to_string())
            .collect()
    };
    assert_eq!(rules(0), ["rule istio-system/mesh", "rule weather/own"]);
    assert_eq!(rules(1), ["rule weather/always"]);
    assert_eq!(
        weather.headers.len(),
        1,
        "header operations are inherited, too (14-D17)"
    );
    assert_eq!(table.everywhere.checks[0].groups.len(), 1);
}

#[tokio::test]
async fn m116_equal_objects_have_the_same_generation() {
    let mut world = World::new();
    let text = [
        handler("deny", 7, "no"),
        nothing(),
        check("istio-system", "mesh", ""),
    ]
    .concat();
    let first = world.configure(&text).await.generation;
    assert_eq!(world.configure(&text).await.generation, first);
    let other = text.replace("code: 7", "code: 8");
    assert_ne!(world.configure(&other).await.generation, first);
}

/// `spec 02` §3.3: types that conflict are told, and the first one counts.
#[tokio::test]
async fn spec_02_3_3_manifests_that_disagree_are_told() {
    let mut world = World::new();
    let other = object(
        "attributemanifest",
        "weather",
        "other",
        "{attributes: {source.name: {valueType: INT64}, own.attribute: {valueType: BOOL}, none: {}}}",
    );
    let table = world.configure(&other).await;
    assert_eq!(world.problems.len(), 2, "{:?}", world.problems);
    assert!(table.vocabulary.id("own.attribute").is_some());
}

/// `spec 02` §9.6: what the namespace of a request hangs on is text. Who says otherwise is told so, and changes nothing.
#[tokio::test]
async fn spec_02_9_6_nobody_redeclares_what_the_namespace_hangs_on() {
    let mut world = World::new();
    let first = object(
        "attributemanifest",
        "a",
        "first",
        "{attributes: {destination.namespace: {valueType: INT64}}}",
    );
    let text = [
        first,
        handler("deny", 7, "no"),
        nothing(),
        check("weather", "own", ""),
    ]
    .concat();
    world.configure(&text).await;
    assert_eq!(
        world.problems,
        [
            "attributemanifest a/first: attributes[destination.namespace]: attribute destination.namespace is of type \
             STRING, and cannot be of type INT64, too"
        ]
    );
    let checked = world.check(&[("destination.namespace", "weather")], &[]).await;
    assert_eq!(checked.unwrap().verdict.status.code, 7);
}

/// Pain 26: where a handler cannot be built, and another one still does the work, verdicts are others than elsewhere.
#[tokio::test]
async fn pain_26_other_handlers_are_another_generation() {
    let text = |does: &str| {
        [
            handler("deny", 7, does),
            nothing(),
            check("istio-system", "mesh", ""),
        ]
        .concat()
    };
    let (mut here, mut there) = (World::new(), World::new());
    here.configure(&text("no")).await;
    let broken = text("cannot be built");
    let here = here.configure(&broken).await;
    let there = there.configure(&broken).await;
    assert_eq!((here.destinations.len(), there.destinations.len()), (1, 0));
    assert_ne!(here.generation, there.generation);
}

fn controller(
    world: World,
) -> (
    Controller,
    mpsc::Sender<Vec<StoreEvent>>,
    mpsc::Receiver<Vec<StoreEvent>>,
) {
    let (sender, receiver) = mpsc::channel(16);
    let controller = Controller::new(
        world.adapters,
        world.factory,
        world.engine,
        world.engine_metrics,
        ControllerOptions::default(),
        None,
    );
    (controller, sender, receiver)
}

#[tokio::test(start_paused = true)]
async fn m114_changes_of_one_second_are_one_configuration() {
    let world = World::new();
    let engine: Arc<Engine> = Arc::clone(&world.engine);
    let (controller, sender, receiver) = controller(world);
    let mut reports = controller.reports();
    mesh_runtime::Spawner::default().spawn("controller", controller.run(receiver));

    let first = [MANIFEST, &handler("deny", 7, "no"), &nothing()].concat();
    let mut first = events(&first);
    first.push(StoreEvent::Synced);
    sender.send(first).await.unwrap();
    reports.changed().await.unwrap();
    assert_eq!(
        reports.borrow_and_update().snapshot.id,
        0,
        "what is there at the start counts at once"
    );

    let before = tokio::time::Instant::now();
    for number in 0..20 {
        sender
            .send(events(&check("istio-system", &format!("rule-{number}"), "")))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reports.changed().await.unwrap();
    let report = Arc::clone(&reports.borrow_and_update());
    assert_eq!((report.snapshot.id, report.snapshot.rules.len()), (1, 20));
    let took = before.elapsed();
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(2)).contains(&took),
        "{took:?}"
    );
    assert_eq!(engine.table().everywhere.checks[0].groups[0].instances.len(), 20);

    let gone = ConfigKey::new(Kind::Rule, "istio-system", "rule-0");
    sender.send(vec![StoreEvent::Delete(gone)]).await.unwrap();
    reports.changed().await.unwrap();
    assert_eq!(reports.borrow_and_update().snapshot.rules.len(), 19);
    // What changes nothing makes no configuration.
    sender
        .send(events(&check("istio-system", "rule-1", "")))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!reports.has_changed().unwrap());
}

fn everything(parts: &[String]) -> Vec<StoreEvent> {
    let mut everything = events(&[MANIFEST, &parts.concat()].concat());
    everything.push(StoreEvent::Synced);
    everything
}

/// `spec 02` §5.9: whoever waits for a back end that hangs holds up the first configuration that wants it, and no other,
/// though it is tried again meanwhile.
#[tokio::test(start_paused = true)]
async fn spec_02_5_9_a_handler_that_hangs_does_not_hold_up_what_comes_later() {
    let mut world = World::new();
    world.factory = world.factory.with_build_limit(Duration::from_secs(10));
    let (controller, sender, receiver) = controller(world);
    let mut reports = controller.reports();
    mesh_runtime::Spawner::default().spawn("controller", controller.run(receiver));
    let hangs = [
        handler("deny", 7, "no"),
        handler("hangs", 7, "is never built"),
        nothing(),
        object(
            "rule",
            "istio-system",
            "hangs",
            "{actions: [{handler: hangs, instances: [nothing]}]}",
        ),
    ];
    sender.send(everything(&hangs)).await.unwrap();
    reports.changed().await.unwrap();
    assert_eq!(reports.borrow_and_update().handler_counts.build_failures, 1);
    // Longer than two attempts and what lies between them.
    for number in 0..30 {
        let rule = check("istio-system", &format!("rule-{number}"), "");
        let asked = tokio::time::Instant::now();
        sender.send(events(&rule)).await.unwrap();
        reports.changed().await.unwrap();
        let report = Arc::clone(&reports.borrow_and_update());
        assert_eq!(
            (report.snapshot.rules.len(), report.handler_counts.build_failures),
            (number + 2, 1)
        );
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
}

/// Nobody has to change anything when a back end is there at last.
#[tokio::test(start_paused = true)]
async fn pain_25_a_handler_that_could_not_be_built_is_at_work_when_it_can() {
    let world = World::new();
    let (engine, journal) = (Arc::clone(&world.engine), world.journal.clone());
    let (controller, sender, receiver) = controller(world);
    let mut reports = controller.reports();
    mesh_runtime::Spawner::default().spawn("controller", controller.run(receiver));
    let late = [
        handler("deny", 7, "is built when it may be"),
        nothing(),
        check("istio-system", "rule", ""),
    ];
    sender.send(everything(&late)).await.unwrap();
    reports.changed().await.unwrap();
    let report = Arc::clone(&reports.borrow_and_update());
    assert_eq!(
        (report.handlers.len(), report.problems.len()),
        (0, 2),
        "{report:?}"
    );
    assert!(engine.table().destinations.is_empty());
    // Some attempts fail before.
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert!(!reports.has_changed().unwrap(), "nothing has changed");
    journal.write(MAY_BE_BUILT);
    reports.changed().await.unwrap();
    let report = Arc::clone(&reports.borrow_and_update());
    assert_eq!(
        (report.handlers.len(), report.problems.len()),
        (1, 0),
        "{report:?}"
    );
    assert_eq!(engine.table().destinations.len(), 1);
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert!(!reports.has_changed().unwrap(), "nothing is left to be done");
}

/// A name that is taken for something else is told, with what it was and what it is.
#[tokio::test]
async fn pain_23_an_instance_that_is_replaced_by_one_of_another_template_is_told() {
    let world = World::new();
    let snapshot = |template: &str, params: &str| {
        let spec = format!("{{compiledTemplate: {template}, params: {params}}}");
        let text = object("instance", "istio-system", "requestcount", &spec);
        Snapshot::new(0, state(&text).objects(), &world.adapters)
    };
    let metric = snapshot("metric", "{value: '1'}");
    let quota = snapshot("quota", "{dimensions: {source: source.name}}");
    assert_eq!(quota.replaced(&quota), []);
    let [Replaced { object, before, now }] = quota.replaced(&metric).try_into().unwrap();
    assert_eq!(object.as_str(), "requestcount.instance.istio-system");
    assert_eq!((before.as_str(), now.as_str()), ("metric", "quota"));
    assert_eq!(metric.replaced(&Snapshot::default()), []);
}

/// Expressions that are nested 10,000 levels deep are told where they stand, and nothing else is harmed.
#[tokio::test]
async fn spec_02_5_9_expressions_of_depth_10_000_are_told() {
    let mut world = World::new();
    let deep = format!("{}true{}", "(".repeat(10_000), ")".repeat(10_000));
    let text = [
        handler("deny", 7, "no"),
        nothing(),
        check("istio-system", "good", ""),
        check("istio-system", "deep", &format!(", match: '{deep}'")),
        check(
            "istio-system",
            "header",
            &format!(", requestHeaderOperations: [{{name: a, values: ['{deep}']}}]"),
        ),
        object(
            "instance",
            "istio-system",
            "count",
            &format!(
                "{{compiledTemplate: metric, params: {{value: '{deep}', dimensions: {{a: '{deep}'}}}}}}"
            ),
        ),
    ]
    .concat();
    world.configure(&text).await;
    for expected in [
        "rule istio-system/deep: match: ",
        "rule istio-system/header: requestHeaderOperations[0].values[0]: ",
        "instance istio-system/count: params.value: ",
        "instance istio-system/count: params.dimensions[a]: ",
    ] {
        let told = world
            .problems
            .iter()
            .find(|problem| problem.starts_with(expected));
        let told = told.unwrap_or_else(|| panic!("{expected} is missing in {:?}", world.problems));
        assert!(
            told.contains("more than 64 levels deep") && told.len() < 1000,
            "{told}"
        );
    }
    let verdict = world.check(&[], &[]).await.unwrap().verdict;
    assert_eq!(
        verdict.status.message,
        "deny.istio-system:no, deny.istio-system:no"
    );
}
