//! The rules of the conversion one by one (P4.2, spec 01 §3.1 and §3.2).

use super::*;

fn endpoint_lines(world: &mut World) -> Vec<String> {
    world.endpoints(FORECAST).expect("known")
}

#[test]
fn p4_2_pods_of_the_hosts_network_are_told_apart_by_the_name_that_endpoints_give() {
    let host_pod = |name: &str, app: &str, account: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: weather, labels: {{app: {app}}}}},
              spec: {{hostNetwork: true, serviceAccountName: {account}, containers: [{{name: app}}]}},
              status: {{phase: Running, podIP: 10.9.0.1}}}}"
        )
    };
    let of = |service: &str, pod: &str, port: u16| {
        endpoints(
            service,
            &format!(
                "[{{addresses: [{{ip: 10.9.0.1, targetRef: {{kind: Pod, name: {pod}, namespace: weather}}}}],
                   ports: [{{name: http, port: {port}}}]}}]"
            ),
        )
    };
    let mut world = World::of([
        service(
            "forecast",
            "{selector: {app: forecast}, ports: [{name: http, port: 80}]}",
        ),
        service(
            "exporter",
            "{selector: {app: exporter}, ports: [{name: http, port: 80}]}",
        ),
        host_pod("forecast-0", "forecast", "a"),
        host_pod("exporter-0", "exporter", "b"),
        of("forecast", "forecast-0", 8080),
        of("exporter", "exporter-0", 9100),
    ]);
    assert_eq!(endpoint_lines(&mut world), ["http 10.9.0.1:8080 app=forecast"]);
    assert_eq!(
        world
            .endpoints("exporter.weather.svc.cluster.local")
            .expect("known"),
        ["http 10.9.0.1:9100 app=exporter"]
    );
    let accounts = ["forecast", "exporter"].map(|name| world.endpoints_of(name)[0].service_account.clone());
    assert_eq!(
        accounts.each_ref().map(|account| &**account),
        [
            "spiffe://cluster.local/ns/weather/sa/a",
            "spiffe://cluster.local/ns/weather/sa/b"
        ]
    );
    // Whoever asks for the address of the node is told of both.
    let published = world.published();
    let workload = published.workloads.get([10, 9, 0, 1].into()).expect("known");
    for name in ["forecast-0", "exporter-0"] {
        assert_eq!(&*workload.of_proxy(&format!("{name}.weather"), "").name, name);
    }
    world.remove(Kind::Pod, "forecast-0");
    let published = world.published();
    let workload = published.workloads.get([10, 9, 0, 1].into()).expect("known");
    assert_eq!((&*workload.name, workload.others.len()), ("exporter-0", 0));
}

#[test]
fn p4_2_an_address_that_passed_to_another_pod_has_neither_labels_nor_identity_of_it() {
    let listed = endpoints(
        "forecast",
        "[{addresses: [{ip: 10.1.0.1, targetRef: {kind: Pod, name: old}}], ports: [{name: http, port: 3002}]}]",
    );
    let mut world = World::of([forecast(), listed, forecast_pod("old", "10.1.0.1", "v1")]);
    assert_eq!(
        endpoint_lines(&mut world),
        ["http 10.1.0.1:3002 app=forecast,version=v1"]
    );
    world.set(&pod("new", "10.1.0.1", "{app: other}", Pod::default()));
    world.remove(Kind::Pod, "old");
    assert_eq!(endpoint_lines(&mut world), ["http 10.1.0.1:3002 -"]);
    assert_eq!(&*world.endpoints_of("forecast")[0].service_account, "");
}

#[test]
fn p4_2_addresses_that_are_not_ready_are_published_where_the_service_says_so() {
    for (publishes, expected) in [
        (false, &[][..]),
        (true, &["http 10.1.0.1:3002 app=forecast,version=v1"]),
    ] {
        let mut world = World::of([
            service(
                "forecast",
                &format!(
                    "{{clusterIP: None, publishNotReadyAddresses: {publishes}, selector: {{app: forecast}},
                       ports: [{{name: http, port: 3002}}]}}"
                ),
            ),
            forecast_pod("forecast-0", "10.1.0.1", "v1"),
            endpoints(
                "forecast",
                "[{notReadyAddresses: [{ip: 10.1.0.1}], ports: [{name: http, port: 3002}]}]",
            ),
        ]);
        assert_eq!(endpoint_lines(&mut world), expected);
    }
}

