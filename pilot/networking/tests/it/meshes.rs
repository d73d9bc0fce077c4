//! Admitted means accepted: whatever validation lets pass, Envoy takes.
//!
//! Meshes are made from numbers, so that a failure names the number that makes it again. How many are tried is
//! `MESHES` in the environment, and `MESHES_FROM` the first number.

use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use mesh_api::Any;
use mesh_config::{Config, ConfigKey, decode};
use mesh_testing::Envoy;
use mesh_testing::envoy::validate_apart;
use mesh_testing::objects::{self, Choices, KINDS, KUBERNETES};

use crate::acceptance::report;
use crate::world::{Input, World, read};

/// How long an ordinary run of the tests tries meshes.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many meshes the Envoys judge at once.
const TOGETHER: u64 = 60;

/// What rules can be about: services of several kinds, and the pods of the proxies.
const BASE: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: web, namespace: weather},
   spec: {clusterIP: 10.96.0.20, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443}, {name: grpc-a, port: 9090}]}}
- {apiVersion: v1, kind: Service, metadata: {name: api, namespace: weather},
   spec: {clusterIP: 10.96.0.21, ports: [{name: http, port: 80}, {name: tcp, port: 9090}]}}
- {apiVersion: v1, kind: Service, metadata: {name: db, namespace: weather},
   spec: {clusterIP: 10.96.0.22, ports: [{name: mongo, port: 27017}, {name: mysql, port: 3306}, {name: tls, port: 443}]}}
- {apiVersion: v1, kind: Service, metadata: {name: headless, namespace: weather},
   spec: {clusterIP: None, selector: {app: web}, ports: [{name: tcp, port: 8080}, {name: http-b, port: 81}, {name: tls, port: 15443}]}}
- {apiVersion: v1, kind: Service, metadata: {name: ingressgateway, namespace: istio-system},
   spec: {clusterIP: 10.96.0.1, selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: web-0, namespace: weather, labels: {app: web, version: v1}},
   spec: {containers: [{name: app, ports: [{containerPort: 8080}]}]}, status: {podIP: 10.1.0.7, phase: Running}}
- {apiVersion: v1, kind: Pod, metadata: {name: gateway-0, namespace: istio-system, labels: {istio: ingressgateway, app: web}},
   spec: {containers: [{name: app}]}, status: {podIP: 10.1.0.9, phase: Running}}
";
/// Proxies of every kind; each mesh has one of each line.
const PROXIES: [&[&str]; 3] = [
    &[
        "{name: web-0, namespace: weather, ip: 10.1.0.7}",
        "{name: six-0, namespace: weather, ip: 'fd00::7', labels: {app: web, version: v1}, locality: r1/z1/s1}",
        "{name: tproxy-0, namespace: weather, ip: 10.1.0.7, metadata: {INTERCEPTION_MODE: TPROXY, NETWORK: n1}}",
    ],
    &[
        "{name: gateway-0, type: router, namespace: istio-system, ip: 10.1.0.9, metadata: {USER_SDS: 'true'}}",
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
            let (input, setup) = mesh(number)?;
            for (proxy, resources) in resources(&input, &setup)? {
                cases.push((format!("mesh {number}, {proxy}"), resources));
            }
        }
        rejected.extend(validate_apart(envoys, &cases));
    }
    if asked == Some(1) {
        let (input, setup) = mesh(first)?;
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
        let (mut input, setup) = mesh(number)?;
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

/// The services and pods that are always there.
pub(crate) fn base() -> Result<Vec<Config>, String> {
    read(&[BASE.to_owned()])
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
fn mesh(number: u64) -> Result<(Input, String), String> {
    let mut choices = Choices::seeded(number);
    let mut objects: BTreeMap<ConfigKey, Config> = BTreeMap::new();
    let mut add = |object: Config| objects.insert(object.meta.key.clone(), object);
    base()?.into_iter().for_each(|object| drop(add(object)));
    for kind in KUBERNETES {
        for name in ["web", "a", "b"] {
            if choices.chance(20) {
                let object = objects::object(kind, name, &mut choices);
                decode::from_json(None, &object).ok().map(&mut add);
            }
        }
    }
    for kind in KINDS {
        for index in 0..choices.below(4) {
            // Gateways are referred to by name.
            let name = ["edge", "a", "b"][index];
            objects::admitted(kind, name, &mut choices).map(&mut add);
        }
    }
    let mut file = |make: fn(&mut Choices<'_>) -> String| {
        if choices.chance(30) {
            make(&mut choices)
        } else {
            String::new()
        }
    };
    let (mesh, networks) = (file(objects::mesh), file(objects::networks));
    let input = Input {
        objects: objects.into_values().collect(),
        mesh,
        networks,
        changes: Vec::new(),
    };
    Ok((input, setup(&mut choices)))
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
