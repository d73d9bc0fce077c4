//! Twenty objects that change in any order, while requests go on.

use std::time::{Duration, Instant};

use e2e::load::{Load, Report};
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use super::{FRONTEND, Size, assert_answered, service};
use crate::support::fixture::DOUBLES;
use crate::support::rule::{destination_rule, object, virtual_service};
use crate::support::{TestMesh, load_turn};

/// The services that are called: the first ones lead to subsets of their own, the others to services that come and go.
const CALLED: usize = 5;
/// How many of them lead to subsets.
const SUBSETS: usize = 3;
/// Services that come and go are called by the same names again.
const NAMES: usize = 4;

/// After how many orders a long run says how far it is.
const PROGRESS: usize = 50;

/// How long one change comes after another, in turn: all at once, some together, each for itself.
const PACES: [Duration; 3] = [
    Duration::from_millis(1),
    Duration::from_millis(30),
    Duration::from_millis(90),
];

/// One change of an object.
enum Change {
    Apply(String),
    Delete { kind: &'static str, name: String },
}

// === impl Change ===

impl Change {
    async fn make(&self, mesh: &TestMesh) {
        match self {
            Self::Apply(object) => mesh.apply(object).await,
            Self::Delete { kind, name } => {
                let deleted = mesh.mesh().delete(kind, "weather", name).await;
                deleted.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
            }
        }
    }
}

/// All requests for a service go to one destination, and nothing is tried twice.
fn route(called: usize, destination: &str) -> Change {
    let host = format!("order-{called}");
    Change::Apply(virtual_service(
        &host,
        &format!(
            "{{hosts: [{host}], http: [{{retries: {{attempts: 0}}, route: [{{destination: {{{destination}}}}}]}}]}}"
        ),
    ))
}

/// A rule with one subset, which selects another version in turn, and another policy in turn.
fn subset(name: &str, host: &str, subset: &str, number: usize) -> Change {
    let balancer = ["ROUND_ROBIN", "RANDOM", "LEAST_CONN"][number % 3];
    let version = ["v1", "v2"][number % 2];
    Change::Apply(destination_rule(
        name,
        &format!(
            "{{host: {host}, trafficPolicy: {{loadBalancer: {{simple: {balancer}}}}}, \
             subsets: [{{name: {subset}, labels: {{version: {version}}}}}]}}"
        ),
    ))
}

/// The service that a called one leads to at a time.
fn stage(called: usize, number: usize) -> String {
    format!("order-{called}-{}", number % NAMES)
}

/// What has to be there before the first order.
fn beginning() -> String {
    let called = (0..CALLED).map(|called| service(&format!("order-{called}"), 3002));
    let stages = (SUBSETS..CALLED).map(|called| service(&stage(called, 0), 3002));
    // What the first orders delete.
    let before = (SUBSETS..CALLED).map(|called| service(&stage(called, NAMES - 1), 3002));
    let applied = changes(0).into_iter().filter_map(|change| match change {
        Change::Apply(object) => Some(object),
        Change::Delete { .. } => None,
    });
    called.chain(stages).chain(before).chain(applied).collect()
}

/// The changes from one state to the next, `number`, of all objects: twenty.
///
/// What a service leads to is new in every state and is declared nowhere else: a subset in place of the one before, a
/// service beside the one before, which goes one state later, or a subset of such a service.
fn changes(number: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    for called in 0..SUBSETS {
        let host = format!("order-{called}");
        let name = format!("s-{number}");
        changes.push(subset(&host, &host, &name, number));
        changes.push(route(called, &format!("host: {host}, subset: {name}")));
    }
    for called in SUBSETS..CALLED {
        changes.push(Change::Apply(service(&stage(called, number), 3002)));
        changes.push(Change::Delete {
            kind: "Service",
            name: stage(called, number + NAMES - 2),
        });
        let (host, stage, name) = (
            format!("order-{called}"),
            stage(called, number),
            format!("s-{number}"),
        );
        if called % 2 == 0 {
            // The rule of the service before becomes that of the new one.
            changes.push(subset(&host, &stage, &name, number));
            changes.push(route(called, &format!("host: {stage}, subset: {name}")));
        } else {
            changes.push(subset(&host, &host, &name, number));
            changes.push(route(called, &format!("host: {stage}")));
        }
    }
    changes.extend(outside(number));
    changes
}

/// The changes of objects that have nothing to do with the requests.
fn outside(number: usize) -> [Change; 6] {
    let redirect = |at: usize| {
        let name = format!("other-{at}");
        let spec = format!("{{hosts: [{name}.example.com], http: [{{redirect: {{uri: /{number}}}}}]}}");
        Change::Apply(virtual_service(&name, &spec))
    };
    // One entry comes and goes.
    let second = match number % 2 {
        0 => entry(1, number),
        _ => Change::Delete {
            kind: "ServiceEntry",
            name: "order-1".to_owned(),
        },
    };
    let rule = subset("outside", "order-0.example.com", "s", number);
    [
        redirect(0),
        redirect(1),
        redirect(2),
        entry(0, number),
        second,
        rule,
    ]
}

/// A host outside of the mesh, on a port that changes.
fn entry(at: usize, number: usize) -> Change {
    let name = format!("order-{at}");
    let spec = format!(
        "{{hosts: [{name}.example.com], ports: [{{number: {}, name: http, protocol: HTTP}}], resolution: DNS}}",
        4000 + number % 2
    );
    Change::Apply(object("ServiceEntry", "weather", &name, &spec))
}

/// How often Pilot has published.
async fn publications(mesh: &TestMesh) -> u64 {
    let status = mesh.pilot("debug/push_status").await.expect("a page");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    status["generation"].as_u64().expect("a number")
}

/// Makes the changes of one state after another, each state in an order of its own. No request has failed at the end of
/// any.
async fn make_orders(mesh: &TestMesh, size: &Size, loads: &[Load]) {
    let orders = size.orders;
    let began = Instant::now();
    let before = publications(mesh).await;
    for number in 1..=orders {
        let mut changes = changes(number);
        shuffle(&mut changes, size.seed + number);
        let mut pace = tokio::time::interval(PACES[number % PACES.len()]);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for change in &changes {
            pace.tick().await;
            change.make(mesh).await;
        }
        mesh.settle().await;
        let reports: Vec<Report> = loads.iter().map(Load::report).collect();
        for (called, report) in reports.iter().enumerate() {
            assert_answered(&format!("order-{called}, by order {number}"), report);
        }
        if number % PROGRESS == 0 {
            let answered: usize = reports.iter().map(|report| report.answered).sum();
            eprintln!(
                "{number} orders, {answered} requests, none failed, {:?}",
                began.elapsed()
            );
        }
    }
    let published = publications(mesh).await - before;
    eprintln!(
        "{orders} orders of 20 changes, {published} publications, {:?}",
        began.elapsed()
    );
}

/// Pain 5: twenty changes may arrive in any order and one by one.
#[test]
fn pain_5_twenty_changes_in_any_order_fail_no_request() {
    DOUBLES.run(async |mesh| {
        let _turn = load_turn().await;
        let size = Size::wanted();
        assert_eq!(changes(1).len(), 20);
        mesh.enforce(&beginning()).await;
        let (way, relay) = mesh
            .from(FRONTEND)
            .way("http://forecast:3002/")
            .await
            .expect("a port");
        let orders = async {
            let loads: Vec<Load> = (0..CALLED)
                .map(|called| {
                    let rate = size.rate / u32::try_from(CALLED).expect("few");
                    Load::start(way.url("/"), format!("order-{called}:3002"), rate, |_| {
                        String::new()
                    })
                })
                .collect();
            make_orders(mesh, &size, &loads).await;
            let mut reports = Vec::new();
            for load in loads {
                mesh.wait_for_answers(&load, 5).await;
                reports.push(load.stop().await);
            }
            reports
        };
        tokio::pin!(orders, relay);
        let reports = tokio::select! {
            reports = &mut orders => reports,
            () = &mut relay => unreachable!("a relay has no end"),
        };
        for (called, report) in reports.iter().enumerate() {
            let what = format!("order-{called}");
            assert_answered(&what, report);
            eprintln!("{what}: {} requests, none failed", report.answered);
        }
    });
}

/// Shuffles by a seed: the same orders in every run.
fn shuffle<T>(items: &mut [T], seed: usize) {
    let mut random = u64::try_from(seed)
        .expect("a seed")
        .wrapping_add(1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for at in (1..items.len()).rev() {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let bound = u64::try_from(at + 1).expect("small");
        items.swap(at, usize::try_from(random % bound).expect("small"));
    }
}