#[test]
fn r_s_8_app_protocol_speaks_where_the_name_of_a_port_announces_nothing() {
    for (port, expected) in [
        ("{name: web, appProtocol: http, port: 80}", "web:80/HTTP"),
        ("{port: 80, appProtocol: HTTPS}", ":80/HTTPS"),
        (
            "{name: web, appProtocol: kubernetes.io/h2c, port: 80}",
            "web:80/HTTP2",
        ),
        (
            "{name: web, appProtocol: kubernetes.io/ws, port: 80}",
            "web:80/HTTP",
        ),
        (
            "{name: web, appProtocol: kubernetes.io/wss, port: 80}",
            "web:80/HTTPS",
        ),
        ("{name: web, appProtocol: grpc-web, port: 80}", "web:80/GRPC-Web"),
        (
            "{name: web, appProtocol: example.com/own, port: 80}",
            "web:80/TCP",
        ),
        ("{name: web, appProtocol: udp, port: 80}", "web:80/TCP"),
        ("{name: web, port: 80}", "web:80/TCP"),
        // A name that announces something wins.
        ("{name: tcp-web, appProtocol: http, port: 80}", "tcp-web:80/TCP"),
        ("{name: grpc, appProtocol: http, port: 80}", "grpc:80/GRPC"),
        (
            "{name: http2forecast, appProtocol: mysql, port: 80}",
            "http2forecast:80/MySQL",
        ),
        (
            "{name: dns, appProtocol: http, protocol: UDP, port: 53}",
            "dns:53/UDP",
        ),
    ] {
        let mut world = World::of([service("forecast", &format!("{{ports: [{port}]}}"))]);
        assert_eq!(
            world.services(),
            [format!("{FORECAST} - ClientSide {expected}")],
            "{port}"
        );
    }
}

#[test]
fn p4_2_a_service_of_two_families_and_its_pods_have_both_addresses() {
    let both = "{apiVersion: v1, kind: Pod, metadata: {name: forecast-0, namespace: weather, labels: {app: forecast}},
                 spec: {containers: [{name: app}]},
                 status: {phase: Running, podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: 'fd00::1'}]}}";
    let mut world = World::of([
        service(
            "forecast",
            "{clusterIP: 10.0.1.1, clusterIPs: [10.0.1.1, 'fd00:1::1'], ipFamilies: [IPv4, IPv6],
              selector: {app: forecast}, ports: [{name: http, port: 80}]}",
        ),
        both.to_owned(),
        endpoints(
            "forecast",
            "[{addresses: [{ip: 10.1.0.1}, {ip: 'fd00::1'}], ports: [{name: http, port: 3002}]}]",
        ),
    ]);
    assert_eq!(
        world.services(),
        [
            format!("{FORECAST} 10.0.1.1 ClientSide http:80/HTTP"),
            format!("{FORECAST} fd00:1::1 ClientSide http:80/HTTP")
        ]
    );
    assert_eq!(
        endpoint_lines(&mut world),
        [
            "http 10.1.0.1:3002 app=forecast",
            "http [fd00::1]:3002 app=forecast"
        ]
    );
    assert_eq!(world.workload("10.1.0.1"), world.workload("fd00::1"));
    assert!(world.workload("fd00::1").is_some());
    world.remove(Kind::Pod, "forecast-0");
    assert_eq!(
        endpoint_lines(&mut world),
        ["http 10.1.0.1:3002 -", "http [fd00::1]:3002 -"]
    );

    // It may lose one, and then the other.
    world.set(&service(
        "forecast",
        "{clusterIP: 'fd00:1::1', clusterIPs: ['fd00:1::1'], selector: {app: forecast}, ports: [{name: http, port: 80}]}",
    ));
    assert_eq!(
        world.services(),
        [format!("{FORECAST} fd00:1::1 ClientSide http:80/HTTP")]
    );
    world.remove(Kind::Service, "forecast");
    assert_eq!(world.services(), [""; 0]);
}

