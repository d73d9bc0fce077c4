//! Admitted means accepted: whatever validation lets pass, Envoy takes.
//!
//! Meshes are made from numbers, so that a failure names the number that makes it again. How many are tried is
//! `MESHES` in the environment, and `MESHES_FROM` the first number.

use std::env;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use mesh_api::Any;
use mesh_config::decode;
use mesh_testing::Envoy;
use mesh_testing::envoy::validate_apart;
use mesh_testing::objects::{self, Choices, KINDS};

use crate::acceptance::report;
use crate::world::{Input, World};

/// How long an ordinary run of the tests tries meshes.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many meshes the Envoys judge at once.
const TOGETHER: u64 = 60;

/// Proxies of every kind; each mesh has one of each line.
const PROXIES: [&[&str]; 3] = [
    &[
        "{name: web-0, namespace: weather, ip: 10.1.0.7}",
        "{name: six-0, namespace: weather, ip: 'fd00::7', labels: {app: web, version: v1}, locality: r1/z1/s1}",
        "{name: tproxy-0, namespace: weather, ip: 10.1.0.7, metadata: {INTERCEPTION_MODE: TPROXY, NETWORK: n1, TRACER: zipkin}}",
    ],
    &[
        "{name: gateway-0, type: router, namespace: istio-system, ip: 10.1.0.9, metadata: {USER_SDS: 'true', TRACER: zipkin}}",
        "{name: gateway-1, type: router, namespace: istio-system, ip: 10.1.0.10, labels: {istio: ingressgateway},
          metadata: {ROUTER_MODE: sni-dnat, NETWORK: n2}, locality: r1/z2/s1}",
    ],
    &[
        "{name: uncaptured, namespace: other, ip: 10.1.0.8, labels: {app: api}, metadata: {INTERCEPTION_MODE: NONE}}",
        "{name: certificates, namespace: other, ip: 10.1.0.8, labels: {app: web},
          metadata: {TLS_CLIENT_CERT_CHAIN: /etc/a.pem, TLS_CLIENT_KEY: /etc/b.pem, TLS_CLIENT_ROOT_CERT: /etc/c.pem}}",
    ],
];

/// As many meshes as there is time for, or as the environment says, on every Envoy.
pub(crate) fn envoys_accept(envoys: &[Envoy]) -> Result<(), Failed> {
    let asked = number("MESHES");
    let first = number("MESHES_FROM").unwrap_or(0);
    let began = Instant::now();
    let mut tried = 0;
    let mut rejected = Vec::new();
    while asked.map_or(began.elapsed() < PATIENCE, |asked| tried < asked) {
        let numbers =
            first + tried..first + tried + TOGETHER.min(asked.map_or(TOGETHER, |asked| asked - tried));
        tried += numbers.end - numbers.start;
        let mut cases = Vec::new();
        for number in numbers {
            let (input, setup) = mesh(number);
            for (proxy, resources) in resources(&input, &setup)? {
                cases.push((format!("mesh {number}, {proxy}"), resources));
            }
        }
        rejected.extend(validate_apart(envoys, &cases));
    }
    if asked == Some(1) {
        let (input, setup) = mesh(first);
        for object in &input.objects {
            eprintln!("---\n{}", decode::to_json(object));
        }
        eprintln!("mesh: {}\nnetworks: {}\n{setup}", input.mesh, input.networks);
    }
    if asked.is_some() {
        eprintln!(
            "{tried} meshes from {first} in {:?}: {} rejected",
            began.elapsed(),
            rejected.len()
        );
    }
    report(rejected)
}

/// Objects that arrive in another order make the same bytes.
pub(crate) fn order_changes_nothing() -> Result<(), Failed> {
    let began = Instant::now();
    for number in 0..200 {
        if began.elapsed() > PATIENCE {
            break;
        }
        let (mut input, setup) = mesh(number);
        let forward = resources(&input, &setup)?;
        input.objects.reverse();
        let backward = resources(&input, &setup)?;
        let middle = input.objects.len() / 2;
        input.objects.rotate_left(middle);
        let rotated = resources(&input, &setup)?;
        if forward != backward || forward != rotated {
            return Err(format!("mesh {number} depends on the order of its objects").into());
        }
    }
    Ok(())
}

/// Proxies and features.
pub(crate) fn setup(choices: &mut Choices<'_>) -> String {
    let proxies = PROXIES.map(|proxies| format!("- {}\n", choices.one_of(proxies)));
    format!(
        "fallthroughRoute: {}\nlocalityLoadBalancing: {}\nproxies:\n{}",
        choices.chance(50),
        choices.chance(50),
        proxies.concat()
    )
}

/// A mesh of valid objects, and its proxies.
fn mesh(number: u64) -> (Input, String) {
    let mut choices = Choices::seeded(number);
    let mut input = Input {
        objects: objects::admitted_mesh(&mut choices),
        ..Input::default()
    };
    if choices.chance(30) {
        input.mesh = objects::mesh(&mut choices);
    }
    if choices.chance(30) {
        input.networks = objects::networks(&mut choices);
    }
    (input, setup(&mut choices))
}

/// What the proxies get, by name. What is admitted is not left out by registries.
fn resources(input: &Input, setup: &str) -> Result<Vec<(String, Vec<Any>)>, String> {
    let world = World::of_input(input, setup)?;
    let mut rejected = world.rejected.iter();
    match rejected.find(|(object, _)| KINDS.contains(&object.kind)) {
        Some((object, reason)) => Err(format!("{object}: {reason}")),
        None => Ok(world.resources()),
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}
