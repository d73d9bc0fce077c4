//! Each mistake, and beside it what somebody may well have meant.

use galley_analysis::Known;
use mesh_config::Kind;

use crate::{everything, known, objects};

/// A mesh in which nothing is wrong.
const MESH: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: weather, labels: {istio-injection: enabled}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: plain}}
- {apiVersion: v1, kind: Service, metadata: {name: forecast, namespace: weather},
   spec: {selector: {app: forecast}, ports: [{name: http, port: 3002}]}}
- {apiVersion: v1, kind: Service, metadata: {name: secret, namespace: other, annotations: {networking.istio.io/exportTo: .}},
   spec: {ports: [{name: http, port: 80}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: forecast-v1, namespace: weather, labels: {app: forecast, version: v1}}}
- {apiVersion: v1, kind: Pod, metadata: {name: gateway, namespace: istio-system, labels: {istio: ingressgateway}}}
- {apiVersion: networking.istio.io/v1alpha3, kind: Gateway, metadata: {name: door, namespace: weather, creationTimestamp: '2020-01-01T00:00:00Z'},
   spec: {selector: {istio: ingressgateway}, servers: [{hosts: [weather.com], port: {number: 80, name: http, protocol: HTTP}}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: forecast, namespace: weather},
   spec: {host: forecast, trafficPolicy: {tls: {mode: DISABLE}}, subsets: [{name: v1, labels: {version: v1}}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {name: forecast, namespace: weather, creationTimestamp: '2020-01-01T00:00:00Z'},
   spec: {hosts: [forecast], http: [{route: [{destination: {host: forecast, subset: v1}}]}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {name: site, namespace: weather, creationTimestamp: '2020-01-01T00:00:00Z'},
   spec: {hosts: [weather.com], gateways: [door], http: [{route: [{destination: {host: forecast}}]}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: ServiceEntry, metadata: {name: wiki, namespace: weather},
   spec: {hosts: [wiki.org, '*.wiki.org'], ports: [{number: 443, name: tls, protocol: TLS}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: Sidecar, metadata: {name: default, namespace: weather}, spec: {egress: [{hosts: ['./*']}]}}
- {apiVersion: rbac.istio.io/v1alpha1, kind: ServiceRole, metadata: {name: viewer, namespace: weather}, spec: {rules: [{services: ['*']}]}}
- {apiVersion: config.istio.io/v1alpha2, kind: handler, metadata: {name: log, namespace: weather}, spec: {compiledAdapter: stdio}}
- {apiVersion: config.istio.io/v1alpha2, kind: instance, metadata: {name: line, namespace: weather}, spec: {compiledTemplate: logentry}}
";

/// What is said of an object of the namespace `weather`.
fn said_by(known: &Known, kind: &str, name: &str, spec: &str) -> Vec<String> {
    let schema = Kind::ALL
        .iter()
        .map(|it| it.schema())
        .find(|schema| schema.kind == kind);
    let schema = schema.unwrap_or_else(|| panic!("no kind {kind}"));
    let version = format!("{}/{}", schema.group, schema.version);
    let version = version.trim_start_matches('/');
    let namespace = if kind == "MeshPolicy" {
        ""
    } else {
        "namespace: weather, "
    };
    let text = format!(
        "{{apiVersion: {version}, kind: {kind}, metadata: {{{namespace}name: {name}}}, spec: {{{spec}}}}}"
    );
    known.warnings(&objects(&text)[0])
}

fn check(kind: &str, cases: &[(&str, &[&str])]) {
    let known = everything(MESH);
    for (spec, expected) in cases {
        assert_eq!(said_by(&known, kind, "new", spec), *expected, "{kind} {spec}");
    }
}

const TO: &str = "route: [{destination: {host: forecast}}]";

#[test]
fn pain_11_where_a_virtual_service_applies() {
    let rule = |more: &str| format!("{more}, http: [{{{TO}}}]");
    check(
        "VirtualService",
        &[
            (
                &rule("hosts: [a.weather.com, weather.com], gateways: [./door]"),
                &[
                    "hosts[1]: VirtualService weather/site is for weather.com at weather/door too, is older and takes every request",
                ],
            ),
            (
                &rule("hosts: [a.com], gateways: [mesh, gate]"),
                &["gateways[1]: there is no Gateway weather/gate"],
            ),
            (
                &rule("hosts: [a.com], gateways: [other/door]"),
                &["gateways[0]: there is no Gateway other/door"],
            ),
            (
                &rule("hosts: [a.com], gateways: [door]"),
                &["gateways[0]: no server of Gateway weather/door is for any of the hosts"],
            ),
            (&rule("hosts: ['*'], gateways: [door]"), &[]),
            (&rule("hosts: ['*.com'], gateways: [door]"), &[]),
            (
                &rule("hosts: [forecast, weather.com], gateways: [door]"),
                &[
                    "gateways: forecast is a service of the mesh, but sidecars do not follow these rules: `mesh` is not listed",
                    "hosts[1]: VirtualService weather/site is for weather.com at weather/door too, is older and takes every request",
                ],
            ),
            (
                &rule("hosts: [forecast.weather.svc.cluster.local]"),
                &[
                    "hosts[0]: VirtualService weather/forecast is for forecast.weather.svc.cluster.local too; sidecars follow the older: that one is",
                ],
            ),
            // TCP rules are others than HTTP rules.
            (
                "hosts: [forecast], tcp: [{route: [{destination: {host: forecast}}]}]",
                &[],
            ),
            (
                "hosts: [a.com], http: [{match: [{gateways: [door]}], route: [{destination: {host: forecast}}]}]",
                &["http[0].match[0].gateways[0]: never holds: door is not among the gateways of this object"],
            ),
        ],
    );
    // What is written again is not its own rival.
    let again = said_by(
        &everything(MESH),
        "VirtualService",
        "forecast",
        &rule("hosts: [forecast]"),
    );
    assert_eq!(again, [""; 0]);
}

#[test]
fn pain_11_where_a_route_leads() {
    let to = |destination: &str| {
        format!("hosts: [a.com], http: [{{route: [{{destination: {{{destination}}}}}]}}]")
    };
    let field = "http[0].route[0].destination";
    check(
        "VirtualService",
        &[
            (&to("host: forecast, subset: v1, port: {number: 3002}"), &[]),
            (&to("host: en.wiki.org, port: {number: 443}"), &[]),
            (&to("host: 10.0.0.1"), &[]),
            (
                &to("host: forcast, subset: v1"),
                &[&format!(
                    "{field}.host: no Service of this cluster and no ServiceEntry is called forcast.weather.svc.cluster.local"
                )],
            ),
            (
                &to("host: secret.other.svc.cluster.local"),
                &[&format!(
                    "{field}.host: secret.other.svc.cluster.local is not exported to this namespace by Service other/secret"
                )],
            ),
            (
                &to("host: forecast, port: {number: 80}"),
                &[&format!(
                    "{field}.port.number: forecast.weather.svc.cluster.local has no port 80"
                )],
            ),
            (
                &to("host: forecast, subset: v2"),
                &[&format!(
                    "{field}.subset: no DestinationRule declares v2 of forecast.weather.svc.cluster.local: requests are \
                     answered with 503"
                )],
            ),
            (
                "hosts: [a.com], http: [{route: [{destination: {host: forecast}}], mirror: {host: x.org}}]",
                &["http[0].mirror.host: no Service of this cluster and no ServiceEntry is called x.org"],
            ),
            (
                "hosts: [a.com], tcp: [{route: [{destination: {host: x.org}}]}]",
                &[
                    "tcp[0].route[0].destination.host: no Service of this cluster and no ServiceEntry is called x.org",
                ],
            ),
            (
                "hosts: [a.com], tls: [{match: [{sniHosts: [a.com]}], route: [{destination: {host: x.org}}]}]",
                &[
                    "tls[0].route[0].destination.host: no Service of this cluster and no ServiceEntry is called x.org",
                ],
            ),
        ],
    );
}

#[test]
fn pain_11_routes_that_nothing_reaches() {
    let two =
        |first: &str, second: &str| format!("hosts: [a.com], http: [{{{first}, {TO}}}, {{{second}, {TO}}}]");
    let catch_all = "http[1]: never reached: http[0] has no match and takes everything";
    let covered = "http[1]: never reached: http[0] takes all that it matches";
    let none = "timeout: 1s";
    for (first, second, expected) in [
        (none, "match: [{uri: {prefix: /a}}]", Some(catch_all)),
        ("match: [{uri: {prefix: /a}}]", none, None),
        ("match: [{uri: {prefix: /}}]", none, Some(covered)),
        (
            "match: [{uri: {prefix: /}}]",
            "match: [{uri: {regex: a}}]",
            Some(covered),
        ),
        (
            "match: [{uri: {prefix: /a}}]",
            "match: [{uri: {exact: /a/b}}]",
            Some(covered),
        ),
        (
            "match: [{uri: {prefix: /a}}]",
            "match: [{uri: {exact: /a/b}}, {uri: {exact: /c}}]",
            None,
        ),
        (
            "match: [{uri: {prefix: /a}}]",
            "match: [{uri: {prefix: /b}}]",
            None,
        ),
        (
            "match: [{uri: {exact: /a}}]",
            "match: [{uri: {prefix: /a}}]",
            None,
        ),
        (
            "match: [{uri: {prefix: /a}, method: {exact: GET}}]",
            "match: [{uri: {prefix: /a}}]",
            None,
        ),
        (
            "match: [{headers: {a: {exact: b}}}]",
            "match: [{headers: {a: {exact: b}, c: {exact: d}}}]",
            Some(covered),
        ),
        (
            "match: [{headers: {a: {exact: b}}}]",
            "match: [{headers: {a: {exact: c}}}]",
            None,
        ),
        (
            "match: [{headers: {a: {regex: b}}}]",
            "match: [{headers: {a: {regex: b}}}]",
            Some(covered),
        ),
        ("match: [{port: 80}]", none, None),
        (
            "match: [{sourceLabels: {a: b}}]",
            "match: [{sourceLabels: {a: b, c: d}}]",
            Some(covered),
        ),
        // It is for the sidecars alone.
        ("match: [{gateways: [mesh]}]", none, Some(covered)),
        (
            "match: [{gateways: [mesh]}]",
            "match: [{uri: {prefix: /}}]",
            Some(covered),
        ),
    ] {
        let said = said_by(&everything(MESH), "VirtualService", "new", &two(first, second));
        assert_eq!(said, expected.into_iter().collect::<Vec<_>>(), "{first} {second}");
    }
    let l4 = |layer: &str, first: &str, second: &str| {
        format!(
            "hosts: ['*.com'], {layer}: [{{match: [{{{first}}}], {TO}}}, {{match: [{{{second}}}], {TO}}}]"
        )
    };
    check(
        "VirtualService",
        &[
            (
                &l4("tls", "sniHosts: ['*.com']", "sniHosts: [a.com], port: 443"),
                &["tls[1]: never reached: tls[0] takes all that it matches"],
            ),
            (&l4("tls", "sniHosts: [a.com]", "sniHosts: ['*.com']"), &[]),
            (
                &l4("tcp", "port: 1", "port: 1, sourceLabels: {a: b}"),
                &["tcp[1]: never reached: tcp[0] takes all that it matches"],
            ),
            (&l4("tcp", "destinationSubnets: [10.0.0.0/8]", "port: 1"), &[]),
        ],
    );
}

#[test]
fn pain_11_destination_rules() {
    check(
        "DestinationRule",
        &[
            ("host: wiki.org", &[]),
            ("host: '*.local'", &[]),
            (
                "host: '*.nowhere.org'",
                &["host: no Service of this cluster and no ServiceEntry is called *.nowhere.org"],
            ),
            (
                "host: forcast",
                &[
                    "host: no Service of this cluster and no ServiceEntry is called forcast.weather.svc.cluster.local",
                ],
            ),
            (
                "host: forecast, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]",
                &[
                    "host: DestinationRule weather/forecast is for forecast.weather.svc.cluster.local too; subsets are put \
                     together, of the policies the older counts",
                    "subsets[1].labels: no pod of forecast.weather.svc.cluster.local has them: subset v2 is empty",
                ],
            ),
        ],
    );
    let strict = format!("{MESH}
- {{apiVersion: authentication.istio.io/v1alpha1, kind: Policy, metadata: {{name: default, namespace: weather}}, spec: {{peers: [{{mtls: {{}}}}]}}}}
");
    let said = said_by(
        &everything(&strict),
        "DestinationRule",
        "forecast",
        "host: forecast, trafficPolicy: {tls: {mode: DISABLE}}",
    );
    assert_eq!(
        said,
        [
            "trafficPolicy.tls.mode: DISABLE, but Policy weather/default asks callers of \
          forecast.weather.svc.cluster.local for mutual TLS: they are refused"
        ]
    );
}

#[test]
fn pain_11_policies_against_rules() {
    let broken = "peers: STRICT, but by DestinationRule weather/forecast callers of forecast.weather.svc.cluster.local \
                  use no TLS: they are refused";
    let known = everything(MESH);
    for (kind, name, spec, expected) in [
        ("Policy", "default", "peers: [{mtls: {}}]", Some(broken)),
        ("MeshPolicy", "default", "peers: [{mtls: {}}]", Some(broken)),
        (
            "Policy",
            "a",
            "targets: [{name: forecast}], peers: [{mtls: {}}]",
            Some(broken),
        ),
        (
            "Policy",
            "a",
            "targets: [{name: other}], peers: [{mtls: {}}]",
            None,
        ),
        (
            "Policy",
            "a",
            "targets: [{name: forecast, ports: [{number: 1}]}], peers: [{mtls: {}}]",
            None,
        ),
        ("Policy", "default", "peers: [{mtls: {mode: PERMISSIVE}}]", None),
    ] {
        let said = said_by(&known, kind, name, spec);
        assert_eq!(said, expected.into_iter().collect::<Vec<_>>(), "{kind} {spec}");
    }
}

#[test]
fn pain_16_gateways_and_entries_in_the_way_of_others() {
    let server = |port: &str, protocol: &str, name: &str| {
        format!("{{hosts: [a.com], port: {{number: {port}, name: {name}, protocol: {protocol}}}}}")
    };
    let with = |selector: &str, servers: &[String]| {
        format!(
            "selector: {{istio: {selector}}}, servers: [{}]",
            servers.join(", ")
        )
    };
    check(
        "Gateway",
        &[
            (
                &with(
                    "ingressgateway",
                    &[server("80", "HTTP", "a"), server("81", "HTTP", "b")],
                ),
                &[],
            ),
            (
                &with(
                    "ingressgateway",
                    &[server("80", "HTTP", "a"), server("80", "HTTP", "b")],
                ),
                &["servers[1]: servers[0] has port 80 and host a.com too"],
            ),
            (
                &with("ingressgateway", &[server("80", "MONGO", "a")]),
                &[
                    "servers[0].port: Gateway weather/door has port 80 of the same pods for HTTP: the older counts",
                ],
            ),
            (
                &with("nobody", &[server("80", "HTTP", "a")]),
                &["selector: no pod has these labels"],
            ),
        ],
    );
    let ports = |number: u16| format!("ports: [{{number: {number}, name: tls, protocol: TLS}}]");
    check(
        "ServiceEntry",
        &[
            (&format!("hosts: [a.org], {}", ports(443)), &[]),
            (&format!("hosts: [wiki.org], {}", ports(80)), &[]),
            (
                &format!("hosts: [wiki.org], {}", ports(443)),
                &["hosts[0]: ServiceEntry weather/wiki has port 443 of wiki.org too"],
            ),
            (
                &format!("hosts: [forecast.weather.svc.cluster.local], {}", ports(443)),
                &["hosts[0]: Service weather/forecast is called forecast.weather.svc.cluster.local already"],
            ),
        ],
    );
}

#[test]
fn pain_11_sidecars() {
    let one = "workloadSelector: {labels: {app: forecast}}";
    check(
        "Sidecar",
        &[
            (
                &format!(
                    "{one}, egress: [{{hosts: ['./*', '*/*', '~/*', './forecast.weather.svc.cluster.local', '*/*.wiki.org']}}]"
                ),
                &[],
            ),
            (
                &format!("{one}, egress: [{{hosts: ['nowhere/*', './x.org', 'other/*']}}]"),
                &[
                    "egress[0].hosts[0]: nowhere/* stands for no service: nothing is imported by it",
                    "egress[0].hosts[1]: ./x.org stands for no service: nothing is imported by it",
                    "egress[0].hosts[2]: other/* stands for no service: nothing is imported by it",
                ],
            ),
            (
                "egress: [{hosts: ['./*']}]",
                &[
                    "workloadSelector: missing, and Sidecar weather/default has none either: only the older is that of the namespace",
                ],
            ),
            (
                "workloadSelector: {labels: {app: x}}",
                &["workloadSelector: no pod of weather has these labels"],
            ),
        ],
    );
}

#[test]
fn pain_11_roles_handlers_and_instances_that_do_not_exist() {
    let binding =
        |role: &str| format!("subjects: [{{user: '*'}}], roleRef: {{kind: ServiceRole, name: {role}}}");
    check(
        "ServiceRoleBinding",
        &[
            (&binding("viewer"), &[]),
            (
                &binding("editor"),
                &["roleRef.name: there is no ServiceRole editor in weather"],
            ),
        ],
    );
    check(
        "rule",
        &[
            ("actions: [{handler: log, instances: [line]}]", &[]),
            (
                "actions: [{handler: log.handler, instances: [line.instance.weather]}]",
                &[],
            ),
            (
                "actions: [{handler: console.stdio, instances: [line.logentry]}]",
                &[],
            ),
            (
                "actions: [{handler: logs, instances: [line, word.instance.other]}]",
                &[
                    "actions[0].handler: there is no handler weather/logs",
                    "actions[0].instances[1]: there is no instance other/word",
                ],
            ),
        ],
    );
}

#[test]
fn pain_16_ports_that_say_nothing() {
    let help =
        "taken for TCP, without routes and metrics of requests; http, http2, grpc, tcp, … say what it is";
    check(
        "Service",
        &[
            (
                "ports: [{name: http, port: 80}, {name: tcp-a, port: 81}, {name: GRPC-Web, port: 82}]",
                &[],
            ),
            (
                "ports: [{name: web, port: 80, appProtocol: http}, {name: dns, port: 53, protocol: UDP}]",
                &[],
            ),
            (
                "ports: [{port: 80}]",
                &[&format!("ports[0].name: port 80 has no name: {help}")],
            ),
            (
                "ports: [{name: web, port: 80}]",
                &[&format!("ports[0].name: \"web\" names no protocol: {help}")],
            ),
        ],
    );
    let plain =
        "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: plain}, spec: {ports: [{port: 80}]}}";
    assert_eq!(everything(MESH).warnings(&objects(plain)[0]), [""; 0]);
}

/// What is missing among objects that are not all known may be there.
#[test]
fn pain_11_nothing_is_said_to_be_missing_before_everything_is_known() {
    let spec = "hosts: [a.com], gateways: [x], http: [{route: [{destination: {host: x, subset: sub, port: {number: 1}}}]}]";
    let all = said_by(&everything(""), "VirtualService", "new", spec);
    assert_eq!(all.len(), 2, "{all:?}");
    let mut nothing = known(&[], MESH);
    for (kind, spec) in [
        ("VirtualService", spec),
        ("DestinationRule", "host: x, subsets: [{name: a, labels: {b: c}}]"),
        ("Gateway", "selector: {a: b}"),
        (
            "Sidecar",
            "workloadSelector: {labels: {a: b}}, egress: [{hosts: ['x/*']}]",
        ),
        ("ServiceRoleBinding", "roleRef: {name: x}"),
        ("rule", "actions: [{handler: x, instances: [z]}]"),
    ] {
        assert_eq!(said_by(&nothing, kind, "new", spec), [""; 0], "{kind}");
    }
    // And what is not followed any more is not known either.
    nothing.synced(Kind::Gateway);
    nothing.incomplete(Kind::Gateway);
    assert_eq!(said_by(&nothing, "VirtualService", "new", spec), [""; 0]);
}

/// Most are not worth reading after the first few.
#[test]
fn pain_11_what_is_said_is_short() {
    let destination = "{destination: {host: forecast, subset: x}}";
    let host = "a".repeat(60);
    let routes = format!("{{route: [{destination}, {{destination: {{host: {host}.{host}.{host}.org}}}}]}}");
    let routes: Vec<_> = (0..20).map(|_| routes.clone()).collect();
    let spec = format!("hosts: [a.com], http: [{}]", routes.join(", "));
    let said = said_by(&everything(MESH), "VirtualService", "new", &spec);
    assert_eq!(said.len(), galley_analysis::MAX_WARNINGS);
    assert!(
        said.iter()
            .all(|line| line.len() <= galley_analysis::MAX_WARNING_BYTES)
    );
    assert!(
        said.last().is_some_and(|line| line.starts_with("and ")),
        "{said:?}"
    );
}
