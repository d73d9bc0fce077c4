//! Behaviour of the Kubernetes registry.

mod memory;
mod rules;
mod slices;

use mesh_config::Kind;
use pilot_model::Visibility;

use crate::fixture::{Pod, World, endpoints, node, object, pod, service};

const FORECAST: &str = "forecast.weather.svc.cluster.local";

fn forecast() -> String {
    service(
        "forecast",
        "{clusterIP: 10.0.1.1, selector: {app: forecast}, ports: [{name: http, port: 80, targetPort: 3002}]}",
    )
}

fn forecast_pod(name: &str, ip: &str, version: &str) -> String {
    pod(
        name,
        ip,
        &format!("{{app: forecast, version: {version}}}"),
        Pod::default(),
    )
}

/// `P2.1`.
#[test]
fn p4_2_services_become_services() {
    for (spec, expected) in [
        (
            "{clusterIP: 10.0.1.1, ports: [{name: http, port: 3002}]}",
            "forecast.weather.svc.cluster.local 10.0.1.1 ClientSide http:3002/HTTP",
        ),
        (
            "{clusterIP: None, ports: [{name: mongo, port: 27017}]}",
            "forecast.weather.svc.cluster.local - Passthrough mongo:27017/Mongo",
        ),
        (
            "{ports: [{name: grpc-api, port: 9000}, {name: dns, port: 53, protocol: UDP}, {name: admin, port: 81}]}",
            "forecast.weather.svc.cluster.local - ClientSide grpc-api:9000/GRPC,dns:53/UDP,admin:81/TCP",
        ),
        (
            "{type: ExternalName, externalName: forecast.example.com, ports: [{name: https, port: 443}]}",
            "forecast.weather.svc.cluster.local - Dns https:443/HTTPS",
        ),
        (
            "{clusterIP: 'fd00::1', ports: [{port: 80}, {name: http-bad, port: 0}, {name: http-worse, port: 70000}]}",
            "forecast.weather.svc.cluster.local fd00::1 ClientSide :80/TCP",
        ),
        (
            "{clusterIP: 10.0.1.1}",
            "forecast.weather.svc.cluster.local 10.0.1.1 ClientSide ",
        ),
    ] {
        let mut world = World::of([service("forecast", spec)]);
        assert_eq!(world.services(), [expected], "{spec}");
    }
}

#[test]
fn p4_2_an_external_name_is_the_only_endpoint_of_its_service() {
    let spec = "{type: ExternalName, externalName: forecast.example.com, ports: [{name: https, port: 443}]}";
    let mut world = World::of([
        service("forecast", spec),
        endpoints(
            "forecast",
            "[{addresses: [{ip: 10.1.0.1}], ports: [{name: https, port: 443}]}]",
        ),
    ]);
    let service = world.service("forecast");
    assert!(service.mesh_external);
    let own: Vec<_> = service
        .endpoints
        .iter()
        .map(crate::fixture::describe_endpoint)
        .collect();
    assert_eq!(own, ["https forecast.example.com:443 -"]);
    assert_eq!(world.endpoints(FORECAST), Some(vec![]));
}

#[test]
fn p4_2_annotations_limit_who_sees_a_service_and_name_its_identities() {
    for (annotations, visibility, accounts) in [
        ("{}", Visibility::Public, &[][..]),
        ("{networking.istio.io/exportTo: '*'}", Visibility::Public, &[]),
        (
            "{networking.istio.io/exportTo: ' . , *'}",
            Visibility::Private,
            &[],
        ),
        (
            "{alpha.istio.io/kubernetes-serviceaccounts: 'a, b,', alpha.istio.io/canonical-serviceaccounts: 'spiffe://x/ns/y/sa/z'}",
            Visibility::Public,
            &[
                "spiffe://cluster.local/ns/weather/sa/a",
                "spiffe://cluster.local/ns/weather/sa/b",
                "spiffe://x/ns/y/sa/z",
            ],
        ),
    ] {
        let mut world = World::of([format!(
            "{{apiVersion: v1, kind: Service,
               metadata: {{name: forecast, namespace: weather, annotations: {annotations}, labels: {{team: sky}}}},
               spec: {{clusterIP: 10.0.1.1, ports: [{{name: http, port: 80}}]}}}}"
        )]);
        let service = world.service("forecast");
        assert_eq!(service.export_to, visibility, "{annotations}");
        let found: Vec<&str> = service.service_accounts.iter().map(AsRef::as_ref).collect();
        assert_eq!(found, accounts, "{annotations}");
        assert_eq!(service.labels.get("team"), Some("sky"));
    }
}

