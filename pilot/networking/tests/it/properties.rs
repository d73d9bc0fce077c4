//! What holds whatever somebody writes.

use libtest_mimic::Failed;
use mesh_api::istio::networking::v1alpha3::VirtualService;
use mesh_api::{Any, type_url};
use mesh_config::Kind;
use mesh_testing::Envoy;
use pilot_model::{Change, ConfigSpec};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::acceptance::report;
use crate::arbitrary::virtual_service;
use crate::arbitrary_gateway::{GATEWAYS, gateway, l4_rules};
use crate::world::{World, age, meta};

/// Services that rules can be about, a Gateway to bind to, a sidecar and a router.
const WORLD: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: web, namespace: weather},
   spec: {clusterIP: 10.96.0.20, ports: [{name: http, port: 80, protocol: TCP}, {name: http-b, port: 81, protocol: TCP}]}}
- {apiVersion: v1, kind: Service, metadata: {name: api, namespace: weather},
   spec: {clusterIP: 10.96.0.21, ports: [{name: http, port: 80, protocol: TCP}]}}
- {apiVersion: v1, kind: Service, metadata: {name: web, namespace: other},
   spec: {clusterIP: 10.96.0.23, ports: [{name: tcp, port: 9000, protocol: TCP}, {name: https, port: 443, protocol: TCP}, {name: mongo, port: 27017}]}}
- {apiVersion: v1, kind: Service, metadata: {name: headless, namespace: weather},
   spec: {clusterIP: None, ports: [{name: http, port: 80, protocol: TCP}, {name: tcp, port: 9000, protocol: TCP}, {name: tls, port: 443}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: ServiceEntry, metadata: {name: outside, namespace: weather},
   spec: {hosts: [www.example.com, '*.example.com'], location: MESH_EXTERNAL, resolution: NONE, ports: [{name: tls, number: 443, protocol: TLS}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: ServiceEntry, metadata: {name: range, namespace: weather},
   spec: {hosts: [office.example.com], addresses: [192.0.2.0/24], location: MESH_EXTERNAL, resolution: NONE, ports: [{name: tcp, number: 9000, protocol: TCP}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: web, namespace: weather},
   spec: {host: web, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}},
     subsets: [{name: v1, labels: {version: v1}}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: Gateway, metadata: {name: edge, namespace: weather},
   spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*', '*.example.com', 'other/*']}]}}
";
const PROXIES: &str = "
fallthroughRoute: true
proxies:
- {name: web, namespace: weather, ip: 10.1.0.1, labels: {app: web}}
- {name: edge, type: router, namespace: istio-system, ip: 10.1.0.2}
- {name: edge-with-secrets, type: router, namespace: istio-system, ip: 10.1.0.3, metadata: {USER_SDS: 'true'}}
";

/// Nothing that decodes makes generation panic, and the order of arrival changes no byte.
pub(crate) fn order_changes_nothing() -> Result<(), Failed> {
    // Nothing of a failure is kept but what it prints: cases are kept as folders.
    let config = Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let objects = vec(virtual_service(), 1..5);
    let outcome = runner.run(&objects, |objects| {
        let changes = changes(objects);
        let forward = resources(changes.clone()).map_err(TestCaseError::fail)?;
        let backward = resources(changes.into_iter().rev().collect()).map_err(TestCaseError::fail)?;
        prop_assert_eq!(forward, backward);
        Ok(())
    });
    outcome.map_err(|error| error.to_string().into())
}

/// Nothing that decodes makes an Envoy reject what its neighbours have written.
pub(crate) fn envoy_accepts(envoy: &Envoy) -> Result<(), Failed> {
    let mut runner = TestRunner::deterministic();
    // Many objects in one world: starting an Envoy costs more than anything else here.
    let objects = vec(virtual_service(), 150);
    let mut worlds = Vec::new();
    for round in 0..4 {
        let objects = objects.new_tree(&mut runner)?.current();
        for (proxy, resources) in resources(changes(objects))? {
            worlds.push((format!("round {round}, {proxy}"), resources));
        }
    }
    report(envoy.validate_all(&worlds))
}

/// Nothing that decodes makes an Envoy reject the listeners and routes of gateways, with files or secrets.
pub(crate) fn envoy_accepts_gateways(envoy: &Envoy) -> Result<(), Failed> {
    let mut runner = TestRunner::deterministic();
    let objects = (vec(gateway(), GATEWAYS), vec(l4_rules(), 60));
    let mut worlds = Vec::new();
    for round in 0..12 {
        let (gateways, rules) = objects.new_tree(&mut runner)?.current();
        let gateways = gateways.into_iter().enumerate().map(|(index, spec)| {
            let meta = meta(Kind::Gateway, "weather", &format!("gateway-{index}"), age(index));
            Change::Config(meta, ConfigSpec::Gateway(Box::new(spec)))
        });
        let forward: Vec<Change> = gateways.chain(changes(rules)).collect();
        let backward = forward.iter().cloned().rev().collect();
        let resources = resources(forward)?;
        if resources != self::resources(backward)? {
            return Err(format!("round {round}: the order of arrival changes something").into());
        }
        for (proxy, resources) in resources {
            worlds.push((format!("round {round}, {proxy}"), resources));
        }
    }
    let listeners = worlds.iter().flat_map(|(_, resources)| resources);
    let bytes: usize = listeners
        .filter(|resource| resource.type_url == type_url::LISTENER)
        .map(|resource| resource.value.len())
        .sum();
    if bytes < 100_000 {
        return Err(format!("all listeners together have {bytes} bytes: too few to say anything").into());
    }
    report(envoy.validate_all(&worlds))
}

/// Objects of alternating age in two namespaces.
fn changes(objects: Vec<VirtualService>) -> Vec<Change> {
    let numbered = objects.into_iter().enumerate();
    numbered
        .map(|(index, spec)| {
            let namespace = if index % 5 == 4 { "other" } else { "weather" };
            let meta = meta(
                Kind::VirtualService,
                namespace,
                &format!("rule-{index}"),
                age(index),
            );
            Change::Config(meta, ConfigSpec::VirtualService(Box::new(spec)))
        })
        .collect()
}

/// What the proxies get, by name.
fn resources(changes: Vec<Change>) -> Result<Vec<(String, Vec<Any>)>, String> {
    Ok(World::new(WORLD, PROXIES, changes)?.resources())
}
