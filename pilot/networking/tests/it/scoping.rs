//! What lies outside the scope of a proxy changes nothing for it.

use std::collections::BTreeSet;

use libtest_mimic::Failed;
use mesh_api::Any;
use mesh_api::istio::networking::v1alpha3::VirtualService;
use mesh_config::Kind;
use mesh_testing::Envoy;
use pilot_model::{Change, ConfigSpec, Warning};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::acceptance::report;
use crate::arbitrary::{sidecar, virtual_service};
use crate::world::{World, meta};

/// What the proxies see: their namespace and the root namespace, as the Sidecars say.
const WORLD: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: web, namespace: weather},
   spec: {clusterIP: 10.96.0.20, selector: {app: web}, ports: [{name: http, port: 80, protocol: TCP}, {name: tcp, port: 9000, protocol: TCP}]}}
- {apiVersion: v1, kind: Service, metadata: {name: api, namespace: weather},
   spec: {clusterIP: None, ports: [{name: http, port: 81, protocol: TCP}, {name: tcp, port: 9001, protocol: TCP}]}}
- {apiVersion: v1, kind: Service, metadata: {name: telemetry, namespace: istio-system},
   spec: {clusterIP: 10.96.0.22, ports: [{name: grpc, port: 80, protocol: TCP}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: web-0, namespace: weather, labels: {app: web}},
   spec: {containers: [{name: web, ports: [{containerPort: 8080}]}]}, status: {podIP: 10.1.0.1, phase: Running}}
- {apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: web, namespace: weather},
   spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: all, namespace: istio-system},
   spec: {host: '*.svc.cluster.local', trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}}