/// `P2.3`.
#[test]
fn endpoints_carry_what_their_pods_say() {
    let mut world = World::of([
        forecast(),
        pod(
            "forecast-v1-0",
            "10.1.0.1",
            "{app: forecast, version: v1}",
            Pod {
                account: "forecaster",
                ..Pod::default()
            },
        ),
        forecast_pod("forecast-v2-0", "10.1.0.2", "v2"),
        endpoints(
            "forecast",
            "[{addresses: [{ip: 10.1.0.1}, {ip: 10.1.0.2}], ports: [{name: http, port: 3002}]}]",
        ),
    ]);
    assert_eq!(
        world.endpoints(FORECAST).expect("known"),
        [
            "http 10.1.0.1:3002 app=forecast,version=v1",
            "http 10.1.0.2:3002 app=forecast,version=v2"
        ]
    );
    let known = world.endpoints_of("forecast");
    assert_eq!(&*known[0].uid, "kubernetes://forecast-v1-0.weather");
    assert_eq!(
        &*known[0].service_account,
        "spiffe://cluster.local/ns/weather/sa/forecaster"
    );
    assert_eq!(
        &*known[1].service_account,
        "spiffe://cluster.local/ns/weather/sa/default"
    );
    assert_eq!(known[0].weight, 1);
}

#[test]
fn endpoints_without_pods_have_no_labels_and_are_workloads_all_the_same() {
    let mut world = World::of([
        service("database", "{ports: [{name: mongo, port: 27017}]}"),
        endpoints(
            "database",
            "[{addresses: [{ip: 192.168.7.7}], ports: [{name: mongo, port: 27018}, {name: other, port: 1}]}]",
        ),
    ]);
    assert_eq!(
        world
            .endpoints("database.weather.svc.cluster.local")
            .expect("known"),
        ["other 192.168.7.7:1 -", "mongo 192.168.7.7:27018 -"]
    );
    assert_eq!(
        world.workload("192.168.7.7").expect("known"),
        ["weather/ -", "database.weather.svc.cluster.local:27017->27018"]
    );
}

#[test]
fn endpoints_of_services_that_do_not_exist_are_nothing() {
    let mut world = World::of([endpoints(
        "forecast",
        "[{addresses: [{ip: 10.1.0.1}], ports: [{name: http, port: 3002}]}]",
    )]);
    assert_eq!(world.endpoints(FORECAST), None);
    assert_eq!(world.workload("10.1.0.1"), None);
    world.set(&forecast());
    assert_eq!(world.endpoints(FORECAST).expect("known").len(), 1);
    world.remove(Kind::Service, "forecast");
    assert_eq!(world.endpoints(FORECAST), None);
    assert_eq!(world.workload("10.1.0.1"), None);
    assert_eq!(world.services(), Vec::<String>::new());
}

#[test]
fn t9_a_service_without_endpoints_is_known_and_empty() {
    let mut world = World::of([
        forecast(),
        endpoints(
            "forecast",
            "[{addresses: [{ip: 10.1.0.1}], ports: [{name: http, port: 3002}]}]",
        ),
    ]);
    world.set(&endpoints("forecast", "[]"));
    let changes = world.publish();
    assert!(changes.is_incremental());
    assert_eq!(changes.endpoints.len(), 1);
    assert_eq!(world.endpoints(FORECAST), Some(vec![]));
    world.remove(Kind::Endpoints, "forecast");
    assert_eq!(world.endpoints(FORECAST), None);
}

#[test]
fn a_named_target_port_is_whatever_the_pod_calls_so() {
    let mut world = World::of([
        service(
            "forecast",
            "{selector: {app: forecast}, ports: [{name: http, port: 80, targetPort: http}, {name: admin, port: 81, targetPort: admin},
              {name: http-same, port: 82}, {name: http-none, port: 83, targetPort: nobody}]}",
        ),
        pod("a", "10.1.0.1", "{app: forecast}", Pod::default()),
        pod("b", "10.1.0.2", "{app: forecast}", Pod { admin: 9100, ..Pod::default() }),
    ]);
    for (ip, name, admin) in [("10.1.0.1", "a", 9000), ("10.1.0.2", "b", 9100)] {
        assert_eq!(
            world.workload(ip).expect("known"),
            [
                format!("weather/{name} app=forecast"),
                format!("{FORECAST}:81->{admin}"),
                format!("{FORECAST}:80->3002"),
                format!("{FORECAST}:82->82"),
            ]
        );
    }
}