#[test]
fn p4_2_a_named_target_port_that_differs_by_pod_differs_by_endpoint() {
    let mut world = World::of([
        service(
            "forecast",
            "{selector: {app: forecast}, ports: [{name: http, port: 80, targetPort: web}]}",
        ),
        forecast_pod("forecast-0", "10.1.0.1", "v1"),
        forecast_pod("forecast-1", "10.1.0.2", "v2"),
        endpoints(
            "forecast",
            "[{addresses: [{ip: 10.1.0.1}], ports: [{name: http, port: 8080}]},
              {addresses: [{ip: 10.1.0.2}], ports: [{name: http, port: 9090}]}]",
        ),
    ]);
    assert_eq!(
        endpoint_lines(&mut world),
        [
            "http 10.1.0.1:8080 app=forecast,version=v1",
            "http 10.1.0.2:9090 app=forecast,version=v2"
        ]
    );
}

#[test]
fn p4_2_of_two_container_ports_with_one_name_the_first_is_meant() {
    let mut world = World::of([
        service(
            "forecast",
            "{selector: {app: forecast}, ports: [{name: http, port: 80, targetPort: web}]}",
        ),
        "{apiVersion: v1, kind: Pod, metadata: {name: forecast-0, namespace: weather, labels: {app: forecast}},
          spec: {containers: [{name: a, ports: [{name: web, containerPort: 8080}]},
                              {name: b, ports: [{name: web, containerPort: 9090}]}]},
          status: {phase: Running, podIP: 10.1.0.1}}"
            .to_owned(),
    ]);
    assert_eq!(
        world.workload("10.1.0.1").expect("known")[1],
        format!("{FORECAST}:80->8080")
    );
}

#[test]
fn p4_2_a_node_that_comes_after_its_pods_gives_them_its_locality() {
    let texts = [
        forecast(),
        endpoints(
            "forecast",
            "[{addresses: [{ip: 10.1.0.1}], ports: [{name: http, port: 3002}]}]",
        ),
        pod(
            "forecast-0",
            "10.1.0.1",
            "{app: forecast}",
            Pod {
                node: "node-1",
                ..Pod::default()
            },
        ),
    ];
    let mut world = World::of(texts);
    assert!(world.endpoints_of("forecast")[0].locality.is_empty());
    world.set(&node("node-1", "{topology.kubernetes.io/region: r}"));
    assert!(world.publish().is_incremental());
    assert_eq!(&*world.endpoints_of("forecast")[0].locality.region, "r");
}

#[test]
fn p4_2_an_external_name_serves_each_port_and_an_empty_one_none() {
    for (name, expected) in [
        (
            "db.example.com",
            &["mysql db.example.com:3306 -", "http db.example.com:80 -"][..],
        ),
        ("''", &[]),
    ] {
        let mut world = World::of([service(
            "forecast",
            &format!(
                "{{type: ExternalName, externalName: {name},
                   ports: [{{name: mysql, port: 3306}}, {{name: http, port: 80}}]}}"
            ),
        )]);
        let service = world.service("forecast");
        let found: Vec<String> = service
            .endpoints
            .iter()
            .map(crate::fixture::describe_endpoint)
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn r_s_2_a_headless_service_has_endpoints_of_all_versions_and_no_address() {
    let mut world = World::of([
        service(
            "forecast",
            "{clusterIP: None, selector: {app: forecast}, ports: [{name: tcp, port: 3002}]}",
        ),
        forecast_pod("forecast-0", "10.1.0.1", "v1"),
        forecast_pod("forecast-1", "10.1.0.2", "v2"),
        endpoints(
            "forecast",
            "[{addresses: [{ip: 10.1.0.1}, {ip: 10.1.0.2}], ports: [{name: tcp, port: 3002}]}]",
        ),
    ]);
    assert_eq!(
        world.services(),
        [format!("{FORECAST} - Passthrough tcp:3002/TCP")]
    );
    assert_eq!(endpoint_lines(&mut world).len(), 2);
}