- {apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {name: web, namespace: weather},
   spec: {hosts: [web, alias.example.com], http: [{route: [{destination: {host: web, subset: v1, port: {number: 80}}}]}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: Sidecar, metadata: {name: all, namespace: weather},
   spec: {egress: [{hosts: ['./*', 'istio-system/*']}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: Sidecar, metadata: {name: one, namespace: weather},
   spec: {workloadSelector: {labels: {app: one}}, egress: [{hosts: ['weather/web.weather.svc.cluster.local']}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: Sidecar, metadata: {name: ports, namespace: weather},
   spec: {workloadSelector: {labels: {app: ports}}, egress: [
     {hosts: ['istio-system/*']}, {port: {number: 81, protocol: HTTP, name: http}, hosts: ['weather/*']}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: Sidecar, metadata: {name: nothing, namespace: weather},
   spec: {workloadSelector: {labels: {app: nothing}}, egress: [{hosts: ['~/*']}]}}
";
const PROXIES: &str = "
fallthroughRoute: true
proxies:
- {name: web, namespace: weather, ip: 10.1.0.1}
- {name: one, namespace: weather, ip: 10.1.0.2, labels: {app: one}}
- {name: ports, namespace: weather, ip: 10.1.0.3, labels: {app: ports}}
- {name: nothing, namespace: weather, ip: 10.1.0.4, labels: {app: nothing}}
- {name: uncaptured, namespace: weather, ip: 10.1.0.5, labels: {app: one}, metadata: {INTERCEPTION_MODE: NONE}}
";

/// An object outside of a proxy's scope changes no byte of its configuration (pain 16).
pub(crate) fn what_is_not_imported_changes_no_byte() -> Result<(), Failed> {
    let config = Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    };
    let alone = resources(&[], Vec::new())?;
    let mut runner = TestRunner::new(config);
    let strangers = (vec(object(), 0..8), vec(virtual_service(), 0..4));
    let outcome = runner.run(&strangers, |(objects, rules)| {
        let with_strangers = resources(&objects, rules).map_err(TestCaseError::fail)?;
        // Not compared as a whole, which nobody could read.
        for ((name, resources, warnings), (_, expected, expected_warnings)) in
            with_strangers.iter().zip(&alone)
        {
            prop_assert_eq!(warnings, expected_warnings, "{}", name);
            prop_assert!(resources == expected, "{} gets something else", name);
        }
        Ok(())
    });
    outcome.map_err(|error| error.to_string().into())
}

/// An object of a namespace that no Sidecar imports: what it says is about the same hosts, ports and addresses.
fn object() -> impl Strategy<Value = String> {
    let namespace = select(vec!["news", "sports"]);
    let name = select(vec!["web", "api", "a", "b"]);
    let host = select(vec![
        "web",
        "web.weather.svc.cluster.local",
        "*.weather.svc.cluster.local",
        "*.svc.cluster.local",
        "www.example.com",
        "*.example.com",
        "*",
    ]);
    let port = select(vec![80_u16, 81, 443, 9000, 9001]);
    let protocol = select(vec!["http", "tcp", "grpc", "https", "mongo"]);
    let address = select(vec!["10.96.0.20", "10.96.0.22", "10.96.1.1", "None"]);
    let export_to = select(vec!["'*'", "'.'"]);
    (namespace, name, host, port, protocol, address, export_to, 0..6).prop_map(
        |(namespace, name, host, port, protocol, address, export_to, kind)| {
            let istio = |kind, spec: String| {
                format!(
                    "{{apiVersion: networking.istio.io/v1alpha3, kind: {kind}, \
                     metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"
                )
            };
            match kind {
                0 => format!(
                    "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}, \
                     annotations: {{networking.istio.io/exportTo: {export_to}}}}}, \
                     spec: {{clusterIP: {address}, selector: {{app: web}}, \
                     ports: [{{name: {protocol}, port: {port}, protocol: TCP}}]}}}}"
                ),
                1 => istio(
                    "ServiceEntry",
                    format!(
                        "{{hosts: [{name}.example.com], exportTo: [{export_to}], resolution: NONE, \
                         ports: [{{number: {port}, name: {protocol}, protocol: {}}}]}}",
                        protocol.to_uppercase()
                    ),
                ),
                2 => istio(
                    "DestinationRule",
                    format!(
                        "{{host: '{host}', exportTo: [{export_to}], subsets: [{{name: v1, labels: {{a: b}}}}], \
                         trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 3}}}}}}}}"
                    ),
                ),
                3 => istio("Sidecar", "{egress: [{hosts: ['*/*']}]}".to_owned()),
                4 => istio(
                    "Gateway",
                    format!(
                        "{{servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ['{host}']}}]}}"
                    ),
                ),
                _ => istio(
                    "VirtualService",
                    format!(
                        "{{hosts: ['{host}'], exportTo: [{export_to}], \
                         http: [{{match: [{{sourceLabels: {{app: one}}}}], route: [{{destination: {{host: a}}}}]}}], \
                         tcp: [{{route: [{{destination: {{host: a}}}}]}}]}}"
                    ),
                ),
            }
        },
    )
}

/// Services and a pod that Sidecars can be about.
const SUBJECT: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: web, namespace: weather},
   spec: {clusterIP: 10.96.0.20, selector: {app: web}, ports: [
     {name: http, port: 80, protocol: TCP}, {name: tcp, port: 9000, protocol: TCP}, {name: a, port: 3002, protocol: TCP}]}}
- {apiVersion: v1, kind: Service, metadata: {name: api, namespace: weather},
   spec: {clusterIP: None, ports: [{name: http, port: 3003, protocol: TCP}, {name: tcp, port: 81, protocol: TCP}]}}
- {apiVersion: v1, kind: Service, metadata: {name: tls, namespace: other},
   spec: {clusterIP: None, ports: [{name: https, port: 443, protocol: TCP}, {name: http, port: 9000, protocol: TCP}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: web-0, namespace: weather, labels: {app: web}},
   spec: {containers: [{name: web, ports: [{containerPort: 80}]}]}, status: {podIP: 10.1.0.1, phase: Running}}
- {apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {name: web, namespace: weather},
   spec: {hosts: [web, alias.example.com], http: [{route: [{destination: {host: web}}]}],
     tcp: [{match: [{port: 81}], route: [{destination: {host: web, port: {number: 9000}}}]}]}}
";
/// The same pod in all ways to be captured.
const SUBJECTS: &str = "
proxies:
- {name: captured, namespace: weather, ip: 10.1.0.1}
- {name: bare, namespace: weather, ip: 10.1.0.1, metadata: {INTERCEPTION_MODE: NONE}}
- {name: root, namespace: weather, ip: 10.1.0.1, metadata: {INTERCEPTION_MODE: NONE, SIDECAR_UID: '0'}}
";

/// No Sidecar that decodes makes an Envoy reject anything, such as two listeners in one place.
pub(crate) fn envoy_accepts_sidecars(envoy: &Envoy) -> Result<(), Failed> {
    let mut runner = TestRunner::deterministic();
    let mut worlds = Vec::new();
    for round in 0..24 {
        let spec = sidecar().new_tree(&mut runner)?.current();
        let meta = meta(Kind::Sidecar, "weather", "default", 0);
        let about = format!("round {round}: {spec:?}");
        let change = Change::Config(meta, ConfigSpec::Sidecar(Box::new(spec)));
        let world = World::new(SUBJECT, SUBJECTS, vec![change])?;
        for proxy in &world.proxies {
            let mut listeners = BTreeSet::new();
            for listener in &proxy.config.listeners {
                if !listeners.insert(&listener.name) {
                    return Err(format!("{about}: {} has {} twice", proxy.name, listener.name).into());
                }
            }
            worlds.push((format!("{} {about}", proxy.name), proxy.resources()));
        }
    }
    report(envoy.validate_all(&worlds))
}

type Everything = Vec<(String, Vec<Any>, BTreeSet<Warning>)>;

/// What the proxies get when others have written these objects and rules.
fn resources(objects: &[String], rules: Vec<VirtualService>) -> Result<Everything, String> {
    let mut text = WORLD.to_owned();
    for object in objects {
        text.push_str("---\n");
        text.push_str(object);
        text.push('\n');
    }
    let rules = rules.into_iter().enumerate().map(|(index, spec)| {
        // Older than anything else, so that they would win.
        let meta = meta(Kind::VirtualService, "news", &format!("rule-{index}"), -1);
        Change::Config(meta, ConfigSpec::VirtualService(Box::new(spec)))
    });
    let world = World::new(&text, PROXIES, rules.collect())?;
    Ok(world
        .proxies
        .iter()
        .map(|proxy| (proxy.name.clone(), proxy.resources(), proxy.warnings.clone()))
        .collect())
}