/// `R-S-1`.
#[test]
fn a_pod_that_no_service_selects_is_a_workload_without_instances() {
    let mut world = World::of([
        forecast(),
        pod("sleep-0", "10.1.0.9", "{app: sleep}", Pod::default()),
    ]);
    assert_eq!(
        world.workload("10.1.0.9").expect("known"),
        ["weather/sleep-0 app=sleep"]
    );
    // A service without selector selects nobody.
    world.set(&service("manual", "{ports: [{name: http, port: 80}]}"));
    assert_eq!(
        world.workload("10.1.0.9").expect("known"),
        ["weather/sleep-0 app=sleep"]
    );
}

/// `P2.2`.
#[test]
fn p4_2_pods_that_are_not_ready_have_instances_and_no_endpoints() {
    let by_selector = [
        forecast(),
        pod(
            "forecast-0",
            "10.1.0.1",
            "{app: forecast}",
            Pod {
                phase: "Pending",
                ..Pod::default()
            },
        ),
        endpoints(
            "forecast",
            "[{notReadyAddresses: [{ip: 10.1.0.1}], ports: [{name: http, port: 3002}]}]",
        ),
    ];
    let listed = [
        service("forecast", "{ports: [{name: http, port: 80}]}"),
        pod("forecast-0", "10.1.0.1", "{app: forecast}", Pod::default()),
        endpoints(
            "forecast",
            "[{notReadyAddresses: [{ip: 10.1.0.1}], ports: [{name: http, port: 3002}]}]",
        ),
    ];
    for texts in [by_selector, listed] {
        let mut world = World::of(texts);
        assert_eq!(world.endpoints(FORECAST), Some(vec![]));
        assert_eq!(
            world.workload("10.1.0.1").expect("known"),
            [
                "weather/forecast-0 app=forecast",
                "forecast.weather.svc.cluster.local:80->3002"
            ]
        );
    }
}

#[test]
fn a_changed_label_changes_endpoints_and_workload_and_nothing_else() {
    let mut world = World::of([
        forecast(),
        forecast_pod("forecast-0", "10.1.0.1", "v1"),
        endpoints(
            "forecast",
            "[{addresses: [{ip: 10.1.0.1}], ports: [{name: http, port: 3002}]}]",
        ),
    ]);
    world.set(&forecast_pod("forecast-0", "10.1.0.1", "v2"));
    let changes = world.publish();
    assert!(changes.is_incremental());
    assert_eq!((changes.endpoints.len(), changes.workloads.len()), (1, 1));
    assert_eq!(
        world.endpoints(FORECAST).expect("known"),
        ["http 10.1.0.1:3002 app=forecast,version=v2"]
    );

    world.set(&forecast_pod("forecast-0", "10.1.0.1", "v2"));
    assert!(world.publish().is_empty());
}

#[test]
fn a_changed_selector_or_port_changes_the_workloads_of_the_namespace() {
    let mut world = World::of([
        forecast(),
        forecast_pod("forecast-0", "10.1.0.1", "v1"),
        pod("sleep-0", "10.1.0.2", "{app: sleep}", Pod::default()),
    ]);
    world.set(&service(
        "forecast",
        "{clusterIP: 10.0.1.1, selector: {app: sleep}, ports: [{name: http, port: 80, targetPort: 9}]}",
    ));
    assert_eq!(
        world.workload("10.1.0.1").expect("known"),
        ["weather/forecast-0 app=forecast,version=v1"]
    );
    assert_eq!(
        world.workload("10.1.0.2").expect("known"),
        [
            "weather/sleep-0 app=sleep",
            "forecast.weather.svc.cluster.local:80->9"
        ]
    );
}

#[test]
fn an_address_that_passes_to_another_pod_belongs_to_the_youngest() {
    let old = pod(
        "old",
        "10.1.0.1",
        "{app: forecast, version: v1}",
        Pod {
            created: "2019-04-01T10:00:00Z",
            ..Pod::default()
        },
    );
    let new = pod(
        "new",
        "10.1.0.1",
        "{app: forecast, version: v2}",
        Pod {
            created: "2019-04-01T10:00:05Z",
            ..Pod::default()
        },
    );
    let listed = endpoints(
        "forecast",
        "[{addresses: [{ip: 10.1.0.1}], ports: [{name: http, port: 3002}]}]",
    );
    for order in [[&old, &new], [&new, &old]] {
        let mut world = World::of([forecast(), listed.clone()]);
        order.into_iter().for_each(|text| world.set(text));
        assert_eq!(
            world.endpoints(FORECAST).expect("known"),
            ["http 10.1.0.1:3002 app=forecast,version=v2"]
        );
        assert_eq!(
            world.workload("10.1.0.1").expect("known")[0],
            "weather/new app=forecast,version=v2"
        );
        world.remove(Kind::Pod, "old");
        assert_eq!(
            world.workload("10.1.0.1").expect("known")[0],
            "weather/new app=forecast,version=v2"
        );
        world.remove(Kind::Pod, "new");
        assert_eq!(
            world.endpoints(FORECAST).expect("known"),
            ["http 10.1.0.1:3002 -"]
        );
    }
}

