//! Rules that change under load, in any order: no request may notice (make before break).
//!
//! The suite runs a short version. `MESH_TEST_FULL=1` runs 500 switches under 500 requests a second, and 1,000 orders;
//! `MESH_TEST_SWITCHES` and `MESH_TEST_ORDERS` are other numbers of them, and `MESH_TEST_SEED` makes other orders.

mod orders;

use e2e::load::{Load, Report};

use crate::support::fixture::DOUBLES;
use crate::support::rule::{destination_rule, object, virtual_service};
use crate::support::{TestMesh, load_turn};

const FRONTEND: &str = "frontend-v1-0";
/// Reached through the gateway and from inside alike.
const HOST: &str = "switched.example.com";

/// How much is done.
struct Size {
    switches: usize,
    orders: usize,
    /// What is added to the number of an order, so that other orders are made.
    seed: usize,
    /// Requests a second.
    rate: u32,
}

// === impl Size ===

impl Size {
    fn wanted() -> Self {
        let wanted = match std::env::var_os("MESH_TEST_FULL") {
            Some(full) if full == "1" => Self {
                switches: 500,
                orders: 1000,
                seed: 0,
                rate: 500,
            },
            _ => Self {
                switches: 30,
                orders: 10,
                seed: 0,
                rate: 200,
            },
        };
        let number = |name| {
            let text = std::env::var(name).ok()?;
            Some(
                text.parse()
                    .unwrap_or_else(|_| panic!("{name}: {text:?} is not a number")),
            )
        };
        Self {
            switches: number("MESH_TEST_SWITCHES").unwrap_or(wanted.switches),
            orders: number("MESH_TEST_ORDERS").unwrap_or(wanted.orders),
            seed: number("MESH_TEST_SEED").unwrap_or(wanted.seed),
            ..wanted
        }
    }
}

fn service(name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: weather}}\n\
         spec: {{ports: [{{name: http, port: {port}, targetPort: 3002}}], selector: {{app: forecast}}}}\n"
    )
}

/// All requests for the host go to one destination, and nothing is tried twice.
fn route(destination: &str) -> String {
    virtual_service(
        "switched",
        &format!(
            "{{hosts: [{HOST}], gateways: [mesh, istio-system/weather], http: [{{retries: {{attempts: 0}}, route: [{{destination: {{{destination}}}}}]}}]}}"
        ),
    )
}

fn subsets(names: &[&str]) -> String {
    let subsets: Vec<String> = names
        .iter()
        .zip(["v1", "v2"].iter().cycle())
        .map(|(name, version)| format!("{{name: {name}, labels: {{version: {version}}}}}"))
        .collect();
    destination_rule(
        "forecast",
        &format!("{{host: forecast, subsets: [{}]}}", subsets.join(", ")),
    )
}

fn assert_answered(what: &str, report: &Report) {
    assert!(
        report.failures.is_empty() && report.answered > 0,
        "{what}: {} of {} failed: {:?}",
        report.failures.len(),
        report.answered,
        report.failures.iter().take(20).collect::<Vec<_>>()
    );
}

/// One of three changes in turn: another route, another subset in place of the one that is used, another service in
/// place of the one that is used.
async fn switch(mesh: &TestMesh, number: usize) {
    let side = number / 3 % 2;
    match number % 3 {
        0 => {
            let subset = ["one", "two"][side];
            mesh.enforce(&route(&format!("host: forecast, subset: {subset}")))
                .await;
        }
        1 => {
            // The subset that carries the traffic leaves with the rule that named it.
            let name = format!("s-{number}");
            let rules = subsets(&["one", "two", &name]) + &route(&format!("host: forecast, subset: {name}"));
            mesh.enforce(&rules).await;
            mesh.enforce(&(subsets(&["one", "two"]) + &route("host: forecast, subset: one")))
                .await;
        }
        _ => {
            let [new, old] = [["blue", "green"], ["green", "blue"]][side];
            mesh.apply(&service(new, 3002)).await;
            mesh.apply(&route(&format!("host: {new}"))).await;
            // It exists from the second time on.
            let _ = mesh.mesh().delete("Service", "weather", old).await;
            mesh.settle().await;
        }
    }
}

#[test]
fn pain_5_switching_back_and_forth_fails_no_request() {
    DOUBLES.run(async |mesh| {
        let _turn = load_turn().await;
        let size = Size::wanted();
        let gateway = object(
            "Gateway",
            "istio-system",
            "weather",
            "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}",
        );
        let rules = gateway + &service("blue", 3002) + &subsets(&["one", "two"]) + &route("host: forecast, subset: one");
        mesh.enforce(&rules).await;
        mesh.eventually_status("/", &[("host", HOST)], 200).await;
        let (way, relay) = mesh.from(FRONTEND).way("http://switched.example.com/").await.expect("a port");
        let switches = async {
            let pod = |answer: &e2e::load::Answer| answer.header("x-sample-version").to_owned();
            let outside = Load::start(mesh.url("/"), HOST, size.rate / 2, pod);
            let inside = Load::start(way.url("/"), HOST, size.rate / 2, pod);
            for number in 0..size.switches {
                switch(mesh, number).await;
            }
            mesh.wait_for_answers(&inside, 20).await;
            (outside.stop().await, inside.stop().await)
        };
        tokio::pin!(switches, relay);
        let (outside, inside) = tokio::select! {
            reports = &mut switches => reports,
            () = &mut relay => unreachable!("a relay has no end"),
        };
        for (what, report) in [("through the gateway", outside), ("from inside", inside)] {
            assert_answered(what, &report);
            eprintln!("{what}: {} requests, none failed", report.answered);
        }
    });
}
