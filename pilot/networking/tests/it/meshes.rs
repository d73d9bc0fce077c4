//! Admitted means accepted: whatever validation lets pass, Envoy takes.
//!
//! Meshes are made from numbers, so that a failure names the number that makes it again. How many are tried is
//! `MESHES` in the environment, and `MESHES_FROM` the first number.

use std::env;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use mesh_api::Any;
use mesh_config::{Config, decode, yaml};
use mesh_testing::Envoy;
use mesh_testing::objects::{self, Choices, KINDS};

use crate::acceptance::report;
use crate::world::World;

/// How long an ordinary run of the tests tries meshes.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many meshes an Envoy judges at once.
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
const PROXIES: &str = "
fallthroughRoute: true
proxies:
- {name: web-0, namespace: weather, ip: 10.1.0.7}
- {name: gateway-0, type: router, namespace: istio-system, ip: 10.1.0.9, metadata: {USER_SDS: 'true'}}
- {name: uncaptured, namespace: other, ip: 10.1.0.8, labels: {app: api}, metadata: {INTERCEPTION_MODE: NONE}}
";

/// As many meshes as there is time for, or as the environment says, on one Envoy.
pub(crate) fn envoy_accepts(envoy: &Envoy) -> Result<(), Failed> {
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
            for (proxy, resources) in resources(&mesh(number)?)? {
                cases.push((format!("mesh {number}, {proxy}"), resources));
            }
        }
        rejected.extend(envoy.validate_apart(&cases));
    }
    if asked.is_some() {
        eprintln!(
            "envoy {}: {tried} meshes, {} rejected",
            envoy.version,
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
        let mut objects = mesh(number)?;
        let forward = resources(&objects)?;
        objects.reverse();
        let backward = resources(&objects)?;
        let middle = objects.len() / 2;
        objects.rotate_left(middle);
        let rotated = resources(&objects)?;
        if forward != backward || forward != rotated {
            return Err(format!("mesh {number} depends on the order of its objects").into());
        }
    }
    Ok(())
}

/// The objects of a mesh, all of them valid.
fn mesh(number: u64) -> Result<Vec<Config>, Failed> {
    let mut choices = Choices::seeded(number);
    let mut objects = Vec::new();
    for document in yaml::documents("base", BASE) {
        objects.push(
            document
                .and_then(|document| decode::object(&document))
                .map_err(|error| error.to_string())?,
        );
    }
    for kind in KINDS {
        for index in 0..choices.below(4) {
            // Gateways are referred to by name.
            let name = ["edge", "a", "b"][index];
            objects.extend(objects::admitted(kind, name, &mut choices));
        }
    }
    Ok(objects)
}

/// What the proxies get, by name.
fn resources(objects: &[Config]) -> Result<Vec<(String, Vec<Any>)>, String> {
    Ok(World::of_objects(objects, PROXIES)?.resources())
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}