#[test]
fn pods_that_have_ended_or_have_no_address_are_nobody() {
    for (phase, ip) in [
        ("Succeeded", "10.1.0.1"),
        ("Failed", "10.1.0.1"),
        ("Running", ""),
        ("Pending", "nonsense"),
    ] {
        let mut world = World::of([
            forecast(),
            pod(
                "forecast-0",
                ip,
                "{app: forecast}",
                Pod {
                    phase,
                    ..Pod::default()
                },
            ),
        ]);
        assert_eq!(world.workload("10.1.0.1"), None, "{phase} {ip}");
    }
}

#[test]
fn p2_4_the_locality_is_that_of_the_node_else_that_of_the_label() {
    let cases = [
        (
            "{topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z, topology.istio.io/subzone: s}",
            "{app: forecast}",
            ["r", "z", "s"],
        ),
        (
            "{failure-domain.beta.kubernetes.io/region: r1, failure-domain.beta.kubernetes.io/zone: z1}",
            "{app: forecast, istio-locality: a.b.c}",
            ["r1", "z1", ""],
        ),
        (
            "{topology.kubernetes.io/region: new, failure-domain.beta.kubernetes.io/region: old}",
            "{app: forecast}",
            ["new", "", ""],
        ),
        ("{}", "{app: forecast, istio-locality: a.b.c}", ["a", "b", "c"]),
        ("{}", "{app: forecast, istio-locality: a}", ["a", "", ""]),
        ("{}", "{app: forecast}", ["", "", ""]),
    ];
    for (node_labels, pod_labels, expected) in cases {
        let texts = [
            forecast(),
            pod(
                "forecast-0",
                "10.1.0.1",
                pod_labels,
                Pod {
                    node: "node-1",
                    ..Pod::default()
                },
            ),
            endpoints(
                "forecast",
                "[{addresses: [{ip: 10.1.0.1}], ports: [{name: http, port: 3002}]}]",
            ),
            node("node-1", node_labels),
        ];
        let mut world = World::of(texts);
        let locality = &world.endpoints_of("forecast")[0].locality;
        let found = [&*locality.region, &*locality.zone, &*locality.sub_zone];
        assert_eq!(found, expected, "{node_labels} {pod_labels}");
    }
}

#[test]
fn a_node_that_goes_takes_its_locality_along() {
    let mut world = World::of([
        forecast(),
        pod(
            "forecast-0",
            "10.1.0.1",
            "{app: forecast, istio-locality: a.b}",
            Pod {
                node: "node-1",
                ..Pod::default()
            },
        ),
        endpoints(
            "forecast",
            "[{addresses: [{ip: 10.1.0.1}], ports: [{name: http, port: 3002}]}]",
        ),
        node("node-1", "{topology.kubernetes.io/region: r}"),
    ]);
    assert_eq!(&*world.endpoints_of("forecast")[0].locality.region, "r");
    world.remove(Kind::Node, "node-1");
    assert!(world.publish().is_incremental());
    assert_eq!(&*world.endpoints_of("forecast")[0].locality.region, "a");
}

#[test]
fn an_object_that_does_not_decode_is_left_out_and_remembered() {
    let mut world = World::of([forecast(), forecast_pod("forecast-0", "10.1.0.1", "v1")]);
    let mut broken = object(&forecast());
    broken.body.value = vec![0xff; 3].into();
    world.set_config(broken);
    let rejected: Vec<String> = world
        .registries
        .rejected()
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(rejected, ["Service weather/forecast"]);
    assert_eq!(world.services(), Vec::<String>::new());
    assert_eq!(
        world.workload("10.1.0.1").expect("known"),
        ["weather/forecast-0 app=forecast,version=v1"]
    );

    world.set(&forecast());
    assert!(world.registries.rejected().is_empty());
    assert_eq!(world.services().len(), 1);
}
